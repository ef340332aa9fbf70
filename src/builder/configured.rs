//! A layer by configuration: with a type that has a name, and on or off.

use super::LayerBuilder;
use crate::{
    authorize::{Authorize, BoxAuthorize},
    factory::{BoxFactory, BoxMakeFactory, ContextOnly, MakeFactory, Provided},
    resolve::{Empty, StrategyList, ThenEach},
    strategy::BoxStrategy,
};

/// # A layer by configuration
impl<L, M, A> LayerBuilder<L, M, A> {
    /// Sets whether the layer resolves requests. By default it does.
    ///
    /// A layer that is off lets every request through without a user: there is no context, no
    /// factory and no scope, so that extractors and [`RequireLayer`](crate::middleware::RequireLayer)
    /// refuse with 500. It still removes the headers that its strategies read, and refuses trailers of
    /// their names: a client can't identify itself because the layer is off. Each
    /// [`build`](Self::build) of such a layer logs a warning.
    ///
    /// [`UserScopeLayer::run`](crate::UserScopeLayer::run) still works, because it does not resolve a request.
    ///
    /// It is for a layer that is rolled out step by step. To work without a log-in, add a
    /// [`DevelopmentUser`](crate::DevelopmentUser) or a [`Fallback`](crate::Fallback) instead.
    ///
    /// ```
    /// use tower_user_scope::{TrustedHeader, UserScopeLayer};
    ///
    /// struct Settings { with_users: bool }
    ///
    /// # let settings = Settings { with_users: false };
    /// let layer = UserScopeLayer::builder()
    ///     .strategy(TrustedHeader::new("x-user-id").from_proxies(["10.0.0.0/8"])?)
    ///     .context_only()
    ///     .enabled(settings.with_users)
    ///     .build()?;
    /// # let _ = layer;
    /// # Ok::<(), tower_user_scope::ConfigError>(())
    /// ```
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.settings.enabled = enabled;
        self
    }
}

impl<L, N, T, A> LayerBuilder<L, Provided<N, T>, A>
where
    L: StrategyList + Into<Vec<BoxStrategy>>,
    N: MakeFactory<Factory = T, Future: Send + 'static> + Send + Sync + 'static,
    T: Send + Sync + 'static,
    A: Authorize<Future: Send + 'static> + Send + Sync + 'static,
{
    /// Erases the types of the strategies, of the `authorize` step and of how the factory is made. The
    /// layer is a [`BoxUserScopeLayer`](crate::middleware::BoxUserScopeLayer) then, for a field of a struct or a function's signature.
    ///
    /// Each strategy, the `authorize` step and the factory cost a virtual call for each request, and an
    /// allocation if they wait.
    ///
    /// ```
    /// use tower_user_scope::{
    ///     ConfigError, ExistingContext, UserScopeLayer, factory::BoxFactory,
    ///     middleware::BoxUserScopeLayer,
    /// };
    ///
    /// struct Orders;
    ///
    /// struct App {
    ///     users: BoxUserScopeLayer<BoxFactory<Orders>>,
    /// }
    ///
    /// fn app() -> Result<App, ConfigError> {
    ///     let users = UserScopeLayer::builder()
    ///         .strategy(ExistingContext::new())
    ///         .factory(|_user| Orders)
    ///         .boxed()
    ///         .build()?;
    ///     Ok(App { users })
    /// }
    /// # let _ = app()?.users;
    /// # Ok::<(), ConfigError>(())
    /// ```
    pub fn boxed(self) -> LayerBuilder<ThenEach<Empty>, BoxFactory<T>, BoxAuthorize> {
        self.map_make(|make| make.map(BoxMakeFactory::new)).erased()
    }
}

impl<L, A> LayerBuilder<L, ContextOnly, A>
where
    L: StrategyList + Into<Vec<BoxStrategy>>,
    A: Authorize<Future: Send + 'static> + Send + Sync + 'static,
{
    /// Erases the types of the strategies and of the `authorize` step. The layer is a
    /// [`BoxUserScopeLayer`](crate::middleware::BoxUserScopeLayer) without parameters then, for a field of a struct or a function's
    /// signature.
    ///
    /// ```
    /// use tower_user_scope::{
    ///     ConfigError, ExistingContext, UserScopeLayer, middleware::BoxUserScopeLayer,
    /// };
    ///
    /// fn users() -> Result<BoxUserScopeLayer, ConfigError> {
    ///     UserScopeLayer::builder().strategy(ExistingContext::new()).context_only().boxed().build()
    /// }
    /// # users()?;
    /// # Ok::<(), ConfigError>(())
    /// ```
    pub fn boxed(self) -> LayerBuilder<ThenEach<Empty>, ContextOnly, BoxAuthorize> {
        self.erased()
    }
}

impl<L, M, A> LayerBuilder<L, M, A>
where
    L: Into<Vec<BoxStrategy>>,
    A: Authorize<Future: Send + 'static> + Send + Sync + 'static,
{
    fn erased(self) -> LayerBuilder<ThenEach<Empty>, M, BoxAuthorize> {
        LayerBuilder {
            list: ThenEach::new(Empty { _private: () }, self.list.into()),
            make: self.make,
            authorize: BoxAuthorize::new(self.authorize),
            settings: self.settings,
        }
    }
}
