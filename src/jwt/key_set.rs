//! The keys of one issuer, and which of them verifies a token.
//!
//! Knows nothing of how sets are fetched.

use std::{collections::HashMap, sync::Arc};

use tracing::warn;

use super::{
    Algorithm, CryptoProvider, Key, KeyError, TokenErrorKind,
    header::Header,
    jwk::Jwk,
    published::{self, conflicts, deduplicated, published, usable},
    skipped::Skipped,
};

/// The keys of one issuer.
///
/// A token is verified with these keys, if they are for its algorithm:
///
/// - with a `kid`, the key of that id (RFC 7517 section 4.5); if no key has that id, the keys without
///   an id;
/// - without a `kid`, the keys without an id, at most [`KeySet::MAX_TRIED`]; if there are none, the
///   only key for the algorithm.
///
/// Keys with the same id for different algorithms are different keys. Equal keys are merged. Two
/// different keys with the same id and algorithm are ambiguous, and neither is used.
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

impl KeySet {
    /// The maximum number of keys. Of a published set, later keys are ignored.
    pub const MAX_KEYS: usize = published::MAX_KEYS;

    /// The maximum number of keys without an id for one algorithm.
    pub const MAX_TRIED: usize = published::MAX_TRIED;

    /// Creates a set of these keys.
    ///
    /// # Errors
    /// [`KeyError`] for no key, more than [`MAX_KEYS`](Self::MAX_KEYS), two different ones with one
    /// id and algorithm, secrets beside public keys, or too many without an id.
    pub fn new(keys: impl IntoIterator<Item = Key>) -> Result<Self, KeyError> {
        let keys: Vec<_> = keys.into_iter().take(Self::MAX_KEYS + 1).collect();
        if keys.len() > Self::MAX_KEYS {
            return Err(KeyError::TooManyKeys(Self::MAX_KEYS));
        }
        let keys = deduplicated(keys);
        match conflicts(&keys).into_iter().flatten().next() {
            Some(error) => Err(error),
            None => Self::of_one_kind(keys),
        }
    }

    /// Reads a JWK set (RFC 7517 section 5). A key that can't be used is left out, and reported in a
    /// warning of `tracing`.
    ///
    /// [`from_jwks_strict`](Self::from_jwks_strict) refuses such a set.
    ///
    /// # Errors
    /// [`KeyError`] for a text that is not a set, and for secrets beside public keys. If no key is left,
    /// why the first one was left out.
    pub fn from_jwks(json: impl AsRef<str>) -> Result<Self, KeyError> {
        let (keys, skipped) = usable(json.as_ref().as_bytes(), |_| Ok(()))?;
        if !skipped.is_empty() {
            warn!("{skipped}");
        }
        if keys.is_empty() {
            return Err(skipped.first().cloned().unwrap_or(KeyError::NoKey));
        }
        Self::of_one_kind(keys)
    }

    /// Reads a JWK set (RFC 7517 section 5), and fails if a key can't be used. Keys that are declared for
    /// another purpose, or of an unknown type, are left out, as the RFC asks.
    ///
    /// ```
    /// use tower_user_scope::jwt::{KeyError, KeySet};
    ///
    /// let short = r#"{"kty": "OKP", "crv": "Ed25519", "kid": "short", "x": "AAAA"}"#;
    /// let good = r#"{"kty": "OKP", "crv": "Ed25519", "kid": "a",
    ///                "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    /// let json = format!(r#"{{"keys": [{short}, {good}]}}"#);
    /// assert!(KeySet::from_jwks_strict(&json).is_err());
    /// assert_eq!(KeySet::from_jwks(&json)?.len(), 1);
    /// # Ok::<(), KeyError>(())
    /// ```
    ///
    /// # Errors
    /// [`KeyError`] for a text that is not a set, for a key that can't be used, and as [`new`](Self::new).
    pub fn from_jwks_strict(json: impl AsRef<str>) -> Result<Self, KeyError> {
        let published = published(json.as_ref().as_bytes())?;
        if published.total > Self::MAX_KEYS {
            return Err(KeyError::TooManyKeys(Self::MAX_KEYS));
        }
        let mut keys = Vec::new();
        for value in &published.read {
            match Jwk::new(value.get())?.key() {
                Ok(key) => keys.push(key),
                Err(KeyError::NotForVerifying | KeyError::Unsupported) => {}
                Err(error) => return Err(error),
            }
        }
        Self::new(keys)
    }

    /// Reads a set that an issuer publishes: each key that can be used, secrets excluded. `skipped` is
    /// called with the others, if there are any.
    pub(super) fn from_issuer(
        json: &[u8],
        skipped: impl FnOnce(&Skipped),
    ) -> Result<Self, KeyError> {
        let (keys, left_out) = usable(json, |key| {
            if key.algorithms().iter().any(|one| one.is_symmetric()) {
                return Err(KeyError::PublishedSecret);
            }
            Ok(())
        })?;
        if !left_out.is_empty() {
            skipped(&left_out);
        }
        Self::of_one_kind(keys)
    }

