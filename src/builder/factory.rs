//! The builder's methods for the factory: how it is built, and as which type handlers get it.

use std::future::Future;
#[cfg(feature = "tokio")]
use std::{sync::Arc, time::Duration};

use super::LayerBuilder;
#[cfg(feature = "tokio")]
use crate::factory::{LazyAsync, LazyAsyncFn};
use crate::{
    context::UserContext,
    factory::{
        BoxError, ContextOnly, FactoryAsyncFn, FactoryFn, Lazy, LazyFn, MakeFactory, NoFactory,
        Provided, Shapes, TryFactoryFn,
    },
};

/// # The factory
///
/// One of these methods has to be called, once.
impl<L, A> LayerBuilder<L, NoFactory, A> {
    /// Builds a factory with a closure that is synchronous and can't fail.
    ///
    /// The closure captures infrastructure that all requests share, such as a pool. It learns the
    /// user only from the context of the request.
    pub fn factory<F, T>(self, make: F) -> LayerBuilder<L, Provided<FactoryFn<F>, T>, A>
    where
        F: Fn(&UserContext) -> T,
        T: Send + Sync + 'static,
    {
        self.make_factory(FactoryFn(make))
    }

    /// Builds a factory with a closure that may fail. If it fails, the request is answered with 500,
    /// or with 503 for a [`FactoryUnavailableError`](crate::factory::FactoryUnavailableError).
    pub fn try_factory<F, T, E>(self, make: F) -> LayerBuilder<L, Provided<TryFactoryFn<F>, T>, A>
    where
        F: Fn(&UserContext) -> Result<T, E>,
        T: Send + Sync + 'static,
        E: Into<BoxError>,
    {
        self.make_factory(TryFactoryFn(make))
    }

    /// Builds a factory with a closure that returns a future, which may fail as
    /// [`try_factory`](Self::try_factory) describes.
    pub fn factory_async<F, Fut, T, E>(
        self,
        make: F,
    ) -> LayerBuilder<L, Provided<FactoryAsyncFn<F>, T>, A>
    where
        F: Fn(UserContext) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        T: Send + Sync + 'static,
        E: Into<BoxError>,
    {
        self.make_factory(FactoryAsyncFn(make))
    }

    /// Builds a factory on its first use. Handlers take a `Scoped<`[`Lazy`]`<T>>`.
    pub fn lazy_factory<F, T, E>(self, make: F) -> LayerBuilder<L, Provided<LazyFn<T>, Lazy<T>>, A>
    where
        F: Fn(&UserContext) -> Result<T, E> + Send + Sync + 'static,
        T: Send + Sync + 'static,
        E: Into<BoxError>,
    {
        self.make_factory(LazyFn::new(make))
    }

    /// Builds a factory on its first use with a closure that returns a future. Handlers take a
    /// `Scoped<`[`LazyAsync`]`<T>>`.
    #[cfg(feature = "tokio")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
    pub fn lazy_factory_async<F, Fut, T, E>(
        self,
        make: F,
    ) -> LayerBuilder<L, Provided<LazyAsyncFn<T>, LazyAsync<T>>, A>
    where
        F: Fn(UserContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + Sync + 'static,
        E: Into<BoxError>,
    {
        let limit = Arc::clone(&self.settings.lazy_limit);
        self.make_factory(LazyAsyncFn::new(make, limit))
    }

    /// Builds a factory with an application's own [`MakeFactory`].
    pub fn make_factory<N>(self, make: N) -> LayerBuilder<L, Provided<N, N::Factory>, A>
    where
        N: MakeFactory,
        N::Factory: Send + Sync + 'static,
    {
        self.map_make(|_| Provided::new(make))
    }

    /// Builds no factory, for handlers that need only the [`UserContext`].
    pub fn context_only(self) -> LayerBuilder<L, ContextOnly, A> {
        self.map_make(|_| ContextOnly { _private: () })
    }
}

impl<L, M, A> LayerBuilder<L, M, A> {
    pub(super) fn map_make<N>(self, change: impl FnOnce(M) -> N) -> LayerBuilder<L, N, A> {
        LayerBuilder {
            list: self.list,
            make: change(self.make),
            authorize: self.authorize,
            settings: self.settings,
        }
    }
}

/// # Migration from a shared factory
impl<L, M, T, A> LayerBuilder<L, Provided<M, T>, A>
where
    T: Send + Sync + 'static,
{
    /// Inserts the factory as `Arc<T>` too, for handlers that took a shared one, such as with
    /// axum's `Extension<Arc<T>>`. They get the fresh factory without a changed line.
    ///
    /// The use of a bare `Arc<T>` is not checked. An `Arc<T>` that is still held when the scope closes
    /// is reported, as a [`Scoped`](crate::Scoped) is. Change the handlers to `Scoped<T>` one by one.
    pub fn insert_as_arc(self) -> Self {
        self.map_make(|make| make.reshape(Shapes::with_arc))
    }

    /// Inserts a clone of the factory as `T` too, for handlers that took `Extension<T>`.
    ///
    /// The use of such a clone is not checked, and one that is kept is not reported.
    pub fn insert_as_value(self) -> Self
    where
        T: Clone,
    {
        self.map_make(|make| make.reshape(Shapes::with_value))
    }

    /// Sets the time limit of building the factory, instead of the [common one](Self::time_limit). It
    /// applies to lazy factories too. When it has passed, the request is answered with 503. Zero is an
    /// error of `build()`.
    #[cfg(feature = "tokio")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
    pub fn factory_time_limit(mut self, limit: Duration) -> Self {
        self.settings.limits.factory = Some(limit);
        self
    }
}
