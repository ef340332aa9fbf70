//! How a principal is known, for how long, and what else is known about it.
//!
//! An identity says nothing of the request that it was found in; that is the context's part.

use std::{any::Any, fmt, sync::Arc, time::SystemTime};

use http::Extensions;

#[cfg(feature = "ids")]
use super::visit::Visit;
use super::{Principal, RunId, Subject, TenantId, ThreadId};
use crate::clock::Clock;

/// How an identity is known.
///
/// Only strategies make one, through [`Identity`]'s constructors, and it can't be deserialised:
/// a context that came from outside never carries proof.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Evidence(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Proved,
    Asserted,
    Development,
    Fallback,
}

impl Evidence {
    pub(crate) const FALLBACK: Self = Self(Kind::Fallback);
    pub(crate) const DEVELOPMENT: Self = Self(Kind::Development);

    /// A credential of the principal's own was verified: a token's signature, a session.
    #[must_use]
    pub fn is_proved(self) -> bool {
        self.0 == Kind::Proved
    }

    /// Somebody who is believed says so: a proxy's header, a middleware's value.
    #[must_use]
    pub fn is_asserted(self) -> bool {
        self.0 == Kind::Asserted
    }

    /// A [`DevelopmentUser`](crate::DevelopmentUser): nothing at all was checked.
    #[must_use]
    pub fn is_development(self) -> bool {
        self.0 == Kind::Development
    }

    /// A [`Fallback`](crate::Fallback): the request carried no credential.
    #[must_use]
    pub fn is_fallback(self) -> bool {
        self.0 == Kind::Fallback
    }

    /// Nothing that anybody sent: what stands in where there was no credential.
    pub(crate) fn is_stand_in(self) -> bool {
        matches!(self.0, Kind::Development | Kind::Fallback)
    }

    /// The kind in one lower-case word, for telemetry.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self.0 {
            Kind::Proved => "proved",
            Kind::Asserted => "asserted",
            Kind::Development => "development",
            Kind::Fallback => "fallback",
        }
    }
}

impl fmt::Debug for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Values by type that a strategy learned about a principal: claims, roles, a display name.
///
/// Clones share the values until one of them is changed. `Debug` tells how many there are and
/// nothing of what they are.
#[derive(Clone, Default)]
pub struct Attributes(Option<Arc<Extensions>>);

impl Attributes {
    /// Adds a value and returns the one of the same type that it replaces.
    pub fn insert<T: Clone + Send + Sync + 'static>(&mut self, value: T) -> Option<T> {
        Arc::make_mut(self.0.get_or_insert_default()).insert(value)
    }

    /// The value of this type.
    #[must_use]
    pub fn get<T: Send + Sync + 'static>(&self) -> Option<&T> {
        self.0.as_ref()?.get()
    }

    /// Takes the value of this type out.
    pub fn remove<T: Clone + Send + Sync + 'static>(&mut self) -> Option<T> {
        Arc::make_mut(self.0.as_mut()?).remove()
    }
}

impl fmt::Debug for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attributes")
            .field("len", &self.0.as_ref().map_or(0, |values| values.len()))
            .finish()
    }
}

/// What a credential was given out for, where that is not everything of its user's.
#[derive(Clone, Debug, Default)]
pub(crate) struct Work {
    /// More than one where several credentials say it; they have to be equal in the end.
    pub(crate) threads: Vec<ThreadId>,
    pub(crate) runs: Vec<RunId>,
}

/// An outer layer's context that goes on, without its type: what a context is stands above this.
#[derive(Clone)]
pub(super) struct Continued(pub(super) Arc<dyn Any + Send + Sync>);

