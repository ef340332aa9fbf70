//! A clock that tests set.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use crate::clock::Clock;
#[cfg(feature = "tokio")]
use crate::clock::ClockFuture;

/// A [`Clock`] that tests set. Clones share the time.
///
/// ```
/// use std::time::Duration;
/// use tower_user_scope::{ExistingContext, UserScopeLayer, testing::TestClock};
///
/// let clock = TestClock::now();
/// let layer = UserScopeLayer::builder()
///     .strategy(ExistingContext::new())
///     .clock(clock.clone())
///     .context_only()
///     .build()?;
/// // An hour later, without waiting for it.
/// clock.advance(Duration::from_secs(3_600));
/// # let _ = layer;
/// # Ok::<(), tower_user_scope::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct TestClock(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    time: Mutex<SystemTime>,
    #[cfg(feature = "tokio")]
    changed: tokio::sync::Notify,
}

impl TestClock {
    /// Creates a clock that shows this time.
    #[must_use]
    pub fn at(time: SystemTime) -> Self {
        Self(Arc::new(Shared {
            time: Mutex::new(time),
            #[cfg(feature = "tokio")]
            changed: tokio::sync::Notify::new(),
        }))
    }

    /// Creates a clock that shows the system's current time.
    #[must_use]
    pub fn now() -> Self {
        Self::at(SystemTime::now())
    }

    /// Moves it forwards.
    ///
    /// # Panics
    /// If `SystemTime` can't represent the new time.
    pub fn advance(&self, by: Duration) {
        self.change(|time| time.checked_add(by));
    }

    /// Moves it backwards, as an administrator or NTP may do.
    ///
    /// # Panics
    /// If `SystemTime` can't represent the new time.
    pub fn rewind(&self, by: Duration) {
        self.change(|time| time.checked_sub(by));
    }

    /// Sets it to this time.
    pub fn set(&self, time: SystemTime) {
        self.change(|_| Some(time));
    }

    fn change(&self, change: impl FnOnce(SystemTime) -> Option<SystemTime>) {
        let mut time = self.0.time.lock().unwrap_or_else(PoisonError::into_inner);
        *time = change(*time).expect("a time that `SystemTime` can represent");
        drop(time);
        #[cfg(feature = "tokio")]
        self.0.changed.notify_waiters();
    }
}

impl Clock for TestClock {
    fn now(&self) -> SystemTime {
        *self.0.time.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a test has set or moved the clock, and not for time to pass.
    #[cfg(feature = "tokio")]
    fn wait_until(&self, time: SystemTime) -> ClockFuture {
        let clock = self.clone();
        Box::pin(async move {
            loop {
                let mut changed = std::pin::pin!(clock.0.changed.notified());
                changed.as_mut().enable();
                if clock.now() >= time {
                    return;
                }
                changed.await;
            }
        })
    }
}
