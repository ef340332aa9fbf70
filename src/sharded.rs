//! A map behind several locks, so that requests of different keys rarely wait for one another.

use std::{
    collections::HashMap,
    hash::{BuildHasher, BuildHasherDefault, Hash, Hasher, RandomState},
    sync::{Mutex, PoisonError},
};

const SHARDS: usize = 16;

pub(crate) struct Sharded<K, V> {
    hasher: RandomState,
    shards: [Mutex<Part<K, V>>; SHARDS],
}

/// A part of the map, under one lock.
pub(crate) type Part<K, V> = HashMap<Key<K>, V, BuildHasherDefault<Hashed>>;

/// A key with its hash, so that what is added and removed again is hashed once.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Key<K> {
    hash: u64,
    key: K,
}

impl<K> Hash for Key<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// Passes the hash of a [`Key`] on.
#[derive(Default)]
pub(crate) struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("a `Key` writes its hash")
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

impl<K: Hash, V> Sharded<K, V> {
    pub(crate) fn new() -> Self {
        Self {
            hasher: RandomState::new(),
            shards: Default::default(),
        }
    }

    pub(crate) fn key(&self, key: K) -> Key<K> {
        Key {
            hash: self.hasher.hash_one(&key),
            key,
        }
    }

    /// Calls a closure with the part of the map that has this key, under its lock.
    pub(crate) fn with<R>(&self, key: &Key<K>, work: impl FnOnce(&mut Part<K, V>) -> R) -> R {
        // The map takes the lowest and the highest bits.
        let shard = (key.hash >> 48) % (SHARDS as u64);
        let Some(shard) = usize::try_from(shard).ok().and_then(|i| self.shards.get(i)) else {
            unreachable!("the remainder is smaller than the number of shards")
        };
        work(&mut shard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Calls a closure with each value. The lock of one part is held at a time.
    #[cfg(feature = "open-scopes")]
    pub(crate) fn each(&self, mut work: impl FnMut(&V)) {
        for shard in &self.shards {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.values().for_each(&mut work);
        }
    }
}
