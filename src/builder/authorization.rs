//! Whether the principal may make the request.

use std::future::Future;

use http::request::Parts;

use super::LayerBuilder;
use crate::{
    authorize::{Anyone, Authorize, AuthorizeAsyncFn, AuthorizeError, AuthorizeFn},
    context::UserContext,
};

/// May they make this request?
///
/// Said once: a second step would take the place of the first.
impl<L, M> LayerBuilder<L, M, Anyone> {
    /// Asks a closure whether the principal may make the request, after it was resolved and
    /// before the factory is built.
    ///
    /// Ask about ids that the context holds, such as [`UserContext::thread_id`], and not about
    /// the header that one came in: the context's is the one that everything after uses.
    ///
    /// ```
    /// use tower_user_scope::{ExistingContext, UserScopeLayer, authorize::ForbiddenError};
    ///
    /// let layer = UserScopeLayer::builder()
    ///     .strategy(ExistingContext::new())
    ///     .authorize(|context, head| {
    ///         if head.uri.path().starts_with("/admin") && context.user_id().is_none() {
    ///             return Err(ForbiddenError::new("admin_is_for_users").into());
    ///         }
    ///         Ok(())
    ///     })
    ///     .context_only()
    ///     .build()?;
    /// # let _ = layer;
    /// # Ok::<(), tower_user_scope::ConfigError>(())
    /// ```
    pub fn authorize<F>(self, authorize: F) -> LayerBuilder<L, M, AuthorizeFn<F>>
    where
        F: Fn(&UserContext, &Parts) -> Result<(), AuthorizeError>,
    {
        self.authorize_with(AuthorizeFn(authorize))
    }

    /// As [`authorize`](Self::authorize), with a closure that returns a future.
    ///
    /// The future can't borrow from the context and the head, so an `async |..|` closure does not
    /// compile ("one type is more general than the other"). Take what the future needs first, in
    /// a closure that returns an `async move` block:
    ///
    /// ```
    /// use tower_user_scope::{
    ///     ExistingContext, UnavailableError, UserContext, UserScopeLayer,
    ///     authorize::{AuthorizeError, ForbiddenError},
    /// };
    ///
    /// async fn is_member(user: &UserContext, project: &str) -> Result<bool, std::io::Error> {
    ///     # let _ = (user, project);
    ///     Ok(true)
    /// }
    ///
    /// let layer = UserScopeLayer::builder()
    ///     .strategy(ExistingContext::new())
    ///     .authorize_async(|context, head| {
    ///         let (user, project) = (context.clone(), head.uri.path().to_owned());
    ///         async move {
    ///             match is_member(&user, &project).await {
    ///                 Ok(true) => Ok(()),
    ///                 Ok(false) => Err(ForbiddenError::new("not_a_member").into()),
    ///                 Err(error) => Err(AuthorizeError::from(UnavailableError::new(error))),
    ///             }
    ///         }
    ///     })
    ///     .context_only()
    ///     .build()?;
    /// # let _ = layer;
    /// # Ok::<(), tower_user_scope::ConfigError>(())
    /// ```
    pub fn authorize_async<F, Fut>(self, authorize: F) -> LayerBuilder<L, M, AuthorizeAsyncFn<F>>
    where
        F: Fn(&UserContext, &Parts) -> Fut,
        Fut: Future<Output = Result<(), AuthorizeError>>,
    {
        self.authorize_with(AuthorizeAsyncFn(authorize))
    }

    /// As [`authorize`](Self::authorize), with a type of the application's own.
    pub fn authorize_with<N: Authorize>(self, authorize: N) -> LayerBuilder<L, M, N> {
        LayerBuilder {
            list: self.list,
            make: self.make,
            authorize,
            settings: self.settings,
        }
    }
}
