//! The clock: no other file of the crate reads the system's time.
//!
//! ```
//! use tower_user_scope::clock::{Clock, SystemClock};
//!
//! let now = SystemClock.now();
//! # let _ = now;
//! ```

use std::{fmt, sync::Arc, time::SystemTime};

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
}

/// The system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

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
}
