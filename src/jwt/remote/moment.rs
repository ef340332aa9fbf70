//! How long ago something was, by two clocks.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// A point in time on the layer's clock and on the monotonic one.
///
/// Nobody can turn the monotonic clock back, but it stands still while the machine sleeps. The
/// layer's goes on then, but may be turned back. What has ended by either of them has ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    wall: SystemTime,
    steady: Instant,
}

impl Moment {
    pub(super) fn at(wall: SystemTime) -> Self {
        Self {
            wall,
            steady: Instant::now(),
        }
    }

    /// How long ago this was, by the clock that says longer.
    pub(super) fn elapsed(self, now: Self) -> Duration {
        let wall = now.wall.duration_since(self.wall).unwrap_or_default();
        now.steady.saturating_duration_since(self.steady).max(wall)
    }
}
