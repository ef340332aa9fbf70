//! A strategy with its type erased, for lists that are read from configuration.

use std::{fmt, future::Future, pin::Pin};

use http::request::Parts;

use super::{Outcome, Strategy};
use crate::maybe_future::MaybeFuture;

/// A strategy of any type, for a `Vec` whose members and order are read from configuration.
///
/// Each strategy costs a virtual call, and an allocation if it has to wait.
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
    inner: Box<dyn Strategy<Future = BoxFuture> + Send + Sync>,
}

type BoxFuture = Pin<Box<dyn Future<Output = Outcome> + Send>>;

impl BoxStrategy {
    pub(super) fn new<S>(strategy: S) -> Self
    where
        S: Strategy + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        Self {
            inner: Box::new(Boxing { inner: strategy }),
        }
    }
}

/// A strategy whose future is boxed, so that its type does not depend on `S`.
struct Boxing<S> {
    inner: S,
}

impl<S> Strategy for Boxing<S>
where
    S: Strategy,
    S::Future: Send + 'static,
{
    type Future = BoxFuture;

    forward!(inner: name presence headers scrub challenge validate use_clock is_optional
        reads_existing_context time_limit);

    fn resolve(&self, head: &Parts) -> MaybeFuture<BoxFuture> {
        let outcome = self.inner.resolve(head);
        outcome.map_future(|future| Box::pin(future) as BoxFuture)
    }
}

impl Strategy for BoxStrategy {
    type Future = BoxFuture;

    forward!(inner: name resolve presence headers scrub challenge validate use_clock is_optional
        reads_existing_context time_limit);

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
