//! The context of one request: an identity, the ids that tie work together, and what found it.

use std::{fmt, ptr, sync::Arc};

use http::Extensions;

use super::{
    Attributes, ConnectionId, Correlation, CorrelationError, CorrelationKind, DepthError, Evidence,
    EvidenceError, Handles, IdSource, Identity, Principal, RequestId, RunId, Subject, TenantId,
    ThreadId, TraceParent, UserId, UserRequiredError, correlated::Ids, error::MAX_DEPTH,
    identity::Continued, life::Life,
};
use crate::isolation::Checks;

/// Who a request acts for, and the ids that tie its work together.
///
/// Immutable and cheap to clone (one reference count). There is no way to change the user of a
/// context; [`child`](Self::child) makes one for a sub-operation of the same user.
///
/// The layer puts one into the request's extensions. Tests and outer frameworks make their own
/// with [`UserContext::builder`].
///
/// ```
/// use tower_user_scope::{Identity, UserContext, UserId};
///
/// let alice: UserId = "alice".parse()?;
/// let context = UserContext::builder(Identity::asserted(alice.clone())).build();
///
/// assert_eq!(context.user_id(), Some(&alice));
/// assert_eq!(context.scoped_key("cache"), "cache:user::alice");
/// # Ok::<(), tower_user_scope::context::IdError>(())
/// ```
#[derive(Clone)]
pub struct UserContext {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    identity: Identity,
    strategy: &'static str,
    pub(super) correlation: Correlation,
    pub(super) handles: Handles,
    pub(super) life: Life,
    /// Few contexts come from others.
    pub(super) descent: Option<Box<Descent>>,
}

/// What a context has of those that it continues or is a child of.
#[derive(Clone, Default)]
pub(super) struct Descent {
    pub(super) parent: Option<RequestId>,
    pub(super) depth: u8,
    /// What the outer layers that this context continues put into the extensions.
    pub(super) outer: Vec<Handles>,
    /// The name of the work that it is of, if that is not a request.
    pub(super) work: Option<&'static str>,
}

impl UserContext {
    /// The deepest child, counted from the context of the request, which has depth 0.
    pub const MAX_DEPTH: u8 = MAX_DEPTH;

    pub(super) fn new(
        mut identity: Identity,
        strategy: &'static str,
        correlation: Correlation,
        handles: Handles,
        descent: Option<Box<Descent>>,
    ) -> Self {
        identity.begin_visit();
        // What the identity continues has become this context, or is forgotten.
        drop(identity.take_continued());
        Self {
            inner: Arc::new(Inner {
                identity,
                strategy,
                correlation,
                handles,
                life: Life::default(),
                descent,
            }),
        }
    }

    /// Where the life of this context's scope is kept.
    #[cfg(feature = "tokio")]
    pub(crate) fn life(&self) -> &Life {
        &self.inner.life
    }

    /// Makes the context of a request that a layer resolved.
    pub(crate) fn resolved(
        identity: Identity,
        strategy: &'static str,
        ids: Option<Box<Ids>>,
        source: &IdSource,
        handles: Handles,
    ) -> Self {
        let correlation = Correlation::of_request(ids, source.clone());
        Self::new(identity, strategy, correlation, handles, None)
    }

    /// Returns the identity with which an inner layer continues this context.
    pub(crate) fn continuing(&self) -> Identity {
        let inner: Arc<Inner> = Arc::clone(&self.inner);
        self.identity().clone().continue_from(Continued(inner))
    }

    /// Takes the outer layer's context that the identity continues, if it does.
    pub(crate) fn take_continued(identity: &mut Identity) -> Option<Self> {
        let Continued(inner) = identity.take_continued()?;
        let inner = inner.downcast().ok()?;
        Some(Self { inner })
    }

