//! A factory that is built on first use, for routes that may not need it.

use std::{
    any::type_name,
    convert::Infallible,
    fmt,
    future::Ready,
    sync::{Arc, OnceLock},
};
#[cfg(feature = "tokio")]
use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
};

use thiserror::Error;

use super::{BoxError, FactoryUnavailableError, MakeFactory};
#[cfg(feature = "tokio")]
use crate::time_limit::{Awaited, Deadline};
use crate::{context::UserContext, maybe_future::MaybeFuture, rejection::FactoryErrorKind};

/// A factory that is built when it is first asked for, once for each request.
///
/// Handlers take a `Scoped<Lazy<F>>` and call [`get`](Self::get). A build that fails is not
/// tried again within the request: each call returns the same error.
///
/// ```
/// use tower_user_scope::{ExistingContext, Scoped, UserScopeLayer, factory::Lazy};
///
/// struct Tools;
///
/// let layer = UserScopeLayer::builder()
///     .strategy(ExistingContext::new())
///     .lazy_factory(|_user| Ok::<_, std::io::Error>(Tools))
///     .build()?;
///
/// async fn handler(tools: Scoped<Lazy<Tools>>) -> Result<(), tower_user_scope::factory::FactoryError> {
///     let tools: &Tools = tools.get()?;
///     # let _ = tools;
///     Ok(())
/// }
/// # let _ = (layer, handler);
/// # Ok::<(), tower_user_scope::ConfigError>(())
/// ```
pub struct Lazy<F> {
    context: UserContext,
    make: Make<F>,
    built: OnceLock<Result<F, FactoryError>>,
}

type Make<F> = Arc<dyn Fn(&UserContext) -> Result<F, FactoryError> + Send + Sync>;

impl<F> Lazy<F> {
    /// Returns the factory, and builds it at the first call. Other threads wait for that build.
    ///
    /// # Errors
    /// [`FactoryError`] where it could not be built.
    pub fn get(&self) -> Result<&F, FactoryError> {
        self.built
            .get_or_init(|| (self.make)(&self.context))
            .as_ref()
            .map_err(Clone::clone)
    }

    /// Returns the factory if it has been built.
    pub fn peek(&self) -> Option<&F> {
        self.built.get()?.as_ref().ok()
    }
}

impl<F> fmt::Debug for Lazy<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lazy")
            .field("factory", &format_args!("{}", type_name::<F>()))
            .field("built", &self.peek().is_some())
            .finish()
    }
}

/// Makes a [`Lazy`] for each request.
pub struct LazyFn<F>(Make<F>);

impl<F> LazyFn<F> {
    pub(crate) fn new<C, E>(make: C) -> Self
    where
        C: Fn(&UserContext) -> Result<F, E> + Send + Sync + 'static,
        E: Into<BoxError>,
    {
        Self(Arc::new(move |context| {
            make(context).map_err(|error| FactoryError::logged(failure(error)))
        }))
    }
}

impl<F> MakeFactory for LazyFn<F> {
    type Factory = Lazy<F>;
    type Error = Infallible;
    type Future = Ready<Result<Lazy<F>, Infallible>>;

    fn make(&self, context: &UserContext) -> MaybeFuture<Self::Future> {
        MaybeFuture::Ready(Ok(Lazy {
            context: context.clone(),
            make: Arc::clone(&self.0),
            built: OnceLock::new(),
        }))
    }
}

impl<F> fmt::Debug for LazyFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LazyFn({})", type_name::<F>())
    }
}

/// A [`Lazy`] whose building has to wait.
#[cfg(feature = "tokio")]
#[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
pub struct LazyAsync<F> {
    context: UserContext,
    make: MakeAsync<F>,
    limit: LazyLimit,
    built: tokio::sync::OnceCell<Result<F, FactoryError>>,
}

#[cfg(feature = "tokio")]
type MakeAsync<F> = Arc<
    dyn Fn(UserContext) -> Pin<Box<dyn Future<Output = Result<F, FactoryError>> + Send>>
        + Send
        + Sync,
>;

