//! Validated identifiers: who somebody is, and what ties work together.
//!
//! Nothing here knows where an identifier came from. Every constructor checks, so that an
//! identifier that exists is one that may be logged, stored and used in a key.

use std::{borrow::Cow, fmt, str::FromStr, sync::Arc};

use thiserror::Error;

use super::TraceParent;

/// Whole values that are what a program prints when it has no value.
///
/// They are compared exactly and never as prefixes: `null_island` and `Nan` are people.
const PLACEHOLDERS: &[Cow<'static, str>] = &[
    Cow::Borrowed("undefined"),
    Cow::Borrowed("null"),
    Cow::Borrowed("NULL"),
    Cow::Borrowed("Null"),
    Cow::Borrowed("(null)"),
    Cow::Borrowed("None"),
    Cow::Borrowed("nil"),
    Cow::Borrowed("<nil>"),
    Cow::Borrowed("NaN"),
    Cow::Borrowed("[object Object]"),
    Cow::Borrowed("[object Undefined]"),
    Cow::Borrowed("[object Null]"),
];

/// Why a text is not an identifier, with the name of the field that it was meant for.
///
/// The rejected text itself is not kept: it may be somebody's credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{field} {problem}")]
pub struct IdError {
    field: &'static str,
    problem: IdErrorKind,
}

impl IdError {
    /// The field the text was meant for, such as `user_id`.
    #[must_use]
    pub fn field(&self) -> &'static str {
        self.field
    }

    /// What is wrong with the text.
    #[must_use]
    pub fn kind(&self) -> IdErrorKind {
        self.problem
    }
}

/// What is wrong with a text that is not an identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum IdErrorKind {
    /// The text has no characters.
    #[error("is empty")]
    Empty,
    /// The text begins or ends with white space, or is nothing else.
    #[error("has white space around it")]
    SurroundingWhitespace,
    /// The text has more bytes than the rules allow.
    #[error("is longer than {limit} bytes")]
    TooLong {
        /// The longest text allowed, in bytes.
        limit: usize,
    },
    /// A character that identifiers don't have: a control, an invisible or bidirectional
    /// format character, or for correlation ids anything outside visible ASCII.
    #[error("has a character at byte {at} that is not allowed")]
    ForbiddenCharacter {
        /// Where the character begins, in bytes.
        at: usize,
    },
    /// The text is not in Unicode's Normalization Form C, so that it looks like another id and is
    /// none: "é" written as an "e" and an accent, for example. Without the feature `ids`
    /// every text with a character from U+0300 on counts as such, because it can't be checked.
    #[error("is not in Unicode's normal form (NFC)")]
    NotNormalized,
    /// The whole text is what a program prints when it has no value, such as `undefined`.
    #[error("is a placeholder, not a value")]
    Placeholder,
}

/// The rules that a text has to meet to be an identifier of a person, tenant or service.
///
/// The defaults are what [`UserId`]'s own conversions use. Other rules are for services whose
/// users really have such names, or which know more values that nobody has.
///
/// ```
/// use tower_user_scope::context::IdRules;
///
/// let rules = IdRules::new().placeholders(["guest", "undefined"]).max_len(64);
/// assert!(rules.user_id("guest").is_err());
/// assert!(rules.user_id("None").is_ok());
/// # Ok::<(), tower_user_scope::context::IdError>(())
/// ```
#[derive(Clone, Debug)]
pub struct IdRules {
    placeholders: Cow<'static, [Cow<'static, str>]>,
    /// A bit for each byte that a placeholder begins with: most ids need no look at them.
    beginnings: u128,
    max_len: usize,
}

/// All that is not ASCII shares one bit.
const fn beginning(text: &str) -> u128 {
    match text.as_bytes().first() {
        Some(byte) if byte.is_ascii() => 1 << *byte,
        _ => 1 << 127,
    }
}

const PLACEHOLDER_BEGINNINGS: u128 = {
    let (mut all, mut at) = (0, 0);
    while at < PLACEHOLDERS.len() {
        if let Cow::Borrowed(value) = &PLACEHOLDERS[at] {
            all |= beginning(value);
        }
        at += 1;
    }
    all
};

