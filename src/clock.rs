//! What time it is: the only place in the crate that asks the system.

use std::{fmt, sync::Arc, time::SystemTime};

/// Tells the time by which the crate decides whether a token, a session, a key or an identity
/// has ended.
///
/// [`LayerBuilder::clock`](crate::middleware::LayerBuilder::clock) sets it for a layer and the strategies of its list;
/// [`SystemClock`] is the default. With the feature `testing` there is a clock that tests set,
/// [`testing::TestClock`](crate::testing::TestClock).
///
/// A clock may jump, forwards and backwards. It is asked about each credential that ends, so it
/// must answer at once.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use tower_user_scope::{ExistingContext, UserScopeLayer, clock::Clock};
///
/// /// Lets everything end five seconds early, for a service whose answers take so long.
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
