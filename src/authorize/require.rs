//! The requirements of a layer or a route: scopes, roles, how the user logged in, and that nobody acts
//! for the user.

use std::{future::Ready, sync::Arc, time::Duration};

use http::request::Parts;

use super::{Authorize, AuthorizeError, ForbiddenError, Grants, Missing};
use crate::{
    clock::{Clock, SystemClock},
    context::UserContext,
    maybe_future::MaybeFuture,
};

/// Requires scopes, roles or a log-in of a certain kind: an `authorize` step, and with
/// [`RequireLayer`](crate::middleware::RequireLayer) a middleware for a route.
///
/// It compares the [`Grants`] of the identity; an identity without any has none. A fallback's, an
/// anonymous visitor's and a service's are compared in the same way.
///
/// | missing | status | `WWW-Authenticate` |
/// | --- | --- | --- |
/// | a scope | 403 | `Bearer error="insufficient_scope", scope=".."` (RFC 6750 section 3.1) |
/// | a role | 403 | |
/// | [`no_actor`](Self::no_actor) | 403 | |
/// | the log-in | 401 | `Bearer error="insufficient_user_authentication", ..` (RFC 9470 section 3) |
///
/// ```
/// use tower_user_scope::{
///     ConfigError, UserScopeLayer,
///     authorize::Require,
///     jwt::{Jwt, RemoteKeys},
/// };
///
/// # fn layer() -> Result<(), ConfigError> {
/// let layer = UserScopeLayer::builder()
///     .strategy(
///         Jwt::new(RemoteKeys::discover("https://id.example"))
///             .issuer("https://id.example")
///             .audience("api")
///             .scope_claim("scope"),
///     )
///     .authorize_with(Require::new().scope("orders:read"))
///     .context_only()
///     .build()?;
/// # let _ = layer;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Require {
    scopes: Vec<String>,
    roles: Vec<Vec<String>>,
    acr_values: Option<Vec<String>>,
    max_age: Option<Duration>,
    no_actor: bool,
    clock: Arc<dyn Clock>,
}

impl Require {
    /// Creates requirements that everybody meets.
    pub fn new() -> Self {
        Self {
            scopes: Vec::new(),
            roles: Vec::new(),
            acr_values: None,
            max_age: None,
            no_actor: false,
            clock: Arc::new(SystemClock),
        }
    }

    /// Requires this scope, besides those that are required already.
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.scopes.push(scope.into());
        self
    }

    /// Requires this role, besides those that are required already.
    pub fn role(self, role: impl Into<String>) -> Self {
        self.any_role([role])
    }

    /// Requires one of these roles.
    pub fn any_role<S: Into<String>>(mut self, roles: impl IntoIterator<Item = S>) -> Self {
        self.roles.push(roles.into_iter().map(Into::into).collect());
        self
    }

    /// Requires a log-in of one of these authentication context classes (`acr`), instead of those of an
    /// earlier call. No log-in is of one of none.
    pub fn acr<S: Into<String>>(mut self, classes: impl IntoIterator<Item = S>) -> Self {
        self.acr_values = Some(classes.into_iter().map(Into::into).collect());
        self
    }

    /// Requires a log-in (`auth_time`) that is not longer ago than this, in whole seconds.
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = Some(age);
        self
    }

    /// Requires that nobody [acts](crate::Identity::with_actor) for the principal: not for an
    /// administrator that looks at what a user sees, for example to change the password. An actor is known
    /// where the strategy reads it: see [`Jwt::actor_claim`](crate::jwt::Jwt::actor_claim).
    pub fn no_actor(mut self) -> Self {
        self.no_actor = true;
        self
    }

    /// Sets the [`Clock`] that the age of the log-in is read from.
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Compares what the identity of a context was granted.
    ///
    /// # Errors
    /// [`ForbiddenError`] with what is missing: an actor's absence before a scope, a scope before a role,
    /// and a role before the log-in.
    pub fn check(&self, context: &UserContext) -> Result<(), ForbiddenError> {
        if self.no_actor && context.actor().is_some() {
            return Err(ForbiddenError::new("acts_for_another"));
        }
        let none = Grants::new();
        let grants = Grants::of(context).unwrap_or(&none);
        if !self.scopes.iter().all(|scope| grants.has_scope(scope)) {
            let required = self.scopes.clone();
            return Err(Missing::Scopes { required }.into());
        }
        let has_any = |roles: &&Vec<String>| roles.iter().any(|role| grants.has_role(role));
        if let Some(roles) = self.roles.iter().find(|roles| !has_any(roles)) {
            let any_of = roles.clone();
            return Err(Missing::Role { any_of }.into());
        }
        if self.is_sufficient(grants) {
            return Ok(());
        }
        Err(Missing::Authentication {
            acr_values: self.acr_values.clone().unwrap_or_default(),
            max_age: self.max_age,
        }
        .into())
    }

    fn is_sufficient(&self, grants: &Grants) -> bool {
        let is_of_class = self.acr_values.as_ref().is_none_or(|classes| {
            let class = grants.acr();
            class.is_some_and(|class| classes.iter().any(|it| it == class))
        });
        let is_recent = self.max_age.is_none_or(|most| {
            let at = grants.authenticated_at();
            // A log-in in the future is one of a clock that is ahead.
            at.is_some_and(|at| self.clock.now().duration_since(at).unwrap_or_default() <= most)
        });
        is_of_class && is_recent
    }
}

impl Default for Require {
    fn default() -> Self {
        Self::new()
    }
}

impl Authorize for Require {
    type Future = Ready<Result<(), AuthorizeError>>;

    fn authorize(&self, context: &UserContext, _: &Parts) -> MaybeFuture<Self::Future> {
        MaybeFuture::Ready(self.check(context).map_err(Into::into))
    }
}
