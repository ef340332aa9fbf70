//! Reads the session's id from the request's cookie.
//!
//! Knows nothing of the store.

use ::cookie::Cookie;
use http::{HeaderMap, HeaderName};
use tower_sessions_core::session::Id;

use super::{
    SessionError,
    seal::{Kind, Seal},
};
use crate::{
    config_error::ConfigError,
    cookies::{is_alike, try_for_each},
    strategy::{InvalidError, InvalidErrorKind},
};

/// More than the longest value that tower-sessions writes: 68 characters where it is encrypted,
/// and at most three times as many when each is percent-encoded.
const MAX_VALUE: usize = 256;

/// The name of the cookie, and how its value is signed or encrypted.
#[derive(Clone, Debug)]
pub(super) struct IdCookie {
    pub(super) name: String,
    pub(super) seal: Seal,
}

impl IdCookie {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            seal: Seal::default(),
        }
    }

    /// Returns the id; `None` if the request has no such cookie.
    pub(super) fn id(&self, headers: &HeaderMap) -> Result<Option<Id>, InvalidError> {
        let mut found = None;
        try_for_each(headers, |name, value| {
            if !is_alike(name, &self.name) {
                return Ok(());
            }
            let id = match value {
                _ if name != self.name => None,
                Some(value) => Some(self.open(&value)),
                None => Some(Err(SessionError::Malformed)),
            };
            match found.replace(id) {
                None => Ok(()),
                Some(_) => Err(InvalidErrorKind::Repeated),
            }
        })?;
        Ok(found.flatten().transpose()?)
    }

    /// Whether there is a cookie of this name, or of a name that other software treats as equal.
    pub(super) fn is_present(&self, headers: &HeaderMap) -> bool {
        any(headers, |name| is_alike(name, &self.name))
    }

    fn open(&self, value: &str) -> Result<Id, SessionError> {
        if value.len() > MAX_VALUE {
            return Err(SessionError::TooLong {
                len: value.len(),
                max: MAX_VALUE,
            });
        }
        match self.seal.kind() {
            None => parse(value),
            Some(kind) => parse(&self.unseal(kind, value)?),
        }
    }

    /// Verifies or decrypts the value. An encrypted value is bound to the cookie's name.
    fn unseal(&self, kind: Kind, value: &str) -> Result<String, SessionError> {
        let pair = format!("{}={value}", self.name);
        let cookie = Cookie::parse_encoded(pair).map_err(|_| SessionError::Malformed)?;
        self.seal.open(kind, &cookie).ok_or(SessionError::Seal)
    }

    /// Whether there is a cookie of another name that other software treats as equal.
    pub(super) fn has_look_alike(&self, headers: &HeaderMap) -> bool {
        any(headers, |name| {
            name != self.name && is_alike(name, &self.name)
        })
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        // A cookie's name is a token (RFC 6265 section 4.1.1), as a header's is; some tokens
        // are percent-encoded when tower-sessions writes them, and would never be found.
        let written = Cookie::new(&self.name, "").encoded().to_string();
        let is_token = HeaderName::from_bytes(self.name.as_bytes()).is_ok();
        if !is_token || written.trim_end_matches('=') != self.name {
            return Err(ConfigError::CookieName {
                name: self.name.clone(),
            });
        }
        self.seal.validate()
    }
}

fn any(headers: &HeaderMap, is_meant: impl Fn(&str) -> bool) -> bool {
    let found = |name: &str, _| if is_meant(name) { Err(()) } else { Ok(()) };
    try_for_each(headers, found).is_err()
}

fn parse(text: &str) -> Result<Id, SessionError> {
    text.parse().map_err(|_| SessionError::Malformed)
}
