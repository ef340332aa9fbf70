//! Who acts: the principal, and what tells two of them apart.

use super::{ServiceName, TenantId, UserId, VisitorId, visit::Visit};

/// Who acts. Neither a service nor a visitor is a user.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Principal {
    /// A user of the application.
    User(UserId),
    /// A service that acts for itself.
    Service(ServiceName),
    /// Nobody in particular. Each request is one of its own: two of them are two
    /// [`Subject`]s.
    Anonymous,
    /// Somebody who has not said who they are, and whom the application recognises, such as by
    /// a cookie of its own. Two requests of one id are one [`Subject`].
    ///
    /// ```
    /// use tower_user_scope::{Identity, UserContext, context::VisitorId};
    ///
    /// // Not a session's id, which is a secret, but an id that stands in its record.
    /// let cart: VisitorId = "visitor-7f3a".parse()?;
    /// let context = UserContext::builder(Identity::proved(cart)).build();
    /// assert!(context.require_user().is_err_and(|error| error.is_anonymous()));
    /// assert_eq!(context.scoped_key("cart"), "cart:visitor::visitor-7f3a");
    /// # Ok::<(), tower_user_scope::context::IdError>(())
    /// ```
    Visitor(VisitorId),
}

impl Principal {
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::User(_) => "user",
            Self::Service(_) => "service",
            Self::Anonymous => "anonymous",
            Self::Visitor(_) => "visitor",
        }
    }
}

/// A principal within its tenant: what makes two requests *the same user's*.
///
/// Use it as the key of a map, never the [`UserId`] alone: the same user name in two tenants is
/// two users.
///
/// Two requests of [`Principal::Anonymous`] are two subjects. A context, its children, the context
/// with which an inner layer continues it, and the one that another service makes of it
/// ([`PortableContext`](crate::context::PortableContext)) share one. Requests of one visitor are
/// one subject where the application gives the visitor an id: see [`Principal::Visitor`].
///
/// A flood of visitors is a flood of subjects: what counts or caches by subject asks
/// [`is_of_one_request`](Self::is_of_one_request) first.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Subject {
    tenant_id: Option<TenantId>,
    principal: Principal,
    /// Set where the principal is anonymous and the subject is that of a context.
    visit: Option<Visit>,
}

impl Subject {
    /// A principal of no tenant; to look up what is kept by subject.
    ///
    /// With [`Principal::Anonymous`] it is the subject of no request.
    #[inline]
    pub fn new(who: impl Into<Principal>) -> Self {
        Self {
            tenant_id: None,
            principal: who.into(),
            visit: None,
        }
    }

    /// Whether no other request can have this subject, as that of an anonymous one.
    ///
    /// Nothing that is kept under it is found again, except by the request's own work: a limiter
    /// counts such requests by the peer's address, and a cache leaves them out.
    ///
    /// ```
    /// use tower_user_scope::{Identity, Principal, UserContext, UserId};
    ///
    /// let visitor = || UserContext::builder(Identity::asserted(Principal::Anonymous)).build();
    /// let (one, other) = (visitor(), visitor());
    /// assert_ne!(one.subject(), other.subject());
    /// assert!(one.subject().is_of_one_request());
    ///
    /// let alice = Identity::asserted("alice".parse::<UserId>()?);
    /// assert!(!alice.subject().is_of_one_request());
    /// # Ok::<(), tower_user_scope::context::IdError>(())
    /// ```
    #[must_use]
    pub fn is_of_one_request(&self) -> bool {
        self.principal == Principal::Anonymous
    }

    /// Whether two strategies that found these in one request found the same.
    pub(crate) fn agrees_with(&self, other: &Self) -> bool {
        self.tenant_id == other.tenant_id && self.principal == other.principal
    }

    pub(super) fn visit(&self) -> Option<Visit> {
        self.visit
    }

    #[inline]
    pub(super) fn begin_visit(&mut self) {
        if self.principal == Principal::Anonymous {
            self.visit.get_or_insert_with(Visit::begin);
        }
    }

    #[cfg(feature = "ids")]
    pub(super) fn continue_visit(&mut self, visit: Option<Visit>) {
        if self.principal == Principal::Anonymous {
            self.visit = visit;
        }
    }

    /// The same principal in a tenant.
    #[must_use]
    pub fn with_tenant_id(mut self, tenant_id: TenantId) -> Self {
        self.tenant_id = Some(tenant_id);
        self
    }

    /// The tenant, where there is one.
    #[must_use]
    pub fn tenant_id(&self) -> Option<&TenantId> {
        self.tenant_id.as_ref()
    }

    /// The principal.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.principal
    }
}

impl From<UserId> for Principal {
    fn from(id: UserId) -> Self {
        Self::User(id)
    }
}

impl From<ServiceName> for Principal {
    fn from(name: ServiceName) -> Self {
        Self::Service(name)
    }
}

impl From<VisitorId> for Principal {
    fn from(id: VisitorId) -> Self {
        Self::Visitor(id)
    }
}