impl IdRules {
    /// The rules that [`UserId`]'s own conversions use.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            placeholders: Cow::Borrowed(PLACEHOLDERS),
            beginnings: PLACEHOLDER_BEGINNINGS,
            max_len: UserId::MAX_LEN,
        }
    }

    /// Replaces the list of whole values that are refused as placeholders.
    #[must_use]
    pub fn placeholders<I>(mut self, values: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.placeholders = values
            .into_iter()
            .map(|value| Cow::Owned(value.into()))
            .collect();
        let beginnings = self.placeholders.iter().map(|value| beginning(value));
        self.beginnings = beginnings.fold(0, |all, bit| all | bit);
        self
    }

    /// Sets the longest identifier in bytes, from 1 to [`UserId::MAX_LEN`]; values outside are
    /// moved to the nearest of the two.
    #[must_use]
    pub fn max_len(mut self, bytes: usize) -> Self {
        self.max_len = bytes.clamp(1, UserId::MAX_LEN);
        self
    }

    /// Checks a user id by these rules.
    ///
    /// # Errors
    /// Returns what is wrong with the text.
    #[inline]
    pub fn user_id(&self, text: &str) -> Result<UserId, IdError> {
        self.check(UserId::FIELD, text).map(UserId)
    }

    /// Checks a tenant id by these rules.
    ///
    /// # Errors
    /// Returns what is wrong with the text.
    pub fn tenant_id(&self, text: &str) -> Result<TenantId, IdError> {
        self.check(TenantId::FIELD, text).map(TenantId)
    }

    #[inline]
    fn check(&self, field: &'static str, text: &str) -> Result<Arc<str>, IdError> {
        let refuse = |problem| Err(IdError { field, problem });
        if text.is_empty() {
            return refuse(IdErrorKind::Empty);
        }
        if text.len() > self.max_len {
            return refuse(IdErrorKind::TooLong {
                limit: self.max_len,
            });
        }
        // Visible ASCII, which nearly all ids are, needs no look at each character.
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            if text.starts_with(char::is_whitespace) || text.ends_with(char::is_whitespace) {
                return refuse(IdErrorKind::SurroundingWhitespace);
            }
            if let Some((at, _)) = text.char_indices().find(|(_, c)| is_unfit(*c)) {
                return refuse(IdErrorKind::ForbiddenCharacter { at });
            }
            if !is_normalized(text) {
                return refuse(IdErrorKind::NotNormalized);
            }
        }
        if self.is_placeholder(text) {
            return refuse(IdErrorKind::Placeholder);
        }
        Ok(Arc::from(text))
    }
}

impl IdRules {
    #[inline]
    fn is_placeholder(&self, text: &str) -> bool {
        self.beginnings & beginning(text) != 0
            && self.placeholders.iter().any(|known| known == text)
    }
}

impl Default for IdRules {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether the text is in Normalization Form C, as RFC 8265 section 3.4 wants names of users to
/// be: composed and decomposed letters are one name and must not be two users.
///
/// It is refused and not composed: who gives ids out knows the id in one form only, and finds
/// nothing under another.
fn is_normalized(text: &str) -> bool {
    // No text without characters from here on can be composed.
    const FIRST_COMBINING: char = '\u{300}';
    if text.chars().all(|c| c < FIRST_COMBINING) {
        return true;
    }
    #[cfg(feature = "ids")]
    return unicode_normalization::is_nfc(text);
    #[cfg(not(feature = "ids"))]
    false
}

/// Characters that nobody sees, by which two ids that differ look alike, or which break a log
/// line (classes that RFC 8264 section 9 disallows in identifiers): controls, white space other
/// than the space, what Unicode's `Default_Ignorable_Code_Point` and `Cf` have, noncharacters,
/// wide and narrow forms of other characters (RFC 8265 section 3.4 takes them for those), and a
/// few that are drawn as nothing. `tests/context.rs` holds the table against Unicode's.
fn is_unfit(c: char) -> bool {
    let is_noncharacter = u32::from(c) & 0xFFFE == 0xFFFE;
    c.is_control()
        || (c != ' ' && c.is_whitespace())
        || is_noncharacter
        || matches!(
            c,
            '\u{00AD}'
                | '\u{034F}'
                | '\u{0600}'..='\u{0605}'
                | '\u{061C}'
                | '\u{06DD}'
                | '\u{070F}'
                | '\u{0890}'..='\u{0891}'
                | '\u{08E2}'
                | '\u{115F}'..='\u{1160}'
                | '\u{17B4}'..='\u{17B5}'
                | '\u{180B}'..='\u{180F}'
                | '\u{200B}'..='\u{200F}'
                | '\u{202A}'..='\u{202E}'
                | '\u{2060}'..='\u{206F}'
                | '\u{2800}'
                | '\u{3164}'
                | '\u{FDD0}'..='\u{FDEF}'
                | '\u{FE00}'..='\u{FE0F}'
                | '\u{FEFF}'
                | '\u{FF00}'..='\u{FFFD}'
                | '\u{110BD}'
                | '\u{110CD}'
                | '\u{13430}'..='\u{13455}'
                | '\u{1BCA0}'..='\u{1BCA3}'
                | '\u{1D173}'..='\u{1D17A}'
                | '\u{E0000}'..='\u{E0FFF}'
        )
}

fn check_correlation(field: &'static str, text: &str) -> Result<Arc<str>, IdError> {
    let refuse = |problem| Err(IdError { field, problem });
    if text.is_empty() {
        return refuse(IdErrorKind::Empty);
    }
    if text.len() > RequestId::MAX_LEN {
        return refuse(IdErrorKind::TooLong {
            limit: RequestId::MAX_LEN,
        });
    }
    // What would split a list, end a quoted string or open a tag has no place in an id that
    // goes into headers, logs and keys.
    let unfit = |byte: &u8| {
        !byte.is_ascii_graphic() || matches!(byte, b',' | b';' | b'"' | b'\\' | b'<' | b'>')
    };
    if let Some(at) = text.as_bytes().iter().position(unfit) {
        return refuse(IdErrorKind::ForbiddenCharacter { at });
    }
    if RULES.is_placeholder(text) {
        return refuse(IdErrorKind::Placeholder);
    }
    Ok(Arc::from(text))
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $field:literal, $max:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The longest value, in bytes.
            pub const MAX_LEN: usize = $max;

            pub(crate) const FIELD: &'static str = $field;

            /// The identifier as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<&str> for $name {
            type Error = IdError;

            fn try_from(text: &str) -> Result<Self, IdError> {
                let check: fn(&'static str, &str) -> Result<Arc<str>, IdError> = $check;
                check(Self::FIELD, text).map(Self)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                Self::try_from(text.as_str())
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::try_from(text)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                self.as_str() == other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                self.as_str() == *other
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($name)).field(&self.as_str()).finish()
            }
        }

