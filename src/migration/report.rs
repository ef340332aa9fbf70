//! What is known about the uses of a singleton.

use std::{cmp::Reverse, fmt, panic::Location, sync::Arc};

/// Where a [`Singleton`](super::Singleton) was used until now, and how often.
///
/// `Display` is a line for the sum and one for each place and route.
///
/// ```
/// use tower_user_scope::migration::Singleton;
///
/// let shared = Singleton::new(7_u32);
/// let _ = *shared + 1;
/// let report = Singleton::report(&shared).to_string();
/// assert!(report.starts_with("u32: used 1 time at 1 place\n"));
/// ```
#[derive(Clone, Debug)]
pub struct SingletonReport {
    singleton: &'static str,
    uses: Vec<SingletonUse>,
}

impl SingletonReport {
    pub(super) fn new(singleton: &'static str, mut uses: Vec<SingletonUse>) -> Self {
        uses.sort_by_cached_key(|used| {
            (
                used.place.is_none(),
                Reverse(used.count),
                used.route.clone(),
                used.place_text(),
            )
        });
        Self { singleton, uses }
    }

    /// Returns the uses, the most frequent first.
    #[must_use]
    pub fn uses(&self) -> &[SingletonUse] {
        &self.uses
    }

    /// Returns how often the object was used in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.uses.iter().map(|used| used.count).sum()
    }
}

impl fmt::Display for SingletonReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |n: u64| if n == 1 { "" } else { "s" };
        let (total, places) = (self.total(), self.uses.len());
        write!(
            f,
            "{}: used {total} time{} at {places} place{}",
            self.singleton,
            plural(total),
            plural(places as u64)
        )?;
        for used in &self.uses {
            write!(f, "\n{:>10}  {}", used.count, used.place_text())?;
            if let Some(route) = &used.route {
                write!(f, "  {route}")?;
            }
        }
        Ok(())
    }
}

/// The uses at one place of the program, on one route.
#[derive(Clone, Debug)]
pub struct SingletonUse {
    place: Option<&'static Location<'static>>,
    route: Option<Arc<str>>,
    count: u64,
}

impl SingletonUse {
    pub(super) fn new(
        place: Option<&'static Location<'static>>,
        route: Option<Arc<str>>,
        count: u64,
    ) -> Self {
        Self {
            place,
            route,
            count,
        }
    }

    /// Returns the place in the program; `None` for all those together that are too many to be listed.
    #[must_use]
    pub fn place(&self) -> Option<&'static Location<'static>> {
        self.place
    }

    /// Returns the route, as the [`RouteLayer`](super::RouteLayer) around it says.
    #[must_use]
    pub fn route(&self) -> Option<&str> {
        self.route.as_deref()
    }

    /// Returns how often the object was used there.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    fn place_text(&self) -> String {
        match self.place {
            Some(place) => place.to_string(),
            None => "other places".to_owned(),
        }
    }
}