    /// Makes the context that an inner layer has of the same request: the ids stay, and who it is
    /// was found again.
    pub(crate) fn continued(
        &self,
        identity: Identity,
        strategy: &'static str,
        handles: Handles,
    ) -> Result<Self, CorrelationError> {
        let outer = &self.inner;
        let mut correlation = outer.correlation.settled();
        if let Some(work) = identity.work() {
            correlation = correlation.bound_to(work)?;
        }
        let checks = handles.checks.stricter(outer.handles.checks);
        // One of each, however often a request goes round.
        let mut descent = outer.descent.clone().unwrap_or_default();
        let is_listed = |listed: &Handles| ptr::fn_addr_eq(listed.remove, outer.handles.remove);
        if !descent.outer.iter().any(is_listed) {
            descent.outer.push(outer.handles);
        }
        let context = Self::new(
            identity,
            strategy,
            correlation,
            handles.with_checks(checks),
            Some(descent),
        );
        context.inner.life.share(&self.inner.life);
        Ok(context)
    }

    /// Who, how it is known, and what else is known.
    pub fn identity(&self) -> &Identity {
        &self.inner.identity
    }

    /// The principal within its tenant: the key of anything kept by user.
    #[must_use]
    pub fn subject(&self) -> &Subject {
        self.identity().subject()
    }

