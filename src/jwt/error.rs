//! Why a token was refused, with the values that were compared.

use std::{error::Error as StdError, fmt};

use super::TokenErrorKind;
use crate::strategy::{InvalidError, InvalidErrorKind};

/// Why a token was refused: the [source](std::error::Error::source) of the
/// [`InvalidError`] in the audit event and of [`explain`](crate::UserScopeLayer::explain). The
/// response is 401 and says only `invalid_token` (RFC 6750 section 3.1).
///
/// `Display` names the values that were compared: the audiences that are accepted and those of
/// the token, or when it ended and what time it was. They are quoted, escaped and cut after 120
/// characters, eight values of each side at most. Neither the token nor its user is among them.
///
/// ```
/// use tower_user_scope::{InvalidError, jwt::{TokenError, TokenErrorKind}};
///
/// let invalid = InvalidError::from(TokenErrorKind::WrongAudience);
/// let source = std::error::Error::source(&invalid).and_then(|source| source.downcast_ref());
/// let error: &TokenError = source.expect("always a `TokenError`");
/// assert_eq!(error.kind(), &TokenErrorKind::WrongAudience);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenError {
    kind: TokenErrorKind,
    compared: Option<Box<Compared>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Compared {
    wanted: Vec<String>,
    found: Vec<String>,
    is_verified: bool,
}

impl TokenError {
    /// Adds the compared values of a token whose signature was verified.
    pub(crate) fn comparing<'v>(
        mut self,
        wanted: impl IntoIterator<Item = &'v str>,
        found: impl IntoIterator<Item = &'v str>,
    ) -> Self {
        self.compared = Some(Box::new(Compared {
            wanted: bounded(wanted),
            found: bounded(found),
            is_verified: true,
        }));
        self
    }

    /// Marks the found values as not verified: any sender can have written them.
    pub(super) fn unverified(mut self) -> Self {
        if let Some(compared) = &mut self.compared {
            compared.is_verified = false;
        }
        self
    }

    /// What is wrong.
    #[must_use]
    pub fn kind(&self) -> &TokenErrorKind {
        &self.kind
    }

    /// The values that would have been accepted, or for a time what time it was. Empty where
    /// nothing was compared.
    #[must_use]
    pub fn wanted(&self) -> &[String] {
        self.compared.as_ref().map_or(&[], |it| &it.wanted)
    }

    /// The values that the token has, or for a time the one that it has. Empty where nothing
    /// was compared, or the token has none.
    #[must_use]
    pub fn found(&self) -> &[String] {
        self.compared.as_ref().map_or(&[], |it| &it.found)
    }

    /// Whether the signature was found good before anything was compared. Where it was not,
    /// anybody can have written what was [found](Self::found).
    #[must_use]
    pub fn is_verified(&self) -> bool {
        self.compared.as_ref().is_some_and(|it| it.is_verified)
    }
}

impl From<TokenErrorKind> for TokenError {
    fn from(kind: TokenErrorKind) -> Self {
        Self {
            kind,
            compared: None,
        }
    }
}

impl From<TokenError> for InvalidError {
    fn from(error: TokenError) -> Self {
        let reason = match error.kind {
            TokenErrorKind::Expired => InvalidErrorKind::Expired,
            ref kind => InvalidErrorKind::Rejected(kind.code()),
        };
        Self::new(reason).with_source(error)
    }
}

impl From<TokenErrorKind> for InvalidError {
    fn from(kind: TokenErrorKind) -> Self {
        TokenError::from(kind).into()
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.kind, f)?;
        let Some(compared) = &self.compared else {
            return Ok(());
        };
        match (&self.kind, &*compared.wanted, &*compared.found) {
            (TokenErrorKind::Expired, [now], [end]) => write!(f, " at {end}; now is {now}"),
            (TokenErrorKind::NotYetValid, [now], [start]) => {
                write!(f, " before {start}; now is {now}")
            }
            (_, wanted, found) => {
                let (wanted, found) = (Quoted(wanted), Quoted(found));
                write!(f, ": wanted {wanted}, found {found}")?;
                if compared.is_verified {
                    Ok(())
                } else {
                    f.write_str(" (unverified)")
                }
            }
        }
    }
}

impl StdError for TokenError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        // The message of `kind` includes its source.
        None
    }
}

/// Values from outside, quoted and escaped.
struct Quoted<'v>(&'v [String]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => f.write_str("nothing"),
            [first, rest @ ..] => {
                write!(f, "{first:?}")?;
                rest.iter().try_for_each(|value| write!(f, ", {value:?}"))
            }
        }
    }
}

fn bounded<'v>(values: impl IntoIterator<Item = &'v str>) -> Vec<String> {
    const MOST: usize = 8;
    values.into_iter().take(MOST).map(truncated).collect()
}

/// Returns the first 120 characters of a value, with `…` if there were more.
pub(crate) fn truncated(value: &str) -> String {
    const LONGEST: usize = 120;
    match value.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &value[..end]),
        None => value.to_owned(),
    }
}

/// Formats seconds since 1970 as RFC 3339.
pub(super) fn utc(seconds: u64) -> String {
    let (days, time) = (seconds / 86_400, seconds % 86_400);
    // The civil calendar in eras of 400 years that begin on the first of March: a leap day is the
    // last day of its year then (Hinnant, "chrono-Compatible Low-Level Date Algorithms").
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (time / 3_600, time / 60 % 60, time % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::{TokenError, TokenErrorKind, utc};

    #[test]
    fn seconds_are_written_as_rfc_3339_does() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_795_564_283, "2026-11-24T23:51:23Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(utc(seconds), text);
        }
    }

    #[test]
    fn what_a_token_says_is_escaped_and_bounded() {
        let long = "x".repeat(10_000);
        let found = ["a\nb\u{202e}\"", long.as_str()];
        let many = std::iter::repeat_n("y", 1_000);
        let error = TokenError::from(TokenErrorKind::WrongAudience)
            .comparing(["api"], found.into_iter().chain(many));
        let shown = error.to_string();
        assert!(
            shown.contains(r#"wanted "api", found "a\nb\u{202e}\"""#),
            "{shown}"
        );
        assert!(shown.chars().count() < 400, "{shown}");
        assert!(shown.chars().all(|c| !c.is_control()), "{shown}");
    }
}