        #[cfg(feature = "ids")]
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        #[cfg(feature = "ids")]
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <Cow<'de, str>>::deserialize(deserializer)?;
                Self::try_from(text.as_ref()).map_err(serde::de::Error::custom)
            }
        }
    };
}

const RULES: &IdRules = &IdRules::new();

id! {
    /// The id of a human or other account: 1 to 256 bytes of text without control, invisible
    /// or bidirectional format characters, and not a stringified nothing such as `undefined`.
    ///
    /// It is compared byte by byte. So that what looks alike is one user, an id that is not in
    /// Unicode's Normalization Form C, or that has wide or narrow forms of characters, is refused
    /// (by the profile `UsernameCasePreserved` of RFC 8265 section 3.4, which would convert it).
    /// Upper and lower case are two ids, and so are letters of two scripts that look alike. An
    /// application whose ids come in another form converts them in a strategy of its own.
    ///
    /// Two users of the same id in two tenants are two users: compare
    /// [`Subject`](crate::context::Subject)s, not user ids, wherever there are tenants.
    ///
    /// ```
    /// use tower_user_scope::{UserId, context::IdErrorKind};
    ///
    /// let alice: UserId = "alice@example.com".parse()?;
    /// assert_eq!(alice, "alice@example.com");
    ///
    /// let nobody = "undefined".parse::<UserId>().unwrap_err();
    /// assert_eq!(nobody.kind(), IdErrorKind::Placeholder);
    /// assert_eq!(nobody.to_string(), "user_id is a placeholder, not a value");
    /// # Ok::<(), tower_user_scope::context::IdError>(())
    /// ```
    UserId, "user_id", 256, |field, text| RULES.check(field, text)
}

id! {
    /// The id of a tenant (organisation, workspace), by the rules of [`UserId`].
    TenantId, "tenant_id", 256, |field, text| RULES.check(field, text)
}

id! {
    /// The name of a service that acts for itself, by the rules of [`UserId`].
    ServiceName, "service_name", 256, |field, text| RULES.check(field, text)
}

id! {
    /// The id of one request: 1 to 128 bytes of visible ASCII without `,` `;` `"` `\` `<` `>`.
    RequestId, "request_id", 128, check_correlation
}

id! {
    /// The id of a thread of work (a conversation, a job), by the rules of [`RequestId`].
    ///
    /// It never decides who the user is: that a thread belongs to the user is for
    /// [`authorize`](crate::middleware::LayerBuilder::authorize) to say.
    ThreadId, "thread_id", 128, check_correlation
}

id! {
    /// The id of one run within a thread, by the rules of [`RequestId`].
    RunId, "run_id", 128, check_correlation
}

id! {
    /// The id of a long-lived connection, such as a WebSocket, by the rules of [`RequestId`].
    ConnectionId, "connection_id", 128, check_correlation
}

impl RequestId {
    /// For text whose form the crate itself guarantees.
    pub(super) fn trusted(text: &str) -> Self {
        Self(Arc::from(text))
    }

    pub(super) fn of_trace(parent: &TraceParent) -> Self {
        Self(Arc::from(format!(
            "{:032x}-{:016x}",
            parent.trace_id(),
            parent.parent_id()
        )))
    }

    /// All correlation ids have one grammar; only the name in the error differs.
    pub(super) fn for_field(field: &'static str, text: &str) -> Result<Self, IdError> {
        check_correlation(field, text).map(Self)
    }
}

impl ThreadId {
    pub(super) fn same(id: RequestId) -> Self {
        Self(id.0)
    }
}

impl RunId {
    pub(super) fn same(id: RequestId) -> Self {
        Self(id.0)
    }
}

impl ConnectionId {
    pub(super) fn same(id: RequestId) -> Self {
        Self(id.0)
    }
}
