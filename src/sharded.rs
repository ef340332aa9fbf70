//! A map behind several locks, so that requests of different keys rarely wait for one another.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash, RandomState},
    sync::{Mutex, PoisonError},
};

const SHARDS: usize = 16;

pub(crate) struct Sharded<K, V> {
    hasher: RandomState,
    shards: [Mutex<HashMap<K, V>>; SHARDS],
}

impl<K: Hash, V> Sharded<K, V> {
    pub(crate) fn new() -> Self {
        Self {
            hasher: RandomState::new(),
            shards: Default::default(),
        }
    }

    /// Calls a closure with the part of the map that has this key, under its lock.
    pub(crate) fn with<R>(&self, key: &K, work: impl FnOnce(&mut HashMap<K, V>) -> R) -> R {
        let shard = self.hasher.hash_one(key) % (SHARDS as u64);
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
