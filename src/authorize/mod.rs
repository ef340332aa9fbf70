//! Authorization: decides between resolution and the factory whether the principal may make the
//! request.
//!
//! The step sees the context and the request's head, so that it can check, for example, that a thread
//! belongs to the user. [`Require`] is one for scopes, roles and how the user logged in, for a layer
//! and, as [`RequireLayer`](crate::middleware::RequireLayer), for a route.
//!
//! ```
//! use tower_user_scope::{ExistingContext, UserScopeLayer, authorize::ForbiddenError};
//!
//! let layer = UserScopeLayer::builder()
//!     .strategy(ExistingContext::new())
//!     .authorize(|context, head| {
//!         let admin = context.user_id().is_some_and(|user| user == "root");
//!         if head.uri.path().starts_with("/admin") && !admin {
//!             return Err(ForbiddenError::new("not_an_admin").into());
//!         }
//!         Ok(())
//!     })
//!     .context_only()
//!     .build()?;
//! # let _ = layer;
//! # Ok::<(), tower_user_scope::ConfigError>(())
//! ```

use std::{
    any::type_name,
    fmt,
    future::{Future, Ready},
};

use http::request::Parts;
use thiserror::Error;

use crate::{context::UserContext, maybe_future::MaybeFuture, outcome::UnavailableError};

mod boxed;
mod forbidden;
mod grants;
mod require;

pub use self::{
    boxed::BoxAuthorize,
    forbidden::{ForbiddenError, Missing},
    grants::Grants,
    require::Require,
};

/// Decides whether the principal of a context may make a request.
///
/// [`LayerBuilder::authorize`](crate::middleware::LayerBuilder::authorize) and
/// [`LayerBuilder::authorize_async`](crate::middleware::LayerBuilder::authorize_async) make one from a closure.
pub trait Authorize {
    /// The future that decides when [`authorize`](Self::authorize) has to wait.
    type Future: Future<Output = Result<(), AuthorizeError>>;

    /// Returns `Ok` if the principal may make the request.
    fn authorize(&self, context: &UserContext, head: &Parts) -> MaybeFuture<Self::Future>;
}

/// Why the `authorize` step does not let a request through.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum AuthorizeError {
    /// The principal may not. 403.
    #[error(transparent)]
    Forbidden(#[from] ForbiddenError),
    /// It could not be checked. 503.
    #[error(transparent)]
    Unavailable(#[from] UnavailableError),
}

/// Allows every request: the default, for layers without an `authorize` step.
#[derive(Clone, Copy, Debug)]
pub struct Anyone {
    pub(crate) _private: (),
}

impl Authorize for Anyone {
    type Future = Ready<Result<(), AuthorizeError>>;

    #[inline]
    fn authorize(&self, _: &UserContext, _: &Parts) -> MaybeFuture<Self::Future> {
        MaybeFuture::Ready(Ok(()))
    }
}

/// A closure as the `authorize` step; see [`LayerBuilder::authorize`](crate::middleware::LayerBuilder::authorize).
#[derive(Clone)]
pub struct AuthorizeFn<F>(pub(crate) F);

impl<F> Authorize for AuthorizeFn<F>
where
    F: Fn(&UserContext, &Parts) -> Result<(), AuthorizeError>,
{
    type Future = Ready<Result<(), AuthorizeError>>;

    fn authorize(&self, context: &UserContext, head: &Parts) -> MaybeFuture<Self::Future> {
        MaybeFuture::Ready((self.0)(context, head))
    }
}

/// A closure that returns a future as the `authorize` step; see
/// [`LayerBuilder::authorize_async`](crate::middleware::LayerBuilder::authorize_async).
#[derive(Clone)]
pub struct AuthorizeAsyncFn<F>(pub(crate) F);

impl<F, Fut> Authorize for AuthorizeAsyncFn<F>
where
    F: Fn(&UserContext, &Parts) -> Fut,
    Fut: Future<Output = Result<(), AuthorizeError>>,
{
    type Future = Fut;

    fn authorize(&self, context: &UserContext, head: &Parts) -> MaybeFuture<Self::Future> {
        MaybeFuture::Future((self.0)(context, head))
    }
}

impl<F> fmt::Debug for AuthorizeFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuthorizeFn({})", type_name::<F>())
    }
}

impl<F> fmt::Debug for AuthorizeAsyncFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuthorizeAsyncFn({})", type_name::<F>())
    }
}
