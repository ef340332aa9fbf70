//! Several keys, of which a token means one.

use std::sync::Arc;

use serde::Deserialize;

use super::{Algorithm, CryptoProvider, Key, KeyError, TokenProblem, header::Header};

/// Keys of one issuer: by their ids, or for tokens without a `kid` by their algorithm.
///
/// A token with a `kid` is verified with the key of that id, or where none has it with those
/// keys that have no id at all. A token without a `kid` is verified with the keys without an id,
/// at most [`KeySet::MAX_TRIED`] of an algorithm, or where there is none of those with the only
/// key that is for its algorithm.
///
/// ```
/// use tower_user_scope::jwt::KeySet;
///
/// let set = KeySet::from_jwks(
///     r#"{"keys": [{
///         "kty": "OKP", "crv": "Ed25519", "kid": "a", "use": "sig",
///         "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
///     }]}"#,
/// )?;
/// assert_eq!(set.len(), 1);
/// # Ok::<(), tower_user_scope::jwt::KeyError>(())
/// ```
#[derive(Clone, Debug)]
pub struct KeySet {
    keys: Vec<Arc<Key>>,
}

#[derive(Deserialize)]
struct JwkSet {
    keys: Vec<serde_json::Value>,
}

impl KeySet {
    /// How many keys without an id are tried for one algorithm.
    pub const MAX_TRIED: usize = 4;

    /// A set of these keys.
    ///
    /// # Errors
    /// [`KeyError`] for no key, two with one id, secrets beside public keys, or too many
    /// without an id.
    pub fn new(keys: impl IntoIterator<Item = Key>) -> Result<Self, KeyError> {
        let set = Self {
            keys: keys.into_iter().map(Arc::new).collect(),
        };
        set.check_together()?;
        Ok(set)
    }

    /// A JWK set (RFC 7517 section 5). Keys that are not for verifying or of an unknown type are
    /// left out, as the RFC asks; a bad one among those that are for verifying is an error.
    ///
    /// # Errors
    /// [`KeyError`] for what is no set, for a key that can't be used, and as [`new`](Self::new).
    pub fn from_jwks(json: impl AsRef<str>) -> Result<Self, KeyError> {
        let mut keys = Vec::new();
        for value in jwks(json.as_ref().as_bytes())? {
            match Key::from_jwk_value(&value) {
                Ok(key) => keys.push(key),
                Err(KeyError::NotForVerifying | KeyError::Unsupported) => {}
                Err(error) => return Err(error),
            }
        }
        Self::new(keys)
    }

    /// What an issuer publishes: each key that can be used, whatever the others are like.
    /// `skipped` hears of those that can't.
    #[cfg(feature = "jwks")]
    pub(super) fn from_issuer(
        json: &[u8],
        mut skipped: impl FnMut(&KeyError),
    ) -> Result<Self, KeyError> {
        let mut keys: Vec<Key> = Vec::new();
        let mut twice = Vec::new();
        for value in jwks(json)? {
            match Key::from_jwk_value(&value) {
                // A secret that is published is none.
                Ok(key) if key.algorithms().iter().any(|one| one.is_symmetric()) => {
                    skipped(&KeyError::MixedKeys);
                }
                Ok(key) => {
                    if key.id().is_some() && keys.iter().any(|known| known.id() == key.id()) {
                        skipped(&KeyError::DuplicateKeyId);
                        twice.extend(key.id().map(str::to_owned));
                    } else {
                        keys.push(key);
                    }
                }
                Err(error) => skipped(&error),
            }
        }
        // Which of two is meant by one id can't be told.
        keys.retain(|key| !key.id().is_some_and(|id| twice.iter().any(|two| two == id)));
        let mut set = Self {
            keys: keys.into_iter().map(Arc::new).collect(),
        };
        // Each goes with its algorithm, of which more would have to be tried than are.
        loop {
            match set.check_together() {
                Err(error @ KeyError::TooManyWithoutId { algorithm, .. }) => {
                    skipped(&error);
                    set.keys
                        .retain(|key| key.id().is_some() || !key.is_for(algorithm));
                }
                checked => return checked.map(|()| set),
            }
        }
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Never true: a set without keys can't be made.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    fn check_together(&self) -> Result<(), KeyError> {
        let mut keys = self.keys.iter();
        let Some(first) = keys.next() else {
            return Err(KeyError::NoKey);
        };
        let symmetric = first.algorithms()[0].is_symmetric();
        if keys.any(|key| key.algorithms()[0].is_symmetric() != symmetric) {
            return Err(KeyError::MixedKeys);
        }
        for (index, key) in self.keys.iter().enumerate() {
            let others = &self.keys[index + 1..];
            if key.id().is_some() && others.iter().any(|other| other.id() == key.id()) {
                return Err(KeyError::DuplicateKeyId);
            }
            for algorithm in key.algorithms() {
                if self.without_id(*algorithm).count() > Self::MAX_TRIED {
                    return Err(KeyError::TooManyWithoutId {
                        algorithm: *algorithm,
                        limit: Self::MAX_TRIED,
                    });
                }
            }
        }
        Ok(())
    }

