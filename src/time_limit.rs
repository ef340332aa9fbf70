//! How long something may be waited for.

#[cfg(feature = "tokio")]
use std::{future::Future, panic::catch_unwind, sync::Once};
use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use pin_project::pin_project;

/// How long each strategy and step is waited for where the application says nothing.
pub(crate) const DEFAULT: Duration = Duration::from_secs(10);

/// How long the steps of a layer may be waited for; `None` for ever.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimeLimits {
    /// Each strategy, and each step that has no limit of its own.
    pub(crate) each: Option<Duration>,
    pub(crate) authorize: Option<Duration>,
    pub(crate) factory: Option<Duration>,
}

impl Default for TimeLimits {
    fn default() -> Self {
        Self {
            each: Some(DEFAULT),
            authorize: None,
            factory: None,
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
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awaited {
    /// The strategy of this place in the list.
    Strategy(usize),
    Authorize,
    Factory,
}

/// Strikes when something has been waited for too long. It costs no timer until it is polled,
/// which is when something really has to be waited for.
///
/// Without the feature `tokio`, and where there is no runtime with timers, it never strikes.
#[derive(Debug, Default)]
#[pin_project]
pub(crate) struct Deadline {
    of: Option<Awaited>,
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
    /// Ready with the limit where this has been waited for as long. `limit` is asked at the
    /// first poll of each thing that is waited for.
    #[cfg_attr(
        not(feature = "tokio"),
        expect(clippy::needless_pass_by_value, reason = "not so with the feature")
    )]
    pub(crate) fn poll(
        self: Pin<&mut Self>,
        of: Awaited,
        cx: &mut Context<'_>,
        limit: impl FnOnce() -> Option<Duration>,
    ) -> Poll<Duration> {
        #[cfg(feature = "tokio")]
        {
            let mut this = self.project();
            if *this.of != Some(of) {
                *this.of = Some(of);
                this.timer.set(limit().and_then(Timer::new));
            }
            match this.timer.as_pin_mut() {
                Some(timer) => timer.poll(cx),
                None => Poll::Pending,
            }
        }
        #[cfg(not(feature = "tokio"))]
        {
            let _ = (self.of, of, cx, limit);
            Poll::Pending
        }
    }
}

#[cfg(feature = "tokio")]
impl Timer {
    /// `None` outside a Tokio runtime and in one whose timers are off. Tokio tells that by a
    /// panic only, which must not be the request's.
    fn new(limit: Duration) -> Option<Self> {
        static TOLD: Once = Once::new();
        let sleep = tokio::runtime::Handle::try_current()
            .ok()
            .and_then(|_| catch_unwind(|| tokio::time::sleep(limit)).ok());
        if sleep.is_none() {
            TOLD.call_once(|| {
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
