//! Whether a cookie's value is what this service wrote.

use std::fmt;

use cookie::{Cookie, CookieJar, Key};

use super::SessionProblem;

/// Nothing, a signature or encryption, with the keys of now and of before.
#[derive(Clone)]
pub(super) enum Protection {
    None,
    Signed(Vec<Key>),
    Encrypted(Vec<Key>),
}

impl Protection {
    pub(super) fn also(&mut self, key: Key) -> bool {
        match self {
            Self::None => return false,
            Self::Signed(keys) | Self::Encrypted(keys) => keys.push(key),
        }
        true
    }

    /// The value that was written into the cookie.
    pub(super) fn open(&self, cookie: Cookie<'_>) -> Result<String, SessionProblem> {
        let jar = CookieJar::new();
        let open: &dyn Fn(&Key, Cookie<'static>) -> Option<Cookie<'static>> = match self {
            Self::None => return Ok(cookie.value().to_owned()),
            Self::Signed(_) => &|key, cookie| jar.signed(key).verify(cookie),
            Self::Encrypted(_) => &|key, cookie| jar.private(key).decrypt(cookie),
        };
        let cookie = cookie.into_owned();
        let keys = match self {
            Self::None => &[][..],
            Self::Signed(keys) | Self::Encrypted(keys) => keys,
        };
        keys.iter()
            .find_map(|key| open(key, cookie.clone()))
            .map(|cookie| cookie.value().to_owned())
            .ok_or(SessionProblem::Protection)
    }
}

impl fmt::Debug for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Signed(_) => "Signed([REDACTED])",
            Self::Encrypted(_) => "Encrypted([REDACTED])",
        })
    }
}
