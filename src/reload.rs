//! A layer that can be replaced while the server runs.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
    task::{Context, Poll},
};

use http::{Request, Response};
use tower::Service;
use tower_layer::Layer;

use crate::{
    authorize::Authorize, factory::ProvideFactory, future::ResponseFuture, layer::UserScopeLayer,
    resolve::StrategyList, response::ResponseBody, service::UserScope,
};

/// A [`UserScopeLayer`] that can be replaced while the server runs: when its configuration changes, or
/// to switch it [on or off](crate::middleware::LayerBuilder::enabled).
///
/// Clones, and the services that they made, share one layer. Each request takes the layer that is
/// there when it is called, and keeps it to its end. The new layer has the type of the old one: make
/// both [`boxed`](crate::middleware::LayerBuilder::boxed), or both with one function.
///
/// Strategies that share their state between clones keep it where a clone goes into the new layer: a
/// `Jwt` its verified tokens and its keys, unless its layer has a clock of its own.
///
/// ```
/// use tower_user_scope::{
///     ConfigError, TrustedHeader, UserScopeLayer,
///     middleware::{BoxUserScopeLayer, ReloadLayer},
/// };
///
/// fn users(proxies: &[&str]) -> Result<BoxUserScopeLayer, ConfigError> {
///     UserScopeLayer::builder()
///         .strategy(TrustedHeader::new("x-user-id").from_proxies(proxies)?)
///         .context_only()
///         .boxed()
///         .build()
/// }
///
/// let layer = ReloadLayer::new(users(&["10.0.0.0/8"])?);
/// // Here `router.layer(layer.clone())`, and when the configuration has changed:
/// layer.reload(users(&["10.0.0.0/8", "192.168.0.0/16"])?);
/// # Ok::<(), ConfigError>(())
/// ```
pub struct ReloadLayer<L, M, A> {
    current: Arc<RwLock<UserScopeLayer<L, M, A>>>,
}

impl<L, M, A> ReloadLayer<L, M, A> {
    /// Creates a layer that begins with this one.
    #[must_use]
    pub fn new(layer: UserScopeLayer<L, M, A>) -> Self {
        Self {
            current: Arc::new(RwLock::new(layer)),
        }
    }

    /// Replaces the layer for all requests that are called from here on.
    pub fn reload(&self, layer: UserScopeLayer<L, M, A>) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *current, layer);
        drop(current);
        // The application's values are dropped outside of the lock.
        drop(old);
    }

    /// Returns the layer that is there now, such as for [`UserScopeLayer::run`].
    #[must_use]
    pub fn current(&self) -> UserScopeLayer<L, M, A> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.clone()
    }
}

impl<S, L, M, A> Layer<S> for ReloadLayer<L, M, A> {
    type Service = ReloadService<S, L, M, A>;

    fn layer(&self, inner: S) -> Self::Service {
        ReloadService {
            scope: self.current().layer(inner),
            layer: self.clone(),
        }
    }
}

impl<L, M, A> Clone for ReloadLayer<L, M, A> {
    fn clone(&self) -> Self {
        Self {
            current: Arc::clone(&self.current),
        }
    }
}

impl<L: fmt::Debug, M, A> fmt::Debug for ReloadLayer<L, M, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReloadLayer").field(&self.current()).finish()
    }
}

/// The service of a [`ReloadLayer`]; as [`UserScope`] otherwise.
pub struct ReloadService<S, L, M, A> {
    scope: UserScope<S, L, M, A>,
    layer: ReloadLayer<L, M, A>,
}

impl<S, L, M, A, ReqBody, ResBody> Service<Request<ReqBody>> for ReloadService<S, L, M, A>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
    L: StrategyList,
    M: ProvideFactory,
    A: Authorize,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, L, M, A, ReqBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.scope.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        self.scope.policy = self.layer.current().policy;
        self.scope.call(request)
    }
}

impl<S: Clone, L, M, A> Clone for ReloadService<S, L, M, A> {
    fn clone(&self) -> Self {
        Self {
            scope: self.scope.clone(),
            layer: self.layer.clone(),
        }
    }
}

impl<S: fmt::Debug, L, M, A> fmt::Debug for ReloadService<S, L, M, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReloadService").field(&self.scope).finish()
    }
}
