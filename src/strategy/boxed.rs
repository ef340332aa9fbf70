//! A strategy without its type, for lists that configuration decides at run time.

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, request::Parts};

use super::{Facts, InvalidError, Outcome, Presence, Strategy, Stripped};
use crate::{clock::Clock, config_error::ConfigError, maybe_future::MaybeFuture};

/// Any strategy, for a `Vec` whose order and members are read from configuration.
///
/// It costs a virtual call for each strategy that is asked, and one allocation for each that
/// really waits; one that answers at once is not boxed a second time.
///
/// ```
/// use tower_user_scope::{DevelopmentUser, ExistingContext, strategy::{BoxStrategy, Strategy}};
///
/// fn by_name(name: &str) -> Option<BoxStrategy> {
///     match name {
///         "context" => Some(ExistingContext::new().boxed()),
///         "development" => Some(DevelopmentUser::new("dev").boxed()),
///         _ => None,
///     }
/// }
///
/// let list: Vec<BoxStrategy> = "context, development".split(", ").filter_map(by_name).collect();
/// assert_eq!(list.len(), 2);
/// ```
pub struct BoxStrategy {
    inner: Box<dyn Erased + Send + Sync>,
}

type BoxFuture = Pin<Box<dyn Future<Output = Outcome> + Send>>;

impl BoxStrategy {
    pub(super) fn new<S>(strategy: S) -> Self
    where
        S: Strategy + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        Self {
            inner: Box::new(strategy),
        }
    }
}

trait Erased: Facts {
    fn resolve_boxed(&self, head: &Parts) -> MaybeFuture<BoxFuture>;
    fn optional_fact(&self) -> bool;
    fn use_clock_boxed(&mut self, clock: &Arc<dyn Clock>);
}

impl<S> Erased for S
where
    S: Strategy,
    S::Future: Send + 'static,
{
    fn resolve_boxed(&self, head: &Parts) -> MaybeFuture<BoxFuture> {
        self.resolve(head)
            .map_future(|future| Box::pin(future) as BoxFuture)
    }

    fn optional_fact(&self) -> bool {
        self.is_optional()
    }

    fn use_clock_boxed(&mut self, clock: &Arc<dyn Clock>) {
        self.use_clock(clock);
    }
}

impl Strategy for BoxStrategy {
    type Future = BoxFuture;

    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn resolve(&self, head: &Parts) -> MaybeFuture<Self::Future> {
        self.inner.resolve_boxed(head)
    }

    fn presence(&self, head: &Parts) -> Presence {
        self.inner.presence(head)
    }

    fn headers(&self) -> Option<Vec<HeaderName>> {
        self.inner.headers()
    }

    fn scrub(&self, head: &mut Parts, believed: bool, stripped: &mut dyn FnMut(Stripped<'_>)) {
        self.inner.scrub(head, believed, stripped);
    }

    fn challenge(&self, refused: Option<&InvalidError>) -> Option<HeaderValue> {
        self.inner.challenge(refused)
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.inner.validate()
    }

    fn use_clock(&mut self, clock: &Arc<dyn Clock>) {
        self.inner.use_clock_boxed(clock);
    }

    fn is_optional(&self) -> bool {
        self.inner.optional_fact()
    }

    fn reads_existing_context(&self) -> bool {
        self.inner.reads_existing_context()
    }

    fn time_limit(&self) -> Option<Duration> {
        self.inner.time_limit()
    }

    fn boxed(self) -> BoxStrategy {
        self
    }
}

impl fmt::Debug for BoxStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BoxStrategy")
            .field(&self.inner.name())
            .finish()
    }
}
