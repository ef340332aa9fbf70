//! Verifies signed cookies and decrypts encrypted ones, with the current key and older ones.

use std::fmt;

use ::cookie::{Cookie, CookieJar, Key};

use crate::config_error::ConfigError;

/// The key of a signed or an encrypted cookie; it never prints.
///
/// It is the one that `SessionManagerLayer` signs or encrypts with:
///
/// ```
/// use tower_user_scope::session::CookieKey;
///
/// # mod tower_sessions { pub mod cookie { pub struct Key;
/// #     impl Key { pub fn generate() -> Self { Self } pub fn master(&self) -> &[u8] { &[0; 64] } }
/// # } }
/// let key = tower_sessions::cookie::Key::generate();
/// let ours = CookieKey::from(key.master());
/// # let _ = ours;
/// ```
// `None` where it has too few bytes.
#[derive(Clone)]
pub struct CookieKey(Option<Key>);

impl CookieKey {
    /// Takes the first 64 of these bytes, as `cookie::Key::from` does: 32 that sign and 32 that
    /// encrypt.
    ///
    /// Fewer than 64 bytes, and those that are not random, are
    /// [an error](ConfigError::WeakCookieKey) of `build()`.
    #[must_use]
    pub fn from(bytes: &[u8]) -> Self {
        Self(Key::try_from(bytes).ok())
    }
}

impl fmt::Debug for CookieKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CookieKey([REDACTED])")
    }
}

/// How the cookie is protected against forgery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Signed,
    Encrypted,
}

/// The keys of a cookie. `Debug` does not show them.
#[derive(Clone, Default)]
pub(super) struct Seal {
    kind: Option<Kind>,
    keys: Vec<CookieKey>,
    /// Whether it was configured more than once, which is an error of `build()`.
    sealed_twice: bool,
}

impl Seal {
    pub(super) fn with(&mut self, kind: Kind, key: CookieKey) {
        self.sealed_twice |= self.kind.is_some();
        self.kind = Some(kind);
        self.keys.insert(0, key);
    }

    pub(super) fn also_accept(&mut self, key: CookieKey) {
        self.keys.push(key);
    }

    /// Returns the value; `None` if no key verifies or decrypts it.
    pub(super) fn open(&self, kind: Kind, cookie: &Cookie<'static>) -> Option<String> {
        let jar = CookieJar::new();
        self.keys
            .iter()
            .filter_map(|key| key.0.as_ref())
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
        if self.sealed_twice {
            return Err(ConfigError::CookieSealedTwice);
        }
        let Some(kind) = self.kind else {
            return match self.keys.first() {
                None => Ok(()),
                Some(_) => Err(ConfigError::CookieKeyWithoutUse),
            };
        };
        for (index, key) in self.keys.iter().enumerate() {
            let used = |key: &CookieKey| match (&key.0, kind) {
                (None, _) => Vec::new(),
                (Some(key), Kind::Signed) => key.signing().to_vec(),
                (Some(key), Kind::Encrypted) => key.encryption().to_vec(),
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

/// Whether key material is a placeholder (zeroes, a repeated word): 32 random bytes have fewer than
/// 12 different values with a probability of 1 in 10^25.
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
