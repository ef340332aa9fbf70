//! How much of something a subject may use.

use std::time::Duration;

/// How many requests a subject may make in a period, and how many of them at once.
///
/// The rate is kept by the generic cell rate algorithm (GCRA): a subject that has made its requests
/// may make the next one after `period / most`, so that there is no window at whose edge twice the
/// rate passes.
///
/// ```
/// use std::time::Duration;
/// use tower_user_scope::limit::Rate;
///
/// // One each 100 ms on average, and ten at once after a pause.
/// let rate = Rate::new(600, Duration::from_secs(60)).with_burst(10);
/// assert_eq!((rate.most(), rate.burst()), (600, 10));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    most: u32,
    period: Duration,
    burst: u32,
}

impl Rate {
    /// Creates a rate of `most` requests in each period, all of which may be made at once.
    ///
    /// A rate of zero, a period of zero, and more than one request each nanosecond are errors of
    /// `build()`.
    #[must_use]
    pub const fn new(most: u32, period: Duration) -> Self {
        Self {
            most,
            period,
            burst: most,
        }
    }

    /// Sets how many requests may be made at once after a pause; zero is an error of `build()`.
    #[must_use]
    pub const fn with_burst(mut self, burst: u32) -> Self {
        self.burst = burst;
        self
    }

    /// Returns how many requests may be made in each period.
    #[must_use]
    pub const fn most(&self) -> u32 {
        self.most
    }

    /// Returns the period.
    #[must_use]
    pub const fn period(&self) -> Duration {
        self.period
    }

    /// Returns how many requests may be made at once.
    #[must_use]
    pub const fn burst(&self) -> u32 {
        self.burst
    }
}

/// What a [`Limit`](super::Limit) allows each subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Quota {
    /// So many requests in each period.
    Rate(Rate),
    /// So many scopes that are open at once.
    #[non_exhaustive]
    Concurrency {
        /// How many.
        most: u32,
    },
}

impl Quota {
    /// Whether requests can be made within it.
    pub(super) fn is_valid(&self) -> bool {
        match self {
            Self::Rate(rate) => rate.burst > 0 && rate.interval() > 0,
            Self::Concurrency { most } => *most > 0,
        }
    }
}

impl Rate {
    /// The nanoseconds between two requests; 0 where the rate is not valid. Periods above 584 years
    /// count as that.
    pub(super) fn interval(&self) -> u64 {
        let period = u64::try_from(self.period.as_nanos()).unwrap_or(u64::MAX);
        period.checked_div(u64::from(self.most)).unwrap_or(0)
    }
}
