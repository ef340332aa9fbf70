//! A token's claims set (RFC 7519 section 4), read strictly.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::{
    TokenProblem,
    json::{Members, Text, read_object},
};

/// The last second of the year 9999: no token lives longer, and no clock overflows.
const LAST_SECOND: u64 = 253_402_300_799;

/// The registered claims, and those that the application names.
#[derive(Default)]
pub(super) struct Claims<'a, 'w> {
    pub(super) issuer: Option<Cow<'a, str>>,
    pub(super) subject: Option<Cow<'a, str>>,
    audience: Vec<Cow<'a, str>>,
    pub(super) expires_at: Option<u64>,
    not_before: Option<u64>,
    pub(super) issued_at: Option<u64>,
    pub(super) token_id: Option<Cow<'a, str>>,
    pub(super) session_id: Option<Cow<'a, str>>,
    /// Only who can prove that it has a key may use the token (RFC 7800).
    pub(super) is_bound: bool,
    wanted: &'w [Cow<'static, str>],
    named: Vec<(&'w str, Cow<'a, str>)>,
}

impl<'a, 'w> Claims<'a, 'w> {
    /// Reads the claims set; those in `wanted` beside the registered ones, which have to be
    /// strings where they are there.
    pub(super) fn read(
        json: &'a [u8],
        wanted: &'w [Cow<'static, str>],
    ) -> Result<Self, TokenProblem> {
        let claims = Self {
            wanted,
            ..Self::default()
        };
        let claims = read_object(json, claims).map_err(|_| TokenProblem::Claims)?;
        let times = [claims.expires_at, claims.not_before, claims.issued_at];
        if times.into_iter().flatten().any(|time| time > LAST_SECOND) {
            return Err(TokenProblem::Claims);
        }
        Ok(claims)
    }

    /// A claim that is a string, by its name.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let registered = match name {
            "iss" => &self.issuer,
            "sub" => &self.subject,
            "jti" => &self.token_id,
            "sid" => &self.session_id,
            _ => {
                let mut named = self.named.iter();
                return named.find_map(|(known, value)| (*known == name).then_some(&**value));
            }
        };
        registered.as_deref()
    }

    /// Checks the times against `now`, in seconds since 1970, and tells until when it holds.
    pub(super) fn check_times(&self, now: u64, leeway: u64) -> Result<u64, TokenProblem> {
        let end = self
            .expires_at
            .ok_or(TokenProblem::MissingClaim("exp"))?
            .saturating_add(leeway);
        if end <= now {
            return Err(TokenProblem::Expired);
        }
        if self.not_before.is_some_and(|start| start > now + leeway) {
            return Err(TokenProblem::NotYetValid);
        }
        Ok(end)
    }

    /// Checks that one of the audiences is meant, and tells which.
    pub(super) fn check_audience<'k>(
        &self,
        known: &'k [Box<str>],
    ) -> Result<&'k str, TokenProblem> {
        if self.audience.is_empty() {
            return Err(TokenProblem::MissingClaim("aud"));
        }
        known
            .iter()
            .map(|known| &**known)
            .find(|known| self.audience.iter().any(|sent| sent == known))
            .ok_or(TokenProblem::WrongAudience)
    }
}

impl<'de> Members<'de> for Claims<'de, '_> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        let text = match name {
            "iss" => &mut self.issuer,
            "sub" => &mut self.subject,
            "jti" => &mut self.token_id,
            "sid" => &mut self.session_id,
            "exp" => return read_into(&mut self.expires_at, map),
            "nbf" => return read_into(&mut self.not_before, map),
            "iat" => return read_into(&mut self.issued_at, map),
            "cnf" => {
                self.is_bound = true;
                return map.next_value::<IgnoredAny>().map(|_| ());
            }
            "aud" => {
                self.audience = map.next_value::<Audience<'de>>()?.0;
                return Ok(());
            }
            _ => {
                let Some(wanted) = self.wanted.iter().find(|wanted| *wanted == name) else {
                    return map.next_value::<IgnoredAny>().map(|_| ());
                };
                self.named.push((wanted, map.next_value::<Text<'de>>()?.0));
                return Ok(());
            }
        };
        *text = Some(map.next_value::<Text<'de>>()?.0);
        Ok(())
    }
}

/// Whole seconds: a string, a fraction or a negative number is no date that two readers would
/// round alike.
fn read_into<'de, A: MapAccess<'de>>(place: &mut Option<u64>, map: &mut A) -> Result<(), A::Error> {
    *place = Some(map.next_value()?);
    Ok(())
}

/// One string or several (RFC 7519 section 4.1.3).
struct Audience<'a>(Vec<Cow<'a, str>>);

impl<'de> Deserialize<'de> for Audience<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMore;

        impl<'de> Visitor<'de> for OneOrMore {
            type Value = Audience<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an array of strings")
            }

            fn visit_borrowed_str<E>(self, one: &'de str) -> Result<Self::Value, E> {
                Ok(Audience(vec![Cow::Borrowed(one)]))
            }

            fn visit_str<E>(self, one: &str) -> Result<Self::Value, E> {
                Ok(Audience(vec![Cow::Owned(one.to_owned())]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Self::Value, A::Error> {
                let mut audience = Vec::new();
                while let Some(Text(one)) = all.next_element()? {
                    audience.push(one);
                }
                Ok(Audience(audience))
            }
        }

        deserializer.deserialize_any(OneOrMore)
    }
}
