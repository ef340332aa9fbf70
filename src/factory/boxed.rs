//! A factory's maker with its type erased, for layers whose type has a name.

use std::{any::type_name, fmt, future::Future, pin::Pin};

use super::{BoxError, MakeFactory, Provided};
use crate::{context::UserContext, maybe_future::MaybeFuture};

/// The factory of a layer whose type was erased; see
/// [`BoxUserScopeLayer`](crate::middleware::BoxUserScopeLayer).
pub type BoxFactory<F> = Provided<BoxMakeFactory<F>, F>;

/// Makes factories of one type, in any way.
pub struct BoxMakeFactory<F> {
    inner: Box<dyn MakeFactory<Factory = F, Error = BoxError, Future = BoxFuture<F>> + Send + Sync>,
}

type BoxFuture<F> = Pin<Box<dyn Future<Output = Result<F, BoxError>> + Send>>;

impl<F: 'static> BoxMakeFactory<F> {
    pub(crate) fn new<M>(make: M) -> Self
    where
        M: MakeFactory<Factory = F, Future: Send + 'static> + Send + Sync + 'static,
    {
        Self {
            inner: Box::new(Boxing { inner: make }),
        }
    }
}

/// A maker whose future and error are boxed, so that their types don't depend on `M`.
struct Boxing<M> {
    inner: M,
}

impl<M> MakeFactory for Boxing<M>
where
    M: MakeFactory<Factory: 'static, Future: Send + 'static>,
{
    type Factory = M::Factory;
    type Error = BoxError;
    type Future = BoxFuture<M::Factory>;

    fn make(&self, context: &UserContext) -> MaybeFuture<Self::Future> {
        match self.inner.make(context) {
            MaybeFuture::Ready(built) => MaybeFuture::Ready(built.map_err(Into::into)),
            MaybeFuture::Future(future) => {
                MaybeFuture::Future(Box::pin(async { future.await.map_err(Into::into) }))
            }
        }
    }
}

impl<F> MakeFactory for BoxMakeFactory<F> {
    type Factory = F;
    type Error = BoxError;
    type Future = BoxFuture<F>;

    fn make(&self, context: &UserContext) -> MaybeFuture<Self::Future> {
        self.inner.make(context)
    }
}

impl<F> fmt::Debug for BoxMakeFactory<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BoxMakeFactory({})", type_name::<F>())
    }
}
