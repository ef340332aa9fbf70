//! Signed and encrypted cookies, under one key and those that came before it.

use std::fmt;

use ::cookie::{Cookie, CookieJar, Key};

use crate::config_error::ConfigError;

/// How the cookie is kept from being made up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Signed,
    Encrypted,
}

/// The keys that open the cookie. They never print.
#[derive(Clone, Default)]
pub(super) struct Seal {
    kind: Option<Kind>,
    keys: Vec<Key>,
    /// Said twice, or both ways: an error of `build()`.
    said_again: bool,
}

impl Seal {
    pub(super) fn with(&mut self, kind: Kind, key: Key) {
        self.said_again |= self.kind.is_some();
        self.kind = Some(kind);
        self.keys.insert(0, key);
    }

    pub(super) fn also_accept(&mut self, key: Key) {
        self.keys.push(key);
    }

    /// The value that was sealed, or `None` where none of the keys sealed it.
    pub(super) fn open(&self, kind: Kind, cookie: &Cookie<'static>) -> Option<String> {
        let jar = CookieJar::new();
        self.keys
            .iter()
            .find_map(|key| match kind {
                Kind::Signed => jar.signed(key).verify(cookie.clone()),
                Kind::Encrypted => jar.private(key).decrypt(cookie.clone()),
            })
            .map(|opened| opened.value().to_owned())
    }

    pub(super) fn kind(&self) -> Option<Kind> {
        self.kind
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        if self.said_again {
            return Err(ConfigError::CookieSealedTwice);
        }
        let Some(kind) = self.kind else {
            return match self.keys.first() {
                None => Ok(()),
                Some(_) => Err(ConfigError::CookieKeyWithoutUse),
            };
        };
        for (index, key) in self.keys.iter().enumerate() {
            let used = |key: &Key| match kind {
                Kind::Signed => key.signing().to_vec(),
                Kind::Encrypted => key.encryption().to_vec(),
            };
            if is_weak(&used(key)) {
                return Err(ConfigError::WeakCookieKey);
            }
            if self.keys[..index]
                .iter()
                .any(|other| used(other) == used(key))
            {
                return Err(ConfigError::CookieKeyReused);
            }
        }
        Ok(())
    }
}

/// Whether key material is a placeholder (zeroes, a repeated word) and no random bytes: of 32
/// random ones, fewer than 12 different is a chance of 1 in 10^25.
fn is_weak(material: &[u8]) -> bool {
    let mut values = material.to_vec();
    values.sort_unstable();
    values.dedup();
    values.len() < 12
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            None => f.write_str("None"),
            Some(kind) => write!(f, "{kind:?}([REDACTED]; {})", self.keys.len()),
        }
    }
}
