//! The time limits of a layer, and the timer that enforces them.

#[cfg(feature = "tokio")]
use std::{future::Future, panic::catch_unwind, sync::Once};
use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use pin_project::pin_project;

/// The default time limit of each strategy and step.
pub(crate) const DEFAULT: Duration = Duration::from_secs(10);

/// The time limits of a layer's steps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimeLimits {
    /// For each strategy, and each step without a limit of its own. `None` is no limit.
    pub(crate) each: Option<Duration>,
    pub(crate) authorize: Option<Duration>,
    pub(crate) factory: Option<Duration>,
    pub(crate) before_response: Option<Duration>,
}

impl Default for TimeLimits {
    fn default() -> Self {
        Self {
            each: Some(DEFAULT),
            authorize: None,
            factory: None,
            before_response: None,
        }
    }
}

impl TimeLimits {
    pub(crate) fn authorize(&self) -> Option<Duration> {
        self.authorize.or(self.each)
    }

    pub(crate) fn factory(&self) -> Option<Duration> {
        self.factory.or(self.each)
    }

    pub(crate) fn before_response(&self) -> Option<Duration> {
        self.before_response.or(self.each)
    }
}

/// What the layer waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awaited {
    /// The strategy with this index in the list.
    Strategy(usize),
    Authorize,
    /// The store of a limit.
    #[cfg(feature = "limit")]
    Limit,
    Factory,
    /// The step before the response that comes before the one with this index.
    BeforeResponse(usize),
}

/// Expires when the layer has waited too long. The timer is created at the first poll, so that a
/// request that never waits has none.
///
/// Without the feature `tokio`, or a runtime with timers, it never expires.
#[derive(Debug, Default)]
#[pin_project]
pub(crate) struct Deadline {
    awaited: Option<Awaited>,
    #[cfg(feature = "tokio")]
    #[pin]
    timer: Option<Timer>,
}

#[cfg(feature = "tokio")]
#[derive(Debug)]
#[pin_project]
struct Timer {
    #[pin]
    sleep: tokio::time::Sleep,
    limit: Duration,
}

impl Deadline {
    /// Returns the limit once it has passed. `limit` is called at the first poll for each `awaited`.
    pub(crate) fn poll(
        self: Pin<&mut Self>,
        awaited: Awaited,
        cx: &mut Context<'_>,
        limit: impl FnOnce() -> Option<Duration>,
    ) -> Poll<Duration> {
        #[cfg(feature = "tokio")]
        {
            let mut this = self.project();
            if *this.awaited != Some(awaited) {
                *this.awaited = Some(awaited);
                this.timer.set(limit().and_then(Timer::new));
            }
            match this.timer.as_pin_mut() {
                Some(timer) => timer.poll(cx),
                None => Poll::Pending,
            }
        }
        #[cfg(not(feature = "tokio"))]
        {
            let _ = (self.awaited, awaited, cx, limit);
            Poll::Pending
        }
    }
}

/// Returns a timer; `None` without a Tokio runtime that has timers. Tokio panics if they are disabled,
/// which must not fail the request.
#[cfg(feature = "tokio")]
pub(crate) fn sleep(time: Duration) -> Option<tokio::time::Sleep> {
    let _runtime = tokio::runtime::Handle::try_current().ok()?;
    catch_unwind(|| tokio::time::sleep(time)).ok()
}

#[cfg(feature = "tokio")]
impl Timer {
    /// Creates a timer; `None` without a Tokio runtime that has timers.
    fn new(limit: Duration) -> Option<Self> {
        static REPORTED: Once = Once::new();
        let sleep = sleep(limit);
        if sleep.is_none() {
            REPORTED.call_once(|| {
                tracing::error!(
                    target: "tower_user_scope",
                    ?limit,
                    "time limits are not kept: there is no Tokio runtime with timers \
                     (`enable_time`) where requests are polled"
                );
            });
        }
        Some(Self {
            sleep: sleep?,
            limit,
        })
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Duration> {
        let this = self.project();
        this.sleep.poll(cx).map(|()| *this.limit)
    }
}
