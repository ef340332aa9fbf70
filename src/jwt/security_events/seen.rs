//! The tokens that were accepted before, by a digest of their ids.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Mutex, PoisonError},
};

use crate::token::{Fingerprint, fingerprint};

/// Remembers the newest ids.
#[derive(Default)]
pub(super) struct Seen {
    all: Mutex<Remembered>,
}

#[derive(Default)]
struct Remembered {
    set: HashSet<Fingerprint>,
    order: VecDeque<Fingerprint>,
}

impl Seen {
    /// Whether this is the first time, as far as it is remembered. Forgets the oldest above `most`.
    pub(super) fn is_first(&self, issuer: &str, token_id: &str, most: usize) -> bool {
        // A length tells where the issuer ends.
        let id = fingerprint(&format!("{}:{issuer}{token_id}", issuer.len()));
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if !all.set.insert(id) {
            return false;
        }
        all.order.push_back(id);
        if all.order.len() > most {
            if let Some(oldest) = all.order.pop_front() {
                all.set.remove(&oldest);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::Seen;

    #[test]
    fn the_newest_are_remembered() {
        let seen = Seen::default();
        assert!(seen.is_first("a", "bc", 2));
        assert!(seen.is_first("ab", "c", 2));
        assert!(!seen.is_first("a", "bc", 2));
        assert!(seen.is_first("a", "d", 2));
        assert!(seen.is_first("a", "bc", 2), "the oldest was forgotten");
        assert!(!seen.is_first("a", "d", 2));
    }
}
