//! The clock: no other file of the crate reads the system's time.
//!
//! ```
//! use tower_user_scope::clock::{Clock, SystemClock};
//!
//! let now = SystemClock.now();
//! # let _ = now;
//! ```

#[cfg(feature = "tokio")]
use std::time::Duration;
use std::{
    fmt,
    sync::{Arc, LazyLock},
    time::SystemTime,
};
#[cfg(feature = "tokio")]
use std::{
    future::{Future, pending},
    pin::Pin,
};

#[cfg(feature = "tokio")]
use crate::time_limit::sleep;

#[cfg(any(feature = "api-keys", feature = "jwt"))]
mod moment;

#[cfg(any(feature = "api-keys", feature = "jwt"))]
pub(crate) use self::moment::Moment;

/// Returns the time that decides whether a token, a session, a key or an identity has expired.
///
/// [`LayerBuilder::clock`](crate::middleware::LayerBuilder::clock) sets it for a layer and the strategies of its list;
/// [`SystemClock`] is the default. With the feature `testing` tests can use
/// [`testing::TestClock`](crate::testing::TestClock).
///
/// A clock may jump, forwards and backwards. It is called for each credential that expires, so it must
/// not block.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use tower_user_scope::{ExistingContext, UserScopeLayer, clock::Clock};
///
/// /// Lets credentials expire five seconds early, for a service whose responses take that long.
/// #[derive(Debug)]
/// struct Ahead;
///
/// impl Clock for Ahead {
///     fn now(&self) -> SystemTime {
///         SystemTime::now() + Duration::from_secs(5)
///     }
/// }
///
/// let layer = UserScopeLayer::builder()
///     .strategy(ExistingContext::new())
///     .clock(Ahead)
///     .context_only()
///     .build()?;
/// # let _ = layer;
/// # Ok::<(), tower_user_scope::ConfigError>(())
/// ```
pub trait Clock: fmt::Debug + Send + Sync {
    /// Returns the current time.
    fn now(&self) -> SystemTime;

    /// Returns a future that is ready when the clock may show this time. The caller looks at the clock
    /// then, and waits again if it does not.
    ///
    /// By default it is a timer of Tokio's for the time that is left, and for a minute at most, so
    /// that a clock that was set, or a machine that slept, is noticed. A clock that does not go by the
    /// system's, as in a test, returns one of its own.
    #[cfg(feature = "tokio")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
    fn wait_until(&self, time: SystemTime) -> ClockFuture {
        let left = time.duration_since(self.now()).unwrap_or_default();
        let timer = sleep(left.min(Duration::from_secs(60)));
        Box::pin(async move {
            match timer {
                Some(timer) => timer.await,
                // Without timers, the clock is looked at when something else happens.
                None => pending().await,
            }
        })
    }
}

/// What [`Clock::wait_until`] returns.
#[cfg(feature = "tokio")]
#[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
pub type ClockFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

/// Returns the clock of layers and strategies for which none is set. It is one and the same, so that two
/// of them can tell that they have the same clock.
pub(crate) fn system_clock() -> Arc<dyn Clock> {
    static CLOCK: LazyLock<Arc<SystemClock>> = LazyLock::new(|| Arc::new(SystemClock));
    let clock: Arc<SystemClock> = Arc::clone(&CLOCK);
    clock
}

impl Clock for SystemClock {
    #[inline]
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now(&self) -> SystemTime {
        (**self).now()
    }

    #[cfg(feature = "tokio")]
    fn wait_until(&self, time: SystemTime) -> ClockFuture {
        (**self).wait_until(time)
    }
}