/// What a strategy found: who, how it is known, for how long, and what else is known.
///
/// ```
/// use tower_user_scope::{Identity, UserId};
///
/// #[derive(Clone, Debug, PartialEq)]
/// struct Roles(Vec<&'static str>);
///
/// let alice: UserId = "alice".parse()?;
/// let identity = Identity::proved(alice).with_attribute(Roles(vec!["editor"]));
///
/// assert!(identity.evidence().is_proved());
/// assert_eq!(identity.attributes().get(), Some(&Roles(vec!["editor"])));
/// # Ok::<(), tower_user_scope::context::IdError>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct Identity {
    subject: Subject,
    evidence: Evidence,
    /// Most act for themselves.
    actor: Option<Arc<Principal>>,
    attributes: Attributes,
    expires_at: Option<SystemTime>,
    /// Most credentials are for no work in particular.
    work: Option<Arc<Work>>,
    continues: Option<Continued>,
}

impl Identity {
    /// An identity that somebody who is believed asserts, such as a proxy's header.
    pub fn asserted(who: impl Into<Principal>) -> Self {
        Self::known(who.into(), Evidence(Kind::Asserted))
    }

    /// An identity that the strategy itself verified: a signature, a session in a store.
    ///
    /// A strategy that calls this vouches for it; routes that ask for proved evidence rely on it.
    pub fn proved(who: impl Into<Principal>) -> Self {
        Self::known(who.into(), Evidence(Kind::Proved))
    }

    #[inline]
    pub(crate) fn known(principal: Principal, evidence: Evidence) -> Self {
        Self {
            subject: Subject::new(principal),
            evidence,
            actor: None,
            attributes: Attributes(None),
            expires_at: None,
            work: None,
            continues: None,
        }
    }

    /// Turns this into an identity that is only asserted.
    pub(crate) fn into_asserted(mut self) -> Self {
        self.evidence = Evidence(Kind::Asserted);
        self
    }

    /// Makes this the identity of an outer layer's context that goes on.
    pub(super) fn continue_from(mut self, outer: Continued) -> Self {
        self.continues = Some(outer);
        self
    }

    /// Takes the outer layer's context that the identity continues, if it does.
    pub(super) fn take_continued(&mut self) -> Option<Continued> {
        self.continues.take()
    }

    /// Makes an anonymous identity that of one request, unless it is one already.
    ///
    /// A context does so and not the identity's constructor, because a strategy may keep an
    /// identity and return it again and again.
    #[inline]
    pub(super) fn begin_visit(&mut self) {
        self.subject.begin_visit();
    }

    #[cfg(feature = "ids")]
    pub(super) fn continue_visit(mut self, visit: Option<Visit>) -> Self {
        self.subject.continue_visit(visit);
        self
    }

    pub(super) fn attributes_mut(&mut self) -> &mut Attributes {
        &mut self.attributes
    }

    /// Puts the principal into a tenant.
    pub fn with_tenant_id(mut self, tenant_id: TenantId) -> Self {
        self.subject = self.subject.with_tenant_id(tenant_id);
        self
    }

    /// Sets who acts for the principal, such as an administrator that impersonates a user, or a
    /// service with a delegated token (RFC 8693 section 4.1).
    ///
    /// The principal alone decides what is seen: an actor changes neither the
    /// [`Subject`] nor a key. Both are in the context and in audit events, and
    /// [`Require::no_actor`](crate::authorize::Require::no_actor) refuses actors.
    ///
    /// ```
    /// use tower_user_scope::{Identity, Principal, UserContext, UserId};
    ///
    /// let (alice, admin): (UserId, UserId) = ("alice".parse()?, "admin".parse()?);
    /// let identity = Identity::proved(alice.clone()).with_actor(admin.clone());
    /// let context = UserContext::builder(identity).build();
    ///
    /// assert_eq!(context.user_id(), Some(&alice));
    /// assert_eq!(context.actor(), Some(&Principal::User(admin)));
    /// # Ok::<(), tower_user_scope::context::IdError>(())
    /// ```
    pub fn with_actor(mut self, actor: impl Into<Principal>) -> Self {
        self.actor = Some(Arc::new(actor.into()));
        self
    }

