//! The `authorize` step.

use std::future::Future;

use http::request::Parts;

use super::LayerBuilder;
use crate::{
    authorize::{Anyone, Authorize, AuthorizeAsyncFn, AuthorizeError, AuthorizeFn},
    context::UserContext,
};

/// # Authorization
///
/// One step at most: a second call does not compile.
impl<L, M> LayerBuilder<L, M, Anyone> {
    /// Decides with a closure whether the principal may make the request. The closure runs after
    /// resolution and before the factory is built.
    ///
    /// Check ids of the context, such as [`UserContext::thread_id`], and not the headers that they came
    /// in: everything after this step uses the context's.
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
