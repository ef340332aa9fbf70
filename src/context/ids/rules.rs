//! The rules that texts have to meet to be identifiers.

use std::{borrow::Cow, sync::Arc};

use super::{IdError, IdErrorKind, RequestId, TenantId, UserId};

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
    pub(super) fn check(&self, field: &'static str, text: &str) -> Result<Arc<str>, IdError> {
        let refuse = |kind| Err(IdError { field, kind });
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

pub(super) fn check_correlation(field: &'static str, text: &str) -> Result<Arc<str>, IdError> {
    let refuse = |kind| Err(IdError { field, kind });
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

pub(super) const RULES: &IdRules = &IdRules::new();
