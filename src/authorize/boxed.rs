//! An `authorize` step with its type erased, for layers whose type has a name.

use std::{fmt, future::Future, pin::Pin};

use http::request::Parts;

use super::{Authorize, AuthorizeError};
use crate::{context::UserContext, maybe_future::MaybeFuture};

/// An `authorize` step of any type; see
/// [`BoxUserScopeLayer`](crate::middleware::BoxUserScopeLayer).
pub struct BoxAuthorize {
    inner: Box<dyn Authorize<Future = BoxFuture> + Send + Sync>,
}

type BoxFuture = Pin<Box<dyn Future<Output = Result<(), AuthorizeError>> + Send>>;

impl BoxAuthorize {
    pub(crate) fn new<A>(authorize: A) -> Self
    where
        A: Authorize<Future: Send + 'static> + Send + Sync + 'static,
    {
        Self {
            inner: Box::new(Boxing { inner: authorize }),
        }
    }
}

/// A step whose future is boxed, so that its type does not depend on `A`.
struct Boxing<A> {
    inner: A,
}

impl<A> Authorize for Boxing<A>
where
    A: Authorize<Future: Send + 'static>,
{
    type Future = BoxFuture;

    fn authorize(&self, context: &UserContext, head: &Parts) -> MaybeFuture<BoxFuture> {
        let answer = self.inner.authorize(context, head);
        answer.map_future(|future| Box::pin(future) as BoxFuture)
    }
}

impl Authorize for BoxAuthorize {
    type Future = BoxFuture;

    fn authorize(&self, context: &UserContext, head: &Parts) -> MaybeFuture<BoxFuture> {
        self.inner.authorize(context, head)
    }
}

impl fmt::Debug for BoxAuthorize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoxAuthorize").finish_non_exhaustive()
    }
}
