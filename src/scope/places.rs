//! The places in the program at which factories are used outside every scope.

use std::{
    collections::HashSet,
    panic::Location,
    sync::{LazyLock, PoisonError, RwLock},
};

/// Places that were reported. Each one is reported once, and no more than [`MOST`](Self::MOST) are.
#[derive(Default)]
pub(crate) struct Places(RwLock<Reported>);

#[derive(Default)]
struct Reported {
    /// By place and type of the factory: generic code is one place for several types.
    places: HashSet<(&'static Location<'static>, &'static str)>,
    is_full: bool,
}

/// What there is to report about a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Report {
    Place,
    /// That this place and those after it are not reported.
    Limit,
    Nothing,
}

/// The places of layers without observers and hooks, whose events go to the log of the process.
pub(super) static UNOBSERVED: LazyLock<Places> = LazyLock::new(Places::default);

impl Places {
    pub(super) const MOST: usize = 64;

    pub(super) fn add(&self, place: &'static Location<'static>, factory: &'static str) -> Report {
        let place = (place, factory);
        let is_known = |reported: &Reported| reported.is_full || reported.places.contains(&place);
        if is_known(&self.0.read().unwrap_or_else(PoisonError::into_inner)) {
            return Report::Nothing;
        }
        let mut reported = self.0.write().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have been here first.
        if is_known(&reported) {
            return Report::Nothing;
        }
        if reported.places.len() == Self::MOST {
            reported.is_full = true;
            return Report::Limit;
        }
        reported.places.insert(place);
        Report::Place
    }
}
