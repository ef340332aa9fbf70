//! Makes a factory for one context: by a closure, sync or async, or by a type.

use std::{
    any::type_name,
    convert::Infallible,
    error::Error as StdError,
    fmt,
    future::{Future, Ready},
};

use thiserror::Error;

use super::BoxError;
use crate::{context::UserContext, maybe_future::MaybeFuture};

/// Builds the application's factory for one [`UserContext`].
///
/// [`LayerBuilder::factory`](crate::middleware::LayerBuilder::factory) and its variants make one of
/// a closure. Implement it for a type that needs a name, an unboxed future, or tests of its own.
///
/// ```
/// use std::{convert::Infallible, future::Ready, sync::Arc};
/// use tower_user_scope::{MaybeFuture, UserContext, factory::MakeFactory};
///
/// struct Pool;
/// struct Tools { pool: Arc<Pool>, user: UserContext }
///
/// /// Keeps what all users share, and nothing of any of them.
/// struct ToolsForUser { pool: Arc<Pool> }
///
/// impl MakeFactory for ToolsForUser {
///     type Factory = Tools;
///     type Error = Infallible;
///     type Future = Ready<Result<Tools, Infallible>>;
///
///     fn make(&self, context: &UserContext) -> MaybeFuture<Self::Future> {
///         MaybeFuture::ready(Ok(Tools { pool: self.pool.clone(), user: context.clone() }))
///     }
/// }
/// ```
///
/// # Cancel safety
/// The future is dropped when the client goes away; what it has built so far must be right to
/// drop.
pub trait MakeFactory {
    /// The type that is built.
    type Factory;
    /// The error. A [`FactoryUnavailableError`] is answered with 503, any other with 500.
    type Error: Into<BoxError>;
    /// The future that is polled where building has to wait.
    type Future: Future<Output = Result<Self::Factory, Self::Error>>;

    /// Builds the factory of one request.
    fn make(&self, context: &UserContext) -> MaybeFuture<Self::Future>;
}

/// Something that a factory needs could not be reached: the request is answered with 503
/// instead of 500.
///
/// ```
/// use tower_user_scope::factory::FactoryUnavailableError;
///
/// # struct Session;
/// fn session() -> Result<Session, FactoryUnavailableError> {
///     let down = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
///     Err(FactoryUnavailableError::new(down))
/// }
/// # let _ = session();
/// ```
#[derive(Debug, Error)]
#[error("something that the factory needs could not be reached")]
pub struct FactoryUnavailableError {
    source: BoxError,
}

impl FactoryUnavailableError {
    /// Makes one of the error that says so; the error is logged.
    #[must_use]
    pub fn new(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self {
            source: source.into(),
        }
    }
}

/// Builds no factory: the layer inserts the context alone.
#[derive(Clone, Copy, Debug)]
pub struct ContextOnly {
    pub(crate) _private: (),
}

impl MakeFactory for ContextOnly {
    type Factory = ();
    type Error = Infallible;
    type Future = Ready<Result<(), Infallible>>;

    fn make(&self, _: &UserContext) -> MaybeFuture<Self::Future> {
        MaybeFuture::Ready(Ok(()))
    }
}

macro_rules! closure {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name<F>(pub(crate) F);

        impl<F> fmt::Debug for $name<F> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), type_name::<F>())
            }
        }
    };
}

closure! {
    /// A closure that builds a factory at once and can't fail.
    FactoryFn
}

closure! {
    /// A closure that builds a factory at once or fails.
    TryFactoryFn
}

closure! {
    /// A closure whose future builds a factory or fails.
    FactoryAsyncFn
}

impl<F, T> MakeFactory for FactoryFn<F>
where
    F: Fn(&UserContext) -> T,
{
    type Factory = T;
    type Error = Infallible;
    type Future = Ready<Result<T, Infallible>>;

    fn make(&self, context: &UserContext) -> MaybeFuture<Self::Future> {
        MaybeFuture::Ready(Ok((self.0)(context)))
    }
}

impl<F, T, E> MakeFactory for TryFactoryFn<F>
where
    F: Fn(&UserContext) -> Result<T, E>,
    E: Into<BoxError>,
{
    type Factory = T;
    type Error = E;
    type Future = Ready<Result<T, E>>;

    fn make(&self, context: &UserContext) -> MaybeFuture<Self::Future> {
        MaybeFuture::Ready((self.0)(context))
    }
}

impl<F, Fut, T, E> MakeFactory for FactoryAsyncFn<F>
where
    F: Fn(UserContext) -> Fut,
    Fut: Future<Output = Result<T, E>>,
    E: Into<BoxError>,
{
    type Factory = T;
    type Error = E;
    type Future = Fut;

    fn make(&self, context: &UserContext) -> MaybeFuture<Self::Future> {
        MaybeFuture::Future((self.0)(context.clone()))
    }
}
