//! Numbers of open scopes that are kept in this process.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, PoisonError},
};

use super::counted::Counted;

/// Requests of different subjects rarely wait for one another.
const SHARDS: usize = 16;

/// How many slots each subject has taken. A subject without any has no entry.
pub(super) struct Slots {
    most: u32,
    hasher: RandomState,
    shards: [Mutex<HashMap<Counted, u32>>; SHARDS],
}

/// A slot, which is given back where this is dropped.
pub(super) struct Slot {
    slots: Arc<Slots>,
    who: Counted,
}

impl Slots {
    pub(super) fn new(most: u32) -> Self {
        Self {
            most,
            hasher: RandomState::new(),
            shards: Default::default(),
        }
    }

    /// Takes a slot; `None` where the subject has taken all of its own.
    pub(super) fn take(self: &Arc<Self>, who: Counted) -> Option<Slot> {
        self.change(&who, |taken| {
            let count = taken.entry(who.clone()).or_insert(0);
            let is_free = *count < self.most;
            *count += u32::from(is_free);
            is_free
        })
        .then(|| Slot {
            slots: Arc::clone(self),
            who,
        })
    }

    fn change<R>(&self, who: &Counted, change: impl FnOnce(&mut HashMap<Counted, u32>) -> R) -> R {
        let shard = self.hasher.hash_one(who) % (SHARDS as u64);
        let Some(shard) = usize::try_from(shard).ok().and_then(|i| self.shards.get(i)) else {
            unreachable!("the remainder is smaller than the number of shards")
        };
        change(&mut shard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.change(&self.who, |taken| {
            match taken.get_mut(&self.who) {
                Some(count) if *count > 1 => *count -= 1,
                _ => {
                    taken.remove(&self.who);
                }
            }
            // What a storm of subjects took is given back after it.
            if taken.len() * 4 < taken.capacity() && taken.capacity() > 1024 {
                taken.shrink_to(taken.len() * 2);
            }
        });
    }
}
