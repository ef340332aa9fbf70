//! A token's JOSE header (RFC 7515 section 4).
//!
//! It is not trusted: it selects among configured keys and algorithms, and never adds one.

use std::borrow::Cow;

use super::{
    Algorithm, TokenErrorKind,
    json::{self, Object},
};

/// A parsed header. `jku`, `x5u`, `jwk` and `x5c` are never read.
pub(super) struct Header<'a> {
    object: Object<'a>,
    pub(super) key_id: Option<Cow<'a, str>>,
}

impl<'a> Header<'a> {
    pub(super) fn read(json: &'a [u8]) -> Result<Self, TokenErrorKind> {
        let object = Object::read(json).map_err(|_| TokenErrorKind::Malformed)?;
        if object.has("crit") || object.has("b64") {
            return Err(TokenErrorKind::CriticalHeader);
        }
        let key_id = match object.get("kid") {
            Some(json) => Some(json::string(json).ok_or(TokenErrorKind::Malformed)?),
            None => None,
        };
        Ok(Self { object, key_id })
    }

    pub(super) fn algorithm(&self) -> Result<Algorithm, TokenErrorKind> {
        let name = self.text("alg").ok_or(TokenErrorKind::Malformed)?;
        Algorithm::from_name(&name).ok_or(TokenErrorKind::UnsupportedAlgorithm)
    }

    /// Returns `typ`; `None` if it is not a string.
    pub(super) fn token_type(&self) -> Option<Cow<'a, str>> {
        self.text("typ")
    }

    /// Whether `typ` is this media type, without regard to case or to `application/` (RFC 7515
    /// section 4.1.9).
    pub(super) fn is_of_type(&self, wanted: &str) -> bool {
        self.token_type().is_some_and(|sent| {
            without_application(&sent).eq_ignore_ascii_case(without_application(wanted))
        })
    }

    fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        json::string(self.object.get(name)?)
    }
}

fn without_application(media_type: &str) -> &str {
    const PREFIX: &str = "application/";
    match media_type.get(..PREFIX.len()) {
        Some(start) if start.eq_ignore_ascii_case(PREFIX) => &media_type[PREFIX.len()..],
        _ => media_type,
    }
}