    pub(super) fn check(&self, provider: CryptoProvider) -> Result<(), KeyError> {
        self.keys.iter().try_for_each(|key| key.check(provider))
    }

    fn without_id(&self, algorithm: Algorithm) -> impl Iterator<Item = &Arc<Key>> {
        self.keys
            .iter()
            .filter(move |key| key.id().is_none() && key.is_for(algorithm))
    }

    /// Whether this very key is one of the set: a removed one takes its verdicts with it.
    pub(super) fn holds(&self, key: &Arc<Key>) -> bool {
        self.keys.iter().any(|known| Arc::ptr_eq(known, key))
    }

    /// Keeps those of the `old` keys that are still in the set, with the verdicts they gave.
    #[cfg(feature = "jwks")]
    pub(super) fn keeping(mut self, old: &Self) -> Self {
        for key in &mut self.keys {
            if let Some(known) = old.keys.iter().find(|known| known.is_same_as(key)) {
                *key = Arc::clone(known);
            }
        }
        self
    }

    /// Verifies with the key that the header means, and returns it.
    pub(super) fn verify(
        &self,
        provider: CryptoProvider,
        header: &Header<'_>,
        message: &[u8],
        signature: &Vec<u8>,
    ) -> Result<&Arc<Key>, TokenProblem> {
        let algorithm = header.algorithm()?;
        let verify = |key: &Arc<Key>| key.verify(provider, algorithm, message, signature);
        if let Some(id) = header.key_id.as_deref() {
            if let Some(key) = self.keys.iter().find(|key| key.id() == Some(id)) {
                if !key.is_for(algorithm) {
                    return Err(TokenProblem::WrongAlgorithm);
                }
                return verify(key).map(|()| key);
            }
        }
        let mut problem = TokenProblem::UnknownKey;
        for key in self.without_id(algorithm) {
            match verify(key) {
                Ok(()) => return Ok(key),
                Err(error) => problem = error,
            }
        }
        // The key of an id that is not known may only be new.
        if header.key_id.is_some() {
            return Err(TokenProblem::UnknownKey);
        }
        if problem == TokenProblem::Signature {
            return Err(problem);
        }
        let mut fitting = self.keys.iter().filter(|key| key.is_for(algorithm));
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => verify(key).map(|()| key),
            (Some(_), Some(_)) => Err(TokenProblem::AmbiguousKey),
            (None, _) => Err(TokenProblem::WrongAlgorithm),
        }
    }
}

fn jwks(json: &[u8]) -> Result<Vec<serde_json::Value>, KeyError> {
    serde_json::from_slice::<JwkSet>(json)
        .map(|set| set.keys)
        .map_err(|_| KeyError::NotJwk)
}
