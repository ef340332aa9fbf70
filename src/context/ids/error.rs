//! Why a text is not an identifier.

use thiserror::Error;

/// Why a text is not an identifier, with the name of the field that it was meant for.
///
/// The rejected text itself is not kept: it may be somebody's credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{field} {kind}")]
pub struct IdError {
    pub(super) field: &'static str,
    pub(super) kind: IdErrorKind,
}

impl IdError {
    #[cfg(feature = "api-keys")]
    pub(crate) fn new(field: &'static str, kind: IdErrorKind) -> Self {
        Self { field, kind }
    }

    /// The field the text was meant for, such as `user_id`.
    #[must_use]
    pub fn field(&self) -> &'static str {
        self.field
    }

    /// What is wrong with the text.
    #[must_use]
    pub fn kind(&self) -> IdErrorKind {
        self.kind
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