    /// Who acts.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        self.identity().principal()
    }

    /// The user's id; `None` for a service, for a visitor and for nobody.
    #[must_use]
    pub fn user_id(&self) -> Option<&UserId> {
        match self.principal() {
            Principal::User(id) => Some(id),
            Principal::Service(_) | Principal::Anonymous | Principal::Visitor(_) => None,
        }
    }

    /// The user's id, for code that can't work for anybody else.
    ///
    /// # Errors
    /// [`UserRequiredError`] where a service or nobody acts: there is no default user.
    pub fn require_user(&self) -> Result<&UserId, UserRequiredError> {
        self.user_id().ok_or(UserRequiredError {
            found: self.principal().kind(),
        })
    }

    /// The context itself, where a credential of the principal's own was verified.
    ///
    /// # Errors
    /// [`EvidenceError`] where the identity is only asserted, as by a proxy's header.
    pub fn require_proved(&self) -> Result<&Self, EvidenceError> {
        if self.evidence().is_proved() {
            Ok(self)
        } else {
            Err(EvidenceError {
                found: self.evidence(),
            })
        }
    }

    /// The tenant, where there is one.
    #[must_use]
    pub fn tenant_id(&self) -> Option<&TenantId> {
        self.identity().tenant_id()
    }

    /// Returns who acts for the principal, if somebody does; see [`Identity::with_actor`].
    #[must_use]
    pub fn actor(&self) -> Option<&Principal> {
        self.identity().actor()
    }

    /// How the identity is known.
    #[must_use]
    pub fn evidence(&self) -> Evidence {
        self.identity().evidence()
    }

    /// What else is known about the principal.
    #[must_use]
    pub fn attributes(&self) -> &Attributes {
        self.identity().attributes()
    }

    /// The name of the strategy that found the identity.
    #[must_use]
    pub fn strategy(&self) -> &'static str {
        self.inner.strategy
    }

    /// The id of this request.
    #[must_use]
    pub fn request_id(&self) -> &RequestId {
        self.inner.correlation.request_id()
    }

    /// The id of the thread of work.
    #[must_use]
    pub fn thread_id(&self) -> &ThreadId {
        self.inner.correlation.thread_id()
    }

    /// The id of the run within the thread.
    #[must_use]
    pub fn run_id(&self) -> &RunId {
        self.inner.correlation.run_id()
    }

    /// The id of the connection, for work that outlives a request.
    #[must_use]
    pub fn connection_id(&self) -> &ConnectionId {
        self.inner.correlation.connection_id()
    }

    /// Whether the client sent this id itself, in a header or a query parameter; one that it did
    /// not send was made, or for the request id taken from a `traceparent`.
    #[must_use]
    pub fn was_sent(&self, kind: CorrelationKind) -> bool {
        self.inner.correlation.was_sent(kind)
    }

    /// The caller's place in a distributed trace, where it sent a `traceparent`.
    #[must_use]
    pub fn trace_parent(&self) -> Option<&TraceParent> {
        self.inner.correlation.trace_parent()
    }

    /// The request id of the context that this one is a child of.
    #[must_use]
    pub fn parent_id(&self) -> Option<&RequestId> {
        self.inner.descent.as_ref()?.parent.as_ref()
    }

    /// How many parents are above this context, from 0 to [`MAX_DEPTH`](Self::MAX_DEPTH).
    #[must_use]
    pub fn depth(&self) -> u8 {
        self.inner
            .descent
            .as_ref()
            .map_or(0, |descent| descent.depth)
    }

    /// A context for a sub-operation: same user, tenant, thread and run, a request id of its
    /// own, and this one's as its parent.
    ///
    /// # Errors
    /// [`DepthError`] below [`MAX_DEPTH`](Self::MAX_DEPTH), where operations call
    /// themselves.
    pub fn child(&self) -> Result<Self, DepthError> {
        self.child_with(|_| {})
    }

    /// A [`child`](Self::child) with other attributes; this context keeps its own.
    ///
    /// # Errors
    /// As [`child`](Self::child).
    pub fn child_with(&self, change: impl FnOnce(&mut Attributes)) -> Result<Self, DepthError> {
        if self.depth() >= Self::MAX_DEPTH {
            return Err(DepthError { _private: () });
        }
        let inner = &self.inner;
        let mut identity = inner.identity.clone();
        change(identity.attributes_mut());
        let descent = Descent {
            parent: Some(self.request_id().clone()),
            depth: self.depth() + 1,
            ..inner.descent.as_deref().cloned().unwrap_or_default()
        };
        let context = Self::new(
            identity,
            inner.strategy,
            inner.correlation.for_child(),
            // A middleware may put the child in the place of the layer's own.
            inner.handles,
            Some(Box::new(descent)),
        );
        context.inner.life.share(&self.inner.life);
        Ok(context)
    }

    #[inline]
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// Whether both are of one principal in one tenant; cheapest where they are of one request.
    #[inline]
    pub(crate) fn is_of_same_subject(&self, other: &Self) -> bool {
        self.is_same(other) || self.subject() == other.subject()
    }

    /// The type of the factory that the layer built beside this context.
    pub(crate) fn factory_type(&self) -> &'static str {
        (self.inner.handles.factory)()
    }

    /// The settings of the layer that made the context, and of the layers around it.
    #[inline]
    pub(crate) fn checks(&self) -> Checks {
        self.inner.handles.checks
    }

    /// Takes an outer layer's context and everything that came with it out of the extensions.
    pub(crate) fn remove_from(extensions: &mut Extensions) {
        if let Some(found) = extensions.remove::<Self>() {
            found.remove_handles(extensions);
        }
    }

    /// Takes out of the extensions what came with this context.
    pub(crate) fn remove_handles(&self, extensions: &mut Extensions) {
        let descent = self.inner.descent.as_deref();
        let outer = descent.map_or(&[][..], |descent| &descent.outer);
        for handles in outer.iter().chain([&self.inner.handles]) {
            (handles.remove)(extensions);
        }
    }
}

/// Equal where the subject, the actor, the evidence, the end and the correlation ids are equal. Attributes
/// are not compared, because they have no equality.
impl PartialEq for UserContext {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(other)
            || (self.subject() == other.subject()
                && self.actor() == other.actor()
                && self.evidence() == other.evidence()
                && self.identity().expires_at() == other.identity().expires_at()
                && self.request_id() == other.request_id()
                && self.thread_id() == other.thread_id()
                && self.run_id() == other.run_id()
                && self.connection_id() == other.connection_id()
                && self.parent_id() == other.parent_id()
                && self.depth() == other.depth())
    }
}

impl Eq for UserContext {}

impl fmt::Debug for UserContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserContext")
            .field("principal", self.principal())
            .field("tenant_id", &self.tenant_id())
            .field("actor", &self.actor())
            .field("evidence", &self.evidence())
            .field("strategy", &self.strategy())
            .field("request_id", self.request_id())
            .field("depth", &self.depth())
            .finish_non_exhaustive()
    }
}
