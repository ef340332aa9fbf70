//! Elapsed time by two clocks.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// A point in time on the layer's clock and on the monotonic clock.
///
/// The monotonic clock can't be set back but stops while the machine sleeps; the layer's clock is the
/// reverse. A period has ended when it has ended by either.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    wall: SystemTime,
    monotonic: Instant,
}

impl Moment {
    pub(crate) fn at(wall: SystemTime) -> Self {
        Self {
            wall,
            monotonic: Instant::now(),
        }
    }

    /// Returns the longer of the two elapsed times.
    pub(crate) fn elapsed(self, now: Self) -> Duration {
        let wall = now.wall.duration_since(self.wall).unwrap_or_default();
        now.monotonic
            .saturating_duration_since(self.monotonic)
            .max(wall)
    }
}
