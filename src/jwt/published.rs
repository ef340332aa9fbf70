//! Reads JWK sets (RFC 7517 section 5), and sorts out keys that can't be in one set.

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{Algorithm, Key, KeyError, jwk::Jwk, skipped::Skipped};

/// The maximum number of keys in a set.
pub(super) const MAX_KEYS: usize = 100;

/// The maximum number of keys without an id for one algorithm.
pub(super) const MAX_TRIED: usize = 4;

/// Returns the keys of a set that can be used and that `admits` accepts, and a report of the others.
pub(super) fn usable(
    json: &[u8],
    admits: impl Fn(&Key) -> Result<(), KeyError>,
) -> Result<(Vec<Key>, Skipped), KeyError> {
    let published = published(json)?;
    let unread = published.total - published.read.len();
    let mut skipped = Skipped::new(published.total, unread);
    let mut keys = Vec::new();
    for value in &published.read {
        let jwk = Jwk::new(value.get());
        let key = jwk.as_ref().map_err(Clone::clone).and_then(Jwk::key);
        match key.and_then(|key| admits(&key).map(|()| key)) {
            Ok(key) => keys.push(key),
            Err(error) => {
                let id = jwk.ok().and_then(|jwk| jwk.id().ok().flatten());
                skipped.add(id.as_deref(), error);
            }
        }
    }
    let keys = deduplicated(keys);
    let conflicts = conflicts(&keys);
    let mut usable = Vec::with_capacity(keys.len());
    for (key, conflict) in keys.into_iter().zip(conflicts) {
        match conflict {
            Some(error) => skipped.add(key.id(), error),
            None => usable.push(key),
        }
    }
    Ok((usable, skipped))
}

/// Removes keys that are equal to an earlier one.
pub(super) fn deduplicated(keys: Vec<Key>) -> Vec<Key> {
    let mut known = HashSet::new();
    let first: Vec<bool> = keys
        .iter()
        .map(|key| known.insert(key.fingerprint()))
        .collect();
    drop(known);
    let keys = keys.into_iter().zip(first);
    keys.filter_map(|(key, first)| first.then_some(key))
        .collect()
}

/// Returns for each key why it can't be in a set with the others.
pub(super) fn conflicts(keys: &[Key]) -> Vec<Option<KeyError>> {
    let mut count: HashMap<(Option<&str>, Algorithm), usize> = HashMap::new();
    for key in keys {
        for algorithm in key.algorithms() {
            *count.entry((key.id(), *algorithm)).or_default() += 1;
        }
    }
    let conflict = |key: &Key| {
        key.algorithms().iter().find_map(|algorithm| {
            let count = count[&(key.id(), *algorithm)];
            match key.id() {
                Some(_) if count > 1 => Some(KeyError::DuplicateKeyId),
                None if count > MAX_TRIED => Some(KeyError::TooManyWithoutId {
                    algorithm: *algorithm,
                    limit: MAX_TRIED,
                }),
                _ => None,
            }
        })
    };
    keys.iter().map(conflict).collect()
}

pub(super) fn published(json: &[u8]) -> Result<Published<'_>, KeyError> {
    #[derive(Deserialize)]
    struct JwkSet<'j> {
        #[serde(borrow)]
        keys: Published<'j>,
    }

    serde_json::from_slice::<JwkSet<'_>>(json)
        .map(|set| set.keys)
        .map_err(|_| KeyError::NotJwk)
}

/// The `keys` of a JWK set: the text of at most [`MAX_KEYS`] of them, and how many there were.
pub(super) struct Published<'j> {
    pub(super) read: Vec<&'j RawValue>,
    pub(super) total: usize,
}

impl<'j, 'de: 'j> Deserialize<'de> for Published<'j> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;

        impl<'de> Visitor<'de> for Read {
            type Value = Published<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of keys")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut keys: A) -> Result<Published<'de>, A::Error> {
                let mut read = Vec::new();
                while read.len() < MAX_KEYS {
                    let Some(key) = keys.next_element()? else {
                        let total = read.len();
                        return Ok(Published { read, total });
                    };
                    read.push(key);
                }
                let mut total = read.len();
                while keys.next_element::<IgnoredAny>()?.is_some() {
                    total += 1;
                }
                Ok(Published { read, total })
            }
        }

        deserializer.deserialize_seq(Read)
    }
}
