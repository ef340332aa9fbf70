//! The headers of a trusted sender, as a closure that reads them sees them.

use std::{fmt, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue};

use super::field::Field;
use crate::{context::Identity, outcome::InvalidError};

/// The headers of a [`TrustedHeader`](crate::TrustedHeader) whose sender is trusted: the argument of
/// [`read_with`](crate::TrustedHeader::read_with).
///
/// No other header of the request can be read, as nobody has checked who sent it.
pub struct TrustedFields<'a> {
    pub(super) value: &'a HeaderValue,
    pub(super) headers: &'a HeaderMap,
    pub(super) others: &'a [HeaderName],
}

impl<'a> TrustedFields<'a> {
    /// Returns the header's only value, as it was sent.
    #[must_use]
    pub fn value(&self) -> &'a HeaderValue {
        self.value
    }

    /// Returns the header's only value as text, without white space around it.
    ///
    /// # Errors
    /// [`InvalidError`] if it is empty or not UTF-8.
    pub fn text(&self) -> Result<&'a str, InvalidError> {
        Field::text_with_commas(self.value)
    }

    /// Returns the text of another header, which has to be sent once at most.
    ///
    /// `None` if it was not sent, and for a header that was not declared with
    /// [`also_header`](crate::TrustedHeader::also_header).
    ///
    /// # Errors
    /// [`InvalidError`] if it was sent twice, is empty or not UTF-8.
    pub fn other(&self, name: &str) -> Result<Option<&'a str>, InvalidError> {
        match self.declared(name) {
            Some(name) => Field::read(self.headers, name).with_commas(),
            None => Ok(None),
        }
    }

    /// Returns all values of another header, as they were sent.
    ///
    /// None for a header that was not declared with
    /// [`also_header`](crate::TrustedHeader::also_header).
    pub fn others(&self, name: &str) -> impl Iterator<Item = &'a HeaderValue> + use<'a> {
        let values = self
            .declared(name)
            .map(|name| self.headers.get_all(name).iter());
        values.into_iter().flatten()
    }

    fn declared(&self, name: &str) -> Option<&'a HeaderName> {
        self.others
            .iter()
            .find(|declared| declared.as_str().eq_ignore_ascii_case(name))
    }
}

impl fmt::Debug for TrustedFields<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The values may be personal data.
        f.debug_struct("TrustedFields").finish_non_exhaustive()
    }
}

/// Reads an identity from the headers of a trusted sender.
pub(super) type ReadIdentity =
    Arc<dyn Fn(&TrustedFields<'_>) -> Result<Identity, InvalidError> + Send + Sync>;
