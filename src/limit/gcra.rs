//! Rates that are kept in this process: the generic cell rate algorithm on a table of fixed size.
//!
//! `governor` has the algorithm too. Its keyed stores grow with every key until they are told to
//! sweep, so a flood of subjects decides their size; the tests compare the two.

use std::{
    array,
    hash::{BuildHasher, RandomState},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{counted::Counted, fields::Left, quota::Rate};

/// The entries of a set: few enough to look at all of them.
const WAYS: usize = 8;

/// The time at which a subject has used nothing, in nanoseconds after the table's start, beside a
/// hash of the subject. A time that has passed is that of a subject that may use everything.
#[derive(Clone, Copy, Default)]
struct Entry {
    tag: u64,
    fresh_at: u64,
}

/// When each subject may make its next requests.
///
/// A subject has its place in one set, by a hash with a random key. A full set forgets the subject
/// that has used least, so that those near their limit are remembered.
pub(super) struct Rates {
    start: Instant,
    interval: u64,
    /// How far `fresh_at` may be ahead.
    tolerance: u64,
    hashers: [RandomState; 2],
    sets: Box<[Mutex<[Entry; WAYS]>]>,
}

impl Rates {
    pub(super) fn new(rate: &Rate, subjects: usize) -> Self {
        let interval = rate.interval();
        Self {
            start: Instant::now(),
            interval,
            tolerance: interval.saturating_mul(u64::from(rate.burst())),
            hashers: array::from_fn(|_| RandomState::new()),
            sets: (0..subjects.div_ceil(WAYS).max(1))
                .map(|_| Mutex::default())
                .collect(),
        }
    }

    /// Counts a request and returns what is left, or returns after how long the next one is allowed.
    pub(super) fn take(&self, who: &Counted) -> Result<Left, Duration> {
        let now = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let [place, tag] = self.hashers.each_ref().map(|hasher| hasher.hash_one(who));
        let index = place % (self.sets.len() as u64);
        let Some(set) = usize::try_from(index).ok().and_then(|i| self.sets.get(i)) else {
            unreachable!("the remainder is smaller than the number of sets")
        };
        let mut set = set.lock().unwrap_or_else(PoisonError::into_inner);
        let known = set.iter_mut().position(|entry| entry.tag == tag);
        let fresh_at = known.map_or(0, |at| set[at].fresh_at).max(now);
        let next = fresh_at.saturating_add(self.interval);
        if next - now > self.tolerance {
            return Err(Duration::from_nanos(next - now - self.tolerance));
        }
        let entry = match known {
            Some(at) => Some(&mut set[at]),
            None => set.iter_mut().min_by_key(|entry| entry.fresh_at),
        };
        if let Some(entry) = entry {
            *entry = Entry {
                tag,
                fresh_at: next,
            };
        }
        let used = next - now;
        Ok(Left {
            remaining: (self.tolerance - used) / self.interval,
            reset: Some(Duration::from_nanos(used)),
        })
    }
}
