//! The layer: clones and wraps, nothing else.

use std::{fmt, sync::Arc};

use http::request::Parts;
use tower_layer::Layer;

use crate::{
    authorize::{Anyone, Authorize, BoxAuthorize},
    factory::{ContextOnly, NoFactory, ProvideFactory},
    policy::Policy,
    resolve::{Empty, Explanation, StrategyList, ThenEach},
    service::UserScope,
};

/// Resolves the user of each request and inserts a fresh factory into its extensions.
///
/// [`builder`](Self::builder) starts one; there is no `new`. Its type has the list of strategies in
/// it, so for a field of a struct [`boxed`](crate::middleware::LayerBuilder::boxed) makes it a
/// [`BoxUserScopeLayer`](crate::middleware::BoxUserScopeLayer).
///
/// See the [crate's documentation](crate) for what it does, and [`LayerBuilder`](crate::middleware::LayerBuilder) for what can be
/// said. Clones share their configuration.
///
/// A function can return one without naming its types; a server that spawns its requests asks
/// that what they wait for is `Send`:
///
/// ```
/// use tower_user_scope::{
///     ConfigError, ExistingContext, UserScopeLayer, authorize::Authorize,
///     factory::ProvideFactory, middleware::StrategyList,
/// };
///
/// fn layer() -> Result<
///     UserScopeLayer<
///         impl StrategyList<Pending: Send> + Send + Sync + 'static,
///         impl ProvideFactory<Future: Send> + Send + Sync + 'static,
///         impl Authorize<Future: Send> + Send + Sync + 'static,
///     >,
///     ConfigError,
/// > {
///     UserScopeLayer::builder()
///         .strategy(ExistingContext::new())
///         .context_only()
///         .build()
/// }
/// # assert!(layer().is_ok());
/// ```
pub struct UserScopeLayer<L = Empty, M = NoFactory, A = Anyone> {
    pub(crate) policy: Arc<Policy<L, M, A>>,
}

/// A layer whose type has a name, for a field of a struct or a function's signature: what
/// [`LayerBuilder::boxed`](crate::middleware::LayerBuilder::boxed) builds.
///
/// `BoxUserScopeLayer` alone is one without a factory, and
/// `BoxUserScopeLayer<`[`BoxFactory`](crate::factory::BoxFactory)`<F>>` builds an `F` for each request.
pub type BoxUserScopeLayer<M = ContextOnly> = UserScopeLayer<ThenEach<Empty>, M, BoxAuthorize>;

impl<L, M, A> UserScopeLayer<L, M, A> {
    pub(crate) fn with_policy(policy: Policy<L, M, A>) -> Self {
        Self {
            policy: Arc::new(policy),
        }
    }
}

impl<L, M, A> UserScopeLayer<L, M, A>
where
    L: StrategyList,
    M: ProvideFactory,
    A: Authorize,
{
    /// Tells, step by step, why a request of this head would be resolved as it is.
    ///
    /// The strategies are really asked, so stores and issuers are too; `authorize`, the factory and
    /// observers are not. The layer itself logs nothing; what a strategy logs when it is asked, it
    /// logs here too.
    ///
    /// ```
    /// use http::Request;
    /// use tower_user_scope::{TrustedHeader, UserScopeLayer};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let layer = UserScopeLayer::builder()
    ///     .strategy(TrustedHeader::new("x-user-id").from_proxies(["10.0.0.0/8"])?)
    ///     .context_only()
    ///     .build()?;
    /// let (head, ()) = Request::builder().header("x-user-id", "alice").body(())?.into_parts();
    ///
    /// let why = layer.explain(&head).await;
    /// assert!(why.answer().is_err());
    /// let text = why.to_string();
    /// assert!(text.starts_with("trusted_header: absent\ntrusted_header: removes x-user-id"));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn explain(&self, head: &Parts) -> Explanation {
        self.policy.explain(head).await
    }
}

impl<S, L, M, A> Layer<S> for UserScopeLayer<L, M, A> {
    type Service = UserScope<S, L, M, A>;

    fn layer(&self, inner: S) -> Self::Service {
        UserScope::new(inner, Arc::clone(&self.policy))
    }
}

impl<L, M, A> Clone for UserScopeLayer<L, M, A> {
    fn clone(&self) -> Self {
        Self {
            policy: Arc::clone(&self.policy),
        }
    }
}

impl<L: fmt::Debug, M, A> fmt::Debug for UserScopeLayer<L, M, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserScopeLayer")
            .field("list", &self.policy.resolver.list)
            .finish_non_exhaustive()
    }
}
