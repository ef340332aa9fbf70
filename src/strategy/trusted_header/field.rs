//! Reads a header that must be sent at most once, as text.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{
    context::IdErrorKind,
    outcome::{InvalidError, InvalidErrorKind},
};

/// The values of one header, by how many there are.
pub(super) enum Field<'a> {
    Missing,
    Once(&'a HeaderValue),
    Repeatedly,
}

impl<'a> Field<'a> {
    #[inline]
    pub(super) fn read(headers: &'a HeaderMap, name: &HeaderName) -> Self {
        let mut values = headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (None, _) => Self::Missing,
            (Some(value), None) => Self::Once(value),
            (Some(_), Some(_)) => Self::Repeatedly,
        }
    }

    #[inline]
    pub(super) fn text(&self) -> Result<Option<&'a str>, InvalidError> {
        let value = match self {
            Self::Missing => return Ok(None),
            Self::Once(value) => value,
            Self::Repeatedly => return Err(InvalidErrorKind::Repeated.into()),
        };
        let is_plain = |byte: &u8| byte.is_ascii_graphic() && *byte != b',';
        match value.to_str() {
            Ok(text) if !text.is_empty() && text.as_bytes().iter().all(is_plain) => Ok(Some(text)),
            _ => Self::decode(value).map(Some),
        }
    }

    /// As [`text`](Self::text), for values that may have commas.
    pub(super) fn with_commas(&self) -> Result<Option<&'a str>, InvalidError> {
        match self {
            Self::Missing => Ok(None),
            Self::Once(value) => Self::text_with_commas(value).map(Some),
            Self::Repeatedly => Err(InvalidErrorKind::Repeated.into()),
        }
    }

    pub(super) fn text_with_commas(value: &HeaderValue) -> Result<&str, InvalidError> {
        let text = std::str::from_utf8(value.as_bytes())
            .map_err(|error| InvalidError::new(InvalidErrorKind::NotText).with_source(error))?;
        let text = text.trim_matches([' ', '\t']);
        if text.is_empty() {
            return Err(InvalidErrorKind::Id(IdErrorKind::Empty).into());
        }
        Ok(text)
    }

    #[cold]
    fn decode(value: &HeaderValue) -> Result<&str, InvalidError> {
        let text = Self::text_with_commas(value)?;
        // Recipients may join field lines with commas (RFC 9110 section 5.3), so a comma can be
        // two values.
        if text.contains(',') {
            return Err(InvalidErrorKind::Repeated.into());
        }
        Ok(text)
    }
}
