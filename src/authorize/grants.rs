//! What an identity may do: scopes and roles, and how its user logged in.

use std::{collections::BTreeSet, time::SystemTime};

use crate::context::UserContext;

/// What an identity was granted: one of its [attributes](crate::UserContext::attributes).
///
/// [`Jwt::scope_claim`](crate::jwt::Jwt::scope_claim) and
/// [`Jwt::role_claim`](crate::jwt::Jwt::role_claim) read it from a token; other strategies attach it
/// with [`Identity::with_attribute`](crate::Identity::with_attribute). [`Require`](super::Require)
/// compares it.
///
/// ```
/// use tower_user_scope::{Identity, UserId, authorize::Grants};
///
/// let grants = Grants::new().with_roles(["editor"]).with_scopes(["orders:read"]);
/// let alice: UserId = "alice".parse()?;
/// let identity = Identity::proved(alice).with_attribute(grants);
/// # let _ = identity;
/// # Ok::<(), tower_user_scope::context::IdError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Grants {
    scopes: BTreeSet<Box<str>>,
    roles: BTreeSet<Box<str>>,
    acr: Option<Box<str>>,
    authenticated_at: Option<SystemTime>,
}

impl Grants {
    /// Creates grants of nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns what the identity of a context was granted.
    #[must_use]
    pub fn of(context: &UserContext) -> Option<&Self> {
        context.attributes().get()
    }

    /// Adds scopes (RFC 6749 section 3.3): what the client may do on the user's behalf.
    pub fn with_scopes<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.scopes.extend(boxed(scopes));
        self
    }

    /// Adds roles: what the user is.
    pub fn with_roles<S: Into<String>>(mut self, roles: impl IntoIterator<Item = S>) -> Self {
        self.roles.extend(boxed(roles));
        self
    }

    /// Sets the authentication context class of the log-in (`acr`, OpenID Connect Core 1.0 section 2).
    pub fn with_acr(mut self, class: impl Into<String>) -> Self {
        self.acr = Some(class.into().into_boxed_str());
        self
    }

    /// Sets when the user logged in (`auth_time`, OpenID Connect Core 1.0 section 2).
    pub fn with_authenticated_at(mut self, time: SystemTime) -> Self {
        self.authenticated_at = Some(time);
        self
    }

    /// Returns whether this scope was granted.
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scopes.contains(scope)
    }

    /// Returns whether this role was granted.
    #[must_use]
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.contains(role)
    }

    /// Returns the scopes, sorted.
    pub fn scopes(&self) -> impl Iterator<Item = &str> {
        self.scopes.iter().map(|scope| &**scope)
    }

    /// Returns the roles, sorted.
    pub fn roles(&self) -> impl Iterator<Item = &str> {
        self.roles.iter().map(|role| &**role)
    }

    /// Returns the authentication context class of the log-in.
    #[must_use]
    pub fn acr(&self) -> Option<&str> {
        self.acr.as_deref()
    }

    /// Returns when the user logged in.
    #[must_use]
    pub fn authenticated_at(&self) -> Option<SystemTime> {
        self.authenticated_at
    }
}

fn boxed<S: Into<String>>(texts: impl IntoIterator<Item = S>) -> impl Iterator<Item = Box<str>> {
    texts.into_iter().map(|text| text.into().into_boxed_str())
}
