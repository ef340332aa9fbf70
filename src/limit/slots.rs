//! Numbers of open scopes that are kept in this process.

use std::sync::Arc;

use super::counted::Counted;
use crate::sharded::{Key, Sharded};

/// How many slots each subject has taken. A subject without any has no entry.
pub(super) struct Slots {
    most: u32,
    taken: Sharded<Counted, u32>,
}

/// A slot, which is given back where this is dropped.
pub(super) struct Slot {
    slots: Arc<Slots>,
    who: Key<Counted>,
}

impl Slots {
    pub(super) fn new(most: u32) -> Self {
        Self {
            most,
            taken: Sharded::new(),
        }
    }

    /// Takes a slot, and returns it with how many are left; `None` where the subject has taken all of its
    /// own.
    pub(super) fn take(self: &Arc<Self>, who: Counted) -> Option<(Slot, u32)> {
        let who = self.taken.key(who);
        let left = self.taken.with(&who, |taken| {
            let count = taken.entry(who.clone()).or_insert(0);
            let left = self.most.checked_sub(*count)?.checked_sub(1)?;
            *count += 1;
            Some(left)
        })?;
        let slot = Slot {
            slots: Arc::clone(self),
            who,
        };
        Some((slot, left))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.taken.with(&self.who, |taken| {
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
