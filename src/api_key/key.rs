//! New keys.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};

use super::{
    ApiKeyHash, ApiKeyId,
    form::{Prefix, id_of},
};
use crate::config_error::ConfigError;

/// A new API key.
///
/// The application shows [the key](Self::expose_secret) to its owner once, and stores its
/// [hash](Self::hash) under its [identifier](Self::id). `Debug` shows the identifier only, and the
/// memory of the key is cleared when it is dropped.
///
/// ```
/// use tower_user_scope::api_key::ApiKey;
///
/// let key = ApiKey::generate("acme")?;
/// assert!(key.expose_secret().starts_with(&format!("acme_{}_", key.id())));
/// assert_eq!(format!("{key:?}"), format!("ApiKey({})", key.id()));
/// # Ok::<(), tower_user_scope::ConfigError>(())
/// ```
pub struct ApiKey {
    id: ApiKeyId,
    text: SecretString,
}

impl ApiKey {
    /// Generates a key with this prefix, a random identifier of 16 characters (95 bits) and a random
    /// secret of 43 (256 bits).
    ///
    /// The prefix says whose key it is to whoever finds one, such as a scanner for leaked secrets.
    ///
    /// # Errors
    /// [`ConfigError::ApiKeyPrefix`] if a key can't begin with the prefix.
    ///
    /// # Panics
    /// If the operating system has no randomness.
    pub fn generate(prefix: impl AsRef<str>) -> Result<Self, ConfigError> {
        let prefix = Prefix::new(prefix.as_ref());
        // Of the final length, so that no part of the secret stays in memory that was given back.
        let mut text = String::with_capacity(128);
        text.extend([prefix.text()?, "_"]);
        let begins = text.len();
        push_random(&mut text, 16);
        text.push('_');
        push_random(&mut text, 43);
        let Some(id) = id_of(&text[begins..]) else {
            unreachable!("a generated key has the form of a key")
        };
        let text = SecretString::from(text);
        Ok(Self { id, text })
    }

    /// Returns the identifier, under which the store finds the key.
    #[must_use]
    pub fn id(&self) -> &ApiKeyId {
        &self.id
    }

    /// Returns the hash that the store has.
    #[must_use]
    pub fn hash(&self) -> ApiKeyHash {
        ApiKeyHash::of(self.text.expose_secret())
    }

    /// Returns the whole key, for its owner.
    #[must_use]
    pub fn expose_secret(&self) -> &str {
        self.text.expose_secret()
    }
}

/// Appends random letters and digits, each of 5.95 bits.
#[expect(clippy::panic, reason = "without randomness no key may be made")]
fn push_random(text: &mut String, count: usize) {
    const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let end = text.len() + count;
    while text.len() < end {
        let mut bytes = [0; 64];
        if let Err(error) = getrandom::fill(&mut bytes) {
            panic!("the operating system has no randomness: {error}");
        }
        // Larger numbers are left out: they would make some characters more frequent than others.
        let fair = bytes.iter().filter(|byte| **byte < 62 * 4);
        for byte in fair.take(end - text.len()) {
            text.push(char::from(ALPHABET[usize::from(*byte % 62)]));
        }
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKey({})", self.id)
    }
}