#[cfg(feature = "tokio")]
impl<F> LazyAsync<F> {
    /// Returns the factory, and builds it at the first call.
    ///
    /// # Errors
    /// [`FactoryError`] where it could not be built, or not within the layer's
    /// [time limit](crate::middleware::LayerBuilder::time_limit).
    ///
    /// # Cancel safety
    /// Where the future that builds is dropped, the next one that waits builds anew.
    pub async fn get(&self) -> Result<&F, FactoryError> {
        self.built
            .get_or_init(|| self.build())
            .await
            .as_ref()
            .map_err(Clone::clone)
    }

    async fn build(&self) -> Result<F, FactoryError> {
        let mut building = (self.make)(self.context.clone());
        let mut deadline = pin!(Deadline::default());
        let limit = || self.limit.get().copied().flatten();
        poll_fn(|cx| {
            if let Poll::Ready(built) = building.as_mut().poll(cx) {
                return Poll::Ready(built);
            }
            let late = deadline.as_mut().poll(Awaited::Factory, cx, limit);
            late.map(|limit| Err(FactoryError::logged(FactoryErrorKind::TimedOut { limit })))
        })
        .await
    }

    /// Returns the factory if it has been built.
    pub fn peek(&self) -> Option<&F> {
        self.built.get()?.as_ref().ok()
    }
}

#[cfg(feature = "tokio")]
impl<F> fmt::Debug for LazyAsync<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LazyAsync")
            .field("factory", &format_args!("{}", type_name::<F>()))
            .field("built", &self.peek().is_some())
            .finish()
    }
}

/// Makes a [`LazyAsync`] for each request.
#[cfg(feature = "tokio")]
pub struct LazyAsyncFn<F> {
    make: MakeAsync<F>,
    limit: LazyLimit,
}

/// How long a lazy factory is waited for; set when the layer is built.
#[cfg(feature = "tokio")]
pub(crate) type LazyLimit = Arc<OnceLock<Option<Duration>>>;

#[cfg(feature = "tokio")]
impl<F> LazyAsyncFn<F> {
    pub(crate) fn new<C, Fut, E>(make: C, limit: LazyLimit) -> Self
    where
        C: Fn(UserContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<F, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        let make: MakeAsync<F> = Arc::new(move |context| {
            let building = make(context);
            Box::pin(async move {
                building
                    .await
                    .map_err(|error| FactoryError::logged(failure(error)))
            })
        });
        Self { make, limit }
    }
}

#[cfg(feature = "tokio")]
impl<F> MakeFactory for LazyAsyncFn<F> {
    type Factory = LazyAsync<F>;
    type Error = Infallible;
    type Future = Ready<Result<LazyAsync<F>, Infallible>>;

    fn make(&self, context: &UserContext) -> MaybeFuture<Self::Future> {
        MaybeFuture::Ready(Ok(LazyAsync {
            context: context.clone(),
            make: Arc::clone(&self.make),
            limit: Arc::clone(&self.limit),
            built: tokio::sync::OnceCell::new(),
        }))
    }
}

#[cfg(feature = "tokio")]
impl<F> fmt::Debug for LazyAsyncFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LazyAsyncFn({})", type_name::<F>())
    }
}

/// Why a lazy factory could not be built.
#[derive(Clone, Debug, Error)]
#[error("the factory could not be built: {failure}")]
pub struct FactoryError {
    #[source]
    failure: Arc<FactoryErrorKind>,
}

impl FactoryError {
    /// Creates the error and logs the failure, because a handler may answer the error in any way.
    fn logged(failure: FactoryErrorKind) -> Self {
        tracing::error!(
            target: "tower_user_scope::audit",
            reason = %failure,
            "lazy factory failed"
        );
        Self {
            failure: Arc::new(failure),
        }
    }

    /// Returns how building it failed.
    #[must_use]
    pub fn kind(&self) -> &FactoryErrorKind {
        &self.failure
    }
}

/// Classifies the application's error: unavailable, timed out, or failed.
pub(crate) fn failure(error: impl Into<BoxError>) -> FactoryErrorKind {
    let error = error.into();
    if error.is::<FactoryUnavailableError>() {
        FactoryErrorKind::Unavailable(Arc::from(error))
    } else {
        FactoryErrorKind::Failed(Arc::from(error))
    }
}
