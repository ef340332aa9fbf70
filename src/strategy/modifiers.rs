//! Strategies that change one property of another: optional, conditional, renamed, limited in time.

use std::{any::type_name, fmt};
#[cfg(feature = "tokio")]
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::request::Parts;
#[cfg(feature = "tokio")]
use pin_project::pin_project;

#[cfg(feature = "tokio")]
use super::UnavailableError;
use super::{Outcome, Presence, Strategy};
use crate::maybe_future::MaybeFuture;
#[cfg(feature = "tokio")]
use crate::{
    config_error::ConfigError,
    time_limit::{Awaited, Deadline},
};

/// A strategy whose bad credential counts as none; see [`Strategy::optional`].
#[derive(Clone, Debug)]
pub struct Optional<S> {
    inner: S,
}

impl<S> Optional<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S: Strategy> Strategy for Optional<S> {
    type Future = S::Future;

    forward!(inner: name resolve validate time_limit headers scrub challenge reads_existing_context use_clock);

    /// An invalid credential counts as absent, so it does not keep a fallback from acting.
    fn presence(&self, _: &Parts) -> Presence {
        Presence::NotSent
    }

    fn is_optional(&self) -> bool {
        true
    }
}

/// A strategy that is asked about some requests only; see [`Strategy::when`].
#[derive(Clone)]
pub struct When<S, P> {
    inner: S,
    applies: P,
}

impl<S, P> When<S, P> {
    pub(super) fn new(inner: S, applies: P) -> Self {
        Self { inner, applies }
    }
}

impl<S, P> Strategy for When<S, P>
where
    S: Strategy,
    P: Fn(&Parts) -> bool,
{
    type Future = S::Future;

    forward!(inner: name is_optional validate time_limit headers scrub challenge reads_existing_context use_clock);

    fn resolve(&self, head: &Parts) -> MaybeFuture<Self::Future> {
        if (self.applies)(head) {
            self.inner.resolve(head)
        } else {
            MaybeFuture::Ready(Outcome::Absent)
        }
    }

    fn presence(&self, head: &Parts) -> Presence {
        if (self.applies)(head) {
            self.inner.presence(head)
        } else {
            Presence::NotSent
        }
    }
}

impl<S: fmt::Debug, P> fmt::Debug for When<S, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("When")
            .field("inner", &self.inner)
            .field("applies", &format_args!("{}", type_name::<P>()))
            .finish()
    }
}

/// A strategy under another name; see [`Strategy::named`].
#[derive(Clone, Debug)]
pub struct Named<S> {
    inner: S,
    name: &'static str,
}

impl<S> Named<S> {
    pub(super) fn new(inner: S, name: &'static str) -> Self {
        Self { inner, name }
    }
}

impl<S: Strategy> Strategy for Named<S> {
    type Future = S::Future;

    forward!(inner: resolve presence is_optional validate time_limit headers scrub challenge reads_existing_context use_clock);

    fn name(&self) -> &'static str {
        self.name
    }
}

/// A strategy that is not waited for longer than its limit; see [`Strategy::timeout`].
#[cfg(feature = "tokio")]
#[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
#[derive(Clone, Debug)]
pub struct Timeout<S> {
    inner: S,
    limit: Duration,
}

#[cfg(feature = "tokio")]
impl<S> Timeout<S> {
    pub(super) fn new(inner: S, limit: Duration) -> Self {
        Self { inner, limit }
    }
}

#[cfg(feature = "tokio")]
impl<S: Strategy> Strategy for Timeout<S> {
    type Future = TimeoutFuture<S::Future>;

    forward!(inner: name presence is_optional headers scrub challenge reads_existing_context use_clock);

    fn resolve(&self, head: &Parts) -> MaybeFuture<Self::Future> {
        self.inner.resolve(head).map_future(|future| TimeoutFuture {
            future,
            deadline: Deadline::default(),
            limit: self.limit,
        })
    }

    fn time_limit(&self) -> Option<Duration> {
        Some(self.limit)
    }

    fn validate(&self) -> Result<(), ConfigError> {
        if self.limit.is_zero() {
            return Err(ConfigError::ZeroTimeLimit);
        }
        self.inner.validate()
    }
}

/// The future of a [`Timeout`].
#[cfg(feature = "tokio")]
#[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
#[derive(Debug)]
#[pin_project]
pub struct TimeoutFuture<F> {
    #[pin]
    future: F,
    #[pin]
    deadline: Deadline,
    limit: Duration,
}

#[cfg(feature = "tokio")]
impl<F: Future<Output = Outcome>> Future for TimeoutFuture<F> {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let this = self.project();
        if let Poll::Ready(outcome) = this.future.poll(cx) {
            return Poll::Ready(outcome);
        }
        let limit = || Some(*this.limit);
        // The deadline is this strategy's own, so any index will do.
        this.deadline
            .poll(Awaited::Strategy(0), cx, limit)
            .map(|limit| UnavailableError::timed_out(limit).into())
    }
}
