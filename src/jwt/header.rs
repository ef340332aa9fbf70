//! A token's JOSE header, of which nothing is believed before the signature.

use std::borrow::Cow;

use serde::de::{IgnoredAny, MapAccess};

use super::{
    Algorithm, TokenProblem,
    json::{Members, Text, read_object},
};

/// What of the header is looked at. `jku`, `x5u`, `jwk` and `x5c` are not.
#[derive(Default)]
pub(super) struct Header<'a> {
    algorithm: Option<Cow<'a, str>>,
    pub(super) key_id: Option<Cow<'a, str>>,
    token_type: Option<Cow<'a, str>>,
    critical: bool,
}

impl<'a> Header<'a> {
    pub(super) fn read(json: &'a [u8]) -> Result<Self, TokenProblem> {
        let header = read_object(json, Self::default()).map_err(|_| TokenProblem::Malformed)?;
        if header.critical {
            return Err(TokenProblem::CriticalHeader);
        }
        Ok(header)
    }

    pub(super) fn algorithm(&self) -> Result<Algorithm, TokenProblem> {
        let name = self.algorithm.as_ref().ok_or(TokenProblem::Malformed)?;
        Algorithm::named(name).ok_or(TokenProblem::UnsupportedAlgorithm)
    }

    /// A media type without its `application/` and in any case (RFC 7515 section 4.1.9).
    pub(super) fn is_of_type(&self, wanted: &str) -> bool {
        self.token_type
            .as_deref()
            .is_some_and(|sent| bare(sent).eq_ignore_ascii_case(bare(wanted)))
    }
}

fn bare(media_type: &str) -> &str {
    const PREFIX: &str = "application/";
    match media_type.get(..PREFIX.len()) {
        Some(start) if start.eq_ignore_ascii_case(PREFIX) => &media_type[PREFIX.len()..],
        _ => media_type,
    }
}

impl<'de> Members<'de> for Header<'de> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        let text = match name {
            "alg" => &mut self.algorithm,
            "kid" => &mut self.key_id,
            "typ" => &mut self.token_type,
            _ => {
                self.critical |= matches!(name, "crit" | "b64");
                return map.next_value::<IgnoredAny>().map(|_| ());
            }
        };
        *text = Some(map.next_value::<Text<'de>>()?.0);
        Ok(())
    }
}