    /// Returns the number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Returns false: a set has at least one key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    fn of_one_kind(keys: Vec<Key>) -> Result<Self, KeyError> {
        let symmetric = |key: &Key| key.algorithms()[0].is_symmetric();
        let first = keys.first().map(symmetric).ok_or(KeyError::NoKey)?;
        if keys.iter().any(|key| symmetric(key) != first) {
            return Err(KeyError::MixedKeys);
        }
        Ok(Self {
            keys: keys.into_iter().map(Arc::new).collect(),
        })
    }

    pub(super) fn check(&self, provider: CryptoProvider) -> Result<(), KeyError> {
        self.keys.iter().try_for_each(|key| key.check(provider))
    }

    fn without_id(&self, algorithm: Algorithm) -> impl Iterator<Item = &Arc<Key>> {
        self.keys
            .iter()
            .filter(move |key| key.id().is_none() && key.is_for(algorithm))
    }

    /// Whether this key, by pointer, is in the set. A verdict ends with the key that gave it.
    pub(super) fn contains(&self, key: &Arc<Key>) -> bool {
        self.keys.iter().any(|known| Arc::ptr_eq(known, key))
    }

    /// Replaces keys by equal `old` ones, so that verdicts of the old ones stay valid.
    pub(super) fn reusing(mut self, old: &Self) -> Self {
        let old: HashMap<_, _> = old
            .keys
            .iter()
            .map(|known| (known.fingerprint(), known))
            .collect();
        for key in &mut self.keys {
            if let Some(known) = old.get(&key.fingerprint()) {
                *key = Arc::clone(known);
            }
        }
        self
    }

    /// Verifies with the key that the header selects, and returns it.
    pub(super) fn verify(
        &self,
        provider: CryptoProvider,
        header: &Header<'_>,
        message: &[u8],
        signature: &Vec<u8>,
    ) -> Result<&Arc<Key>, TokenErrorKind> {
        let algorithm = header.algorithm()?;
        let verify = |key: &Arc<Key>| key.verify(provider, algorithm, message, signature);
        if let Some(id) = header.key_id.as_deref() {
            let mut of_id = self.keys.iter().filter(|key| key.id() == Some(id));
            if of_id.clone().next().is_some() {
                let key = of_id.find(|key| key.is_for(algorithm));
                let key = key.ok_or(TokenErrorKind::WrongAlgorithm)?;
                return verify(key).map(|()| key);
            }
        }
        let mut problem = TokenErrorKind::UnknownKey;
        for key in self.without_id(algorithm) {
            match verify(key) {
                Ok(()) => return Ok(key),
                Err(error) => problem = error,
            }
        }
        // A key with an unknown id may be new: the caller may fetch it.
        if header.key_id.is_some() {
            return Err(TokenErrorKind::UnknownKey);
        }
        if problem == TokenErrorKind::Signature {
            return Err(problem);
        }
        let mut fitting = self.keys.iter().filter(|key| key.is_for(algorithm));
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => verify(key).map(|()| key),
            (Some(_), Some(_)) => Err(TokenErrorKind::AmbiguousKey),
            (None, _) => Err(TokenErrorKind::WrongAlgorithm),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        r#""kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo""#;

    /// Returns the report of a published set, and how many of its keys are used.
    fn report(keys: &[String]) -> (Vec<String>, Result<usize, KeyError>) {
        let json = format!(r#"{{"keys":[{}]}}"#, keys.join(","));
        let mut lines = Vec::new();
        let set = KeySet::from_issuer(json.as_bytes(), |skipped| lines.push(skipped.to_string()));
        (lines, set.map(|set| set.len()))
    }

    #[test]
    fn one_short_line_reports_all_keys_that_are_left_out() {
        let good = |id: usize| format!(r#"{{{KEY},"kid":"{id}"}}"#);
        let long = format!(r#"{{{KEY},"kid":"{}\n","d":"AA"}}"#, "k".repeat(39));
        for (keys, line, left) in [
            (vec![good(1)], None, Ok(1)),
            // It is there for another purpose, and each set of some servers has one.
            (vec![good(1), r#"{"use":"enc"}"#.to_owned()], None, Ok(1)),
            (
                vec![good(1), "1".to_owned(), long.clone()],
                Some(format!(
                    "2 of 3 keys are left out: one without an id: {}; \"{}\\n\": {}",
                    KeyError::NotJwk,
                    "k".repeat(39),
                    KeyError::PrivateKey
                )),
                Ok(1),
            ),
            (
                vec![r#"{"kty":"oct","alg":"HS256","kid":"s","k":"c2VjcmV0IG9mIDMyIHJhbmRvbSBieXRlcywgaG9uZXN0bHk"}"#.to_owned(), good(1)],
                Some(format!(
                    "1 of 2 keys are left out: \"s\": {}",
                    KeyError::PublishedSecret
                )),
                Ok(1),
            ),
            (vec![good(1); 101], Some("1 of 101 keys are left out: only the first 100 are looked at".to_owned()), Ok(1)),
        ] {
            assert_eq!(report(&keys), (line.into_iter().collect(), left));
        }
    }

    #[test]
    fn however_many_keys_are_published_the_line_is_short_and_the_work_bounded() {
        let good = |id: usize| format!(r#"{{{KEY},"kid":"{id}"}}"#);
        for (keys, left) in [
            (vec!["1".to_owned(); 500_000], Err(KeyError::NoKey)),
            ((0..10_000).map(good).collect(), Ok(KeySet::MAX_KEYS)),
            (
                vec![format!("{{{KEY},\"kid\":7}}"); 10_000],
                Err(KeyError::NoKey),
            ),
        ] {
            let (lines, count) = report(&keys);
            assert_eq!(count, left);
            assert_eq!(lines.len(), 1);
            assert!(lines[0].len() < 600, "{}", lines[0]);
        }
    }
}
