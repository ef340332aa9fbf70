//! A token's claims set (RFC 7519 section 4); each claim is parsed when it is read.
//!
//! Knows nothing of signatures, keys or identities.

use std::borrow::Cow;

use serde_json::Value;

use super::{
    TokenConfigError, TokenError, TokenErrorKind,
    error::utc,
    json::{self, Object},
    numeric_date::{Round, seconds},
};

/// Checks the configured name of a claim that has to contain text. Some have a meaning of their own,
/// and are numbers or objects.
pub(crate) fn check_name(name: &str) -> Result<(), TokenConfigError> {
    match name {
        "" | "exp" | "nbf" | "iat" | "cnf" => Err(TokenConfigError::ClaimName {
            name: name.to_owned(),
        }),
        _ => Ok(()),
    }
}

/// The claims of a token. A claim that is `null` counts as missing.
pub(crate) struct Claims<'a>(Object<'a>);

#[expect(
    clippy::ptr_arg,
    reason = "errors keep the name, which most often is a literal"
)]
impl<'a> Claims<'a> {
    pub(crate) fn read(json: &'a [u8]) -> Result<Self, TokenErrorKind> {
        match Object::read(json) {
            Ok(object) => Ok(Self(object)),
            Err(_) => Err(TokenErrorKind::Claims),
        }
    }