    /// Adds a value that the factory and handlers can read by its type.
    pub fn with_attribute<T: Clone + Send + Sync + 'static>(mut self, value: T) -> Self {
        self.attributes.insert(value);
        self
    }

    /// Says until when the identity holds. One that has ended is refused as expired.
    pub fn with_expires_at(mut self, time: SystemTime) -> Self {
        self.expires_at = Some(time);
        self
    }

    /// Says which thread the credential is for: a request that names another one is refused.
    pub fn with_thread_id(mut self, id: ThreadId) -> Self {
        Arc::make_mut(self.work.get_or_insert_default()).threads = vec![id];
        self
    }

    /// Says which run the credential is for: a request that names another one is refused.
    pub fn with_run_id(mut self, id: RunId) -> Self {
        Arc::make_mut(self.work.get_or_insert_default()).runs = vec![id];
        self
    }

    /// Whatever else is said, nobody outlives the credential that proves who it is.
    #[cfg(any(feature = "api-keys", feature = "jwt", feature = "session"))]
    pub(crate) fn no_longer_than(self, end: SystemTime) -> Self {
        match self.expires_at() {
            Some(earlier) if earlier <= end => self,
            _ => self.with_expires_at(end),
        }
    }

    pub(crate) fn work(&self) -> Option<&Work> {
        self.work.as_deref()
    }

    /// The principal within its tenant.
    #[must_use]
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// The principal.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        self.subject.principal()
    }

    /// The tenant, where there is one.
    #[must_use]
    pub fn tenant_id(&self) -> Option<&TenantId> {
        self.subject.tenant_id()
    }

    /// How the identity is known.
    #[must_use]
    pub fn evidence(&self) -> Evidence {
        self.evidence
    }

    /// Returns who acts for the principal, if somebody does.
    #[must_use]
    pub fn actor(&self) -> Option<&Principal> {
        self.actor.as_deref()
    }

    /// What else is known about the principal.
    #[must_use]
    pub fn attributes(&self) -> &Attributes {
        &self.attributes
    }

    /// When the identity ends, where that is known.
    #[must_use]
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.expires_at
    }

    /// Whether two strategies that found these in one request found the same: the same subject, and
    /// no two different actors.
    pub(crate) fn agrees_with(&self, other: &Self) -> bool {
        let is_one_actor = match (&self.actor, &other.actor) {
            (Some(one), Some(other)) => one == other,
            _ => true,
        };
        is_one_actor && self.subject.agrees_with(&other.subject)
    }

    /// Another strategy found the same principal: a proof counts for more than a word, and an
    /// outer layer's context goes on whoever found it. Tells whether `other` was the better one.
    pub(crate) fn corroborate(&mut self, other: Self) -> bool {
        let continues = self.continues.take().or(other.continues.clone());
        // If one credential says that somebody acts for the principal, somebody does.
        let actor = self.actor.take().or(other.actor.clone());
        let work = match (self.work.take(), &other.work) {
            (Some(mut all), Some(more)) => {
                let both = Arc::make_mut(&mut all);
                both.threads.extend_from_slice(&more.threads);
                both.runs.extend_from_slice(&more.runs);
                Some(all)
            }
            (one, other) => one.or_else(|| other.clone()),
        };
        // Both have to hold.
        let expires_at = [self.expires_at, other.expires_at]
            .into_iter()
            .flatten()
            .min();
        let better = other.evidence.is_proved() && !self.evidence.is_proved();
        if better {
            // An anonymous one stays the visitor that the outer layer's context is of.
            let subject = self.subject.clone();
            *self = Self { subject, ..other };
        }
        self.continues = continues;
        self.actor = actor;
        self.work = work;
        self.expires_at = expires_at;
        better
    }

    /// Asks the clock only where the identity has an end.
    pub(crate) fn has_expired(&self, clock: &dyn Clock) -> bool {
        self.expires_at().is_some_and(|end| end <= clock.now())
    }

    #[cfg(any(feature = "api-keys", feature = "jwt"))]
    pub(crate) fn has_ended_by(&self, now: SystemTime) -> bool {
        self.expires_at().is_some_and(|end| end <= now)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("principal", self.principal())
            .field("tenant_id", &self.tenant_id())
            .field("evidence", &self.evidence())
            .field("actor", &self.actor())
            .field("attributes", self.attributes())
            .field("expires_at", &self.expires_at())
            .finish_non_exhaustive()
    }
}
