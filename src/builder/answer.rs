//! Steps before the response goes out.

use std::future::Future;
#[cfg(feature = "tokio")]
use std::time::Duration;

use super::LayerBuilder;
use crate::{
    before_response::Answered,
    factory::{BoxError, ProvideFactory},
};

/// # Before the response
impl<L, M, A> LayerBuilder<L, M, A> {
    /// Takes a step after the inner service has answered and before the response goes out. Its error
    /// turns the response into a refusal: 500, or 503 for an
    /// [`UnavailableError`](crate::UnavailableError).
    ///
    /// This is where a transaction commits: the client gets a 200 only if it did. The step gets the factory
    /// with its type ([`Answered::scoped`]), so it is added after the factory. Steps are taken in the
    /// order in which they were added, in the request's scope, also for responses that are errors
    /// ([`Answered::is_success`] tells). They are not taken for refused requests, and not where the
    /// inner service fails with an error, as there is no response then: what is not committed has to be
    /// undone when the factory is dropped.
    ///
    /// The body has not been read: for a stream, the step comes before its first byte, and what fails
    /// later can't be taken back. The refusal says nothing of the error, which is in the audit event. A
    /// [`RespondToRejection`](crate::rejection::RespondToRejection) sees the method and the URI of the
    /// request. The refusal speaks gRPC if the response that it replaces does.
    ///
    /// ```
    /// use tower_user_scope::{ExistingContext, UserScopeLayer};
    ///
    /// struct Transaction;
    /// impl Transaction {
    ///     fn commit(&self) -> Result<(), std::io::Error> {
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let layer = UserScopeLayer::builder()
    ///     .strategy(ExistingContext::new())
    ///     .factory(|_user| Transaction)
    ///     .before_response(|answered| {
    ///         if answered.is_success() {
    ///             answered.scoped().commit()
    ///         } else {
    ///             Ok(()) // Dropped, it is rolled back.
    ///         }
    ///     })
    ///     .build()?;
    /// # let _ = layer;
    /// # Ok::<(), tower_user_scope::ConfigError>(())
    /// ```
    pub fn before_response<F, E>(mut self, step: F) -> Self
    where
        M: ProvideFactory,
        F: Fn(&Answered<'_, M::Handle>) -> Result<(), E> + Send + Sync + 'static,
        E: Into<BoxError>,
    {
        self.settings.before_response.add(step);
        self
    }

    /// As [`before_response`](Self::before_response), with a closure that returns a future.
    ///
    /// The future can't borrow from the argument: take what it needs first. If the client goes away
    /// meanwhile, the future is dropped, in the request's scope.
    ///
    /// ```
    /// use tower_user_scope::{ExistingContext, UserScopeLayer};
    ///
    /// struct Transaction;
    /// impl Transaction {
    ///     async fn commit(&self) -> Result<(), std::io::Error> {
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let layer = UserScopeLayer::builder()
    ///     .strategy(ExistingContext::new())
    ///     .factory(|_user| Transaction)
    ///     .before_response_async(|answered| {
    ///         let (transaction, is_success) = (answered.scoped(), answered.is_success());
    ///         async move {
    ///             if is_success { transaction.commit().await } else { Ok(()) }
    ///         }
    ///     })
    ///     .build()?;
    /// # let _ = layer;
    /// # Ok::<(), tower_user_scope::ConfigError>(())
    /// ```
    pub fn before_response_async<F, Fut, E>(mut self, step: F) -> Self
    where
        M: ProvideFactory,
        F: Fn(&Answered<'_, M::Handle>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError>,
    {
        self.settings.before_response.add_async(step);
        self
    }

    /// Sets the time limit of each step before the response, instead of the
    /// [common one](Self::time_limit). When it has passed, the future is dropped and the response is
    /// 500: whether what it began, such as a commit, has taken place is not known, so the client is not
    /// asked to try again.
    #[cfg(feature = "tokio")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
    pub fn before_response_time_limit(mut self, limit: Duration) -> Self {
        self.settings.limits.before_response = Some(limit);
        self
    }
}
