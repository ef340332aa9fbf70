//! Whether the scope of a factory's own request is open, as the factory's handles see it.

use std::sync::atomic::{AtomicU8, Ordering};

/// The state of a scope. All handles of one factory share it.
///
/// Each access to a factory reads it once, without order: no other memory is read on the strength
/// of it.
pub(crate) struct ScopeState(AtomicU8);

/// No layer opened the scope, so nothing closes it.
const UNTRACKED: u8 = 0;
const OPEN: u8 = 1;
const CLOSED: u8 = 2;
/// Closed, and a use after that was reported.
const REPORTED: u8 = 3;

impl ScopeState {
    pub(crate) fn open() -> Self {
        Self(AtomicU8::new(OPEN))
    }

    /// Returns the state of a factory that no layer built.
    #[cfg(feature = "testing")]
    pub(crate) fn untracked() -> Self {
        Self(AtomicU8::new(UNTRACKED))
    }

    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.0.load(Ordering::Relaxed) == OPEN
    }

    pub(super) fn is_tracked(&self) -> bool {
        self.0.load(Ordering::Relaxed) != UNTRACKED
    }

    pub(super) fn is_closed(&self) -> bool {
        matches!(self.0.load(Ordering::Relaxed), CLOSED | REPORTED)
    }

    pub(super) fn close(&self) {
        self.0.store(CLOSED, Ordering::Relaxed);
    }

    /// Returns `true` to the first caller after the scope has closed.
    pub(super) fn is_first_report(&self) -> bool {
        let swapped =
            (self.0).compare_exchange(CLOSED, REPORTED, Ordering::Relaxed, Ordering::Relaxed);
        swapped.is_ok()
    }
}
