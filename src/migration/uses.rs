//! Counts uses by place and route.

use std::{
    collections::HashMap,
    panic::Location,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{SingletonUse, route};
use crate::{context::UserContext, measured::SingletonUses};

/// The uses of one object.
#[derive(Default)]
pub(super) struct Uses(RwLock<Known>);

#[derive(Default)]
struct Known {
    counts: HashMap<Used, Count>,
    /// Beyond [`Uses::MOST`].
    others: Option<Count>,
}

/// Where something is used.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Used {
    place: &'static Location<'static>,
    route: Option<Arc<str>>,
}

struct Count {
    uses: AtomicU64,
    metric: SingletonUses,
}

impl Count {
    fn new(metric: SingletonUses) -> Self {
        Self {
            uses: AtomicU64::new(0),
            metric,
        }
    }

    fn add(&self) {
        self.uses.fetch_add(1, Ordering::Relaxed);
        self.metric.add();
    }
}

impl Known {
    /// Counts a use whose place is known, or that is one of too many.
    fn add(&self, used: &Used) -> bool {
        match self.counts.get(used).or(self.others.as_ref()) {
            Some(count) => {
                count.add();
                true
            }
            None => false,
        }
    }
}

impl Uses {
    const MOST: usize = 256;

    /// Counts a use, and reports it if it is the first one of its place and route.
    pub(super) fn count(&self, singleton: &'static str, place: &'static Location<'static>) {
        let route = route::current();
        let used = Used { place, route };
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if known.add(&used) {
            return;
        }
        drop(known);
        if self.add(singleton, &used) {
            // Without the lock: a subscriber may use the object too.
            let context = UserContext::current();
            tracing::warn!(
                target: "tower_user_scope::migration",
                singleton,
                place = %place,
                route = used.route.as_deref(),
                request_id = context.as_ref().map(|context| context.request_id().as_str()),
                "singleton used: let the handler take `Scoped` instead"
            );
        }
    }

    /// Counts a use under the lock, and returns whether it is reported.
    fn add(&self, singleton: &'static str, used: &Used) -> bool {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have been here first.
        if known.add(used) {
            return false;
        }
        if known.counts.len() == Self::MOST {
            let others = Count::new(SingletonUses::of_others(singleton));
            known.others.insert(others).add();
            return false;
        }
        let metric = SingletonUses::at(singleton, used.place, used.route.as_deref());
        let count = Count::new(metric);
        count.add();
        known.counts.insert(used.clone(), count);
        true
    }

    /// Returns all uses.
    pub(super) fn list(&self) -> Vec<SingletonUse> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let of = |used: Option<&Used>, count: &Count| {
            let (place, route) = used.map(|used| (used.place, used.route.clone())).unzip();
            SingletonUse::new(place, route.flatten(), count.uses.load(Ordering::Relaxed))
        };
        let counts = known.counts.iter();
        let counts = counts.map(|(used, count)| of(Some(used), count));
        let others = known.others.iter().map(|count| of(None, count));
        counts.chain(others).collect()
    }
}