    /// Returns a claim that has to be a string if it is there.
    pub(crate) fn text(
        &self,
        name: Cow<'static, str>,
    ) -> Result<Option<Cow<'a, str>>, TokenErrorKind> {
        let Some(json) = self.0.get(&name) else {
            return Ok(None);
        };
        let text = json::string(json).ok_or(TokenErrorKind::ClaimType(name))?;
        Ok(Some(text))
    }

    /// Returns a claim that nothing depends on; `None` if it is not a string.
    pub(crate) fn optional_text(&self, name: &str) -> Option<Cow<'a, str>> {
        json::string(self.0.get(name)?)
    }

    /// Returns a claim of any type; one that is nested too deep to be read is an error.
    pub(crate) fn value(&self, name: &Cow<'static, str>) -> Result<Option<Value>, TokenErrorKind> {
        let Some(json) = self.0.get(name) else {
            return Ok(None);
        };
        let value = serde_json::from_str(json);
        value.map_err(|_| TokenErrorKind::ClaimType(name.clone()))
    }

    /// Whether there is a claim of this name, also where it is `null`.
    #[cfg(feature = "open-scopes")]
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.has(name)
    }

    /// Returns a claim that has to be an object if it is there.
    #[cfg(feature = "open-scopes")]
    pub(super) fn object(&self, name: &'static str) -> Result<Option<Object<'a>>, TokenErrorKind> {
        let Some(json) = self.0.get(name) else {
            return Ok(None);
        };
        let object = Object::read(json.as_bytes());
        object
            .map(Some)
            .map_err(|_| TokenErrorKind::ClaimType(Cow::Borrowed(name)))
    }

    /// Returns a claim that has to be there, and has to be a string that is not empty.
    #[cfg(feature = "open-scopes")]
    pub(super) fn required_text(&self, name: &'static str) -> Result<Cow<'a, str>, TokenErrorKind> {
        let name = Cow::Borrowed(name);
        match self.text(name.clone())? {
            Some(text) if text.is_empty() => Err(TokenErrorKind::ClaimType(name)),
            Some(text) => Ok(text),
            None => Err(TokenErrorKind::MissingClaim(name)),
        }
    }

    /// Returns a time that has to be there, in seconds since 1970.
    #[cfg(feature = "open-scopes")]
    pub(super) fn required_time(&self, name: &'static str) -> Result<u64, TokenErrorKind> {
        let time = self.time(name, Round::Down)?;
        time.ok_or(TokenErrorKind::MissingClaim(Cow::Borrowed(name)))
    }

    /// Returns `sub` of a claim that names an actor (RFC 8693 section 4.1); `None` if nobody acts. An
    /// actor without a `sub` is an error, because it is somebody.
    pub(super) fn actor(&self, name: &Cow<'static, str>) -> Result<Option<String>, TokenErrorKind> {
        let Some(actor) = self.value(name)? else {
            return Ok(None);
        };
        match actor.get("sub") {
            Some(Value::String(id)) => Ok(Some(id.clone())),
            _ => Err(TokenErrorKind::ClaimType(name.clone())),
        }
    }

    /// Returns `auth_time` in seconds since 1970; `None` if it is not a time.
    pub(crate) fn authenticated_at(&self) -> Option<u64> {
        seconds(self.0.get("auth_time")?, Round::Down)
    }

    /// Checks that a claim is there, whatever its value is.
    pub(super) fn require(&self, name: &Cow<'static, str>) -> Result<(), TokenErrorKind> {
        match self.0.get(name) {
            Some(_) => Ok(()),
            None => Err(TokenErrorKind::MissingClaim(name.clone())),
        }
    }

    /// Returns the claim that has the user's id.
    pub(crate) fn user_id(&self, name: Cow<'static, str>) -> Result<Cow<'a, str>, TokenErrorKind> {
        let Some(json) = self.0.get(&name) else {
            return Err(TokenErrorKind::MissingClaim(name));
        };
        json::string(json).ok_or_else(|| {
            if json.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
                TokenErrorKind::NumericId(name)
            } else {
                TokenErrorKind::ClaimType(name)
            }
        })
    }

    /// Whether the token is bound to a key that its sender has to prove (`cnf`, RFC 7800).
    pub(crate) fn is_sender_constrained(&self) -> bool {
        self.0.get("cnf").is_some()
    }

    /// Returns `iat` in seconds since 1970; `None` if it is not a time.
    pub(crate) fn issued_at(&self) -> Option<u64> {
        seconds(self.0.get("iat")?, Round::Down)
    }

    /// Checks the types of the claims that revocation checks read, so that a token can't pass one
    /// because its `jti` is not a string.
    pub(crate) fn check_revocable(&self) -> Result<(), TokenErrorKind> {
        self.text(Cow::Borrowed("jti"))?;
        self.text(Cow::Borrowed("sid"))?;
        self.time("iat", Round::Down)?;
        Ok(())
    }

    /// Checks `exp` and `nbf` against `now`, and returns when the token ends, leeway included. All
    /// are in seconds since 1970.
    pub(super) fn check_times(&self, now: u64, leeway: u64) -> Result<u64, TokenError> {
        let end = self.check_end(now, leeway)?;
        let end = end.ok_or(TokenErrorKind::MissingClaim(Cow::Borrowed("exp")))?;
        self.check_start(now, leeway)?;
        Ok(end)
    }

    /// Checks `exp`, and returns when the token ends, leeway included; `None` if it does not say.
    pub(crate) fn check_end(&self, now: u64, leeway: u64) -> Result<Option<u64>, TokenError> {
        let end = self.time("exp", Round::Down)?;
        let end = end.map(|end| end.saturating_add(leeway));
        match end {
            Some(end) if end <= now => {
                let error = TokenError::from(TokenErrorKind::Expired);
                Err(error.comparing([&*utc(now)], [&*utc(end)]))
            }
            _ => Ok(end),
        }
    }

    /// Checks `nbf`, if the token has it.
    pub(crate) fn check_start(&self, now: u64, leeway: u64) -> Result<(), TokenError> {
        match self.time("nbf", Round::Up)? {
            Some(start) if start > now.saturating_add(leeway) => {
                let error = TokenError::from(TokenErrorKind::NotYetValid);
                Err(error.comparing([&*utc(now)], [&*utc(start)]))
            }
            _ => Ok(()),
        }
    }

    /// Returns a time in seconds since 1970.
    fn time(&self, name: &'static str, round: Round) -> Result<Option<u64>, TokenErrorKind> {
        let Some(json) = self.0.get(name) else {
            return Ok(None);
        };
        let time = seconds(json, round).ok_or(TokenErrorKind::NumericDate(name))?;
        Ok(Some(time))
    }

    /// Returns `iss`.
    pub(crate) fn issuer(&self) -> Result<Cow<'a, str>, TokenErrorKind> {
        const NAME: Cow<'static, str> = Cow::Borrowed("iss");
        self.text(NAME)?.ok_or(TokenErrorKind::MissingClaim(NAME))
    }

    /// Returns the first of the known values that the claim has: one string or several, as `aud` has
    /// them (RFC 7519 section 4.1.3). Otherwise the error is of the kind that `wrong` returns.
    pub(crate) fn one_of<'k>(
        &self,
        name: &Cow<'static, str>,
        known: &'k [Box<str>],
        wrong: impl FnOnce() -> TokenErrorKind,
    ) -> Result<&'k str, TokenError> {
        let sent = self.texts(name)?;
        let mut known_values = known.iter().map(|known| &**known);
        known_values
            .find(|known| sent.iter().any(|sent| sent == known))
            .ok_or_else(|| {
                let wanted = known.iter().map(|known| &**known);
                TokenError::from(wrong()).comparing(wanted, sent.iter().map(|sent| &**sent))
            })
    }

    /// Returns a claim that has to be there, as one string or as several.
    fn texts(&self, name: &Cow<'static, str>) -> Result<Vec<Cow<'a, str>>, TokenErrorKind> {
        let missing = || TokenErrorKind::MissingClaim(name.clone());
        let json = self.0.get(name).ok_or_else(missing)?;
        let texts = match json::string(json) {
            Some(one) => vec![one],
            None => json::strings(json).ok_or_else(|| TokenErrorKind::ClaimType(name.clone()))?,
        };
        if texts.is_empty() {
            return Err(missing());
        }
        Ok(texts)
    }
}
