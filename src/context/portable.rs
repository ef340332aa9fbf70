//! A context that crosses a service boundary.
//!
//! What arrives is checked for form again and is nobody's identity until the receiver says so.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{
    ConnectionId, CorrelationError, Evidence, IdSource, Identity, Principal, RequestId, RunId,
    ServiceName, TenantId, ThreadId, UserContext, UserId, VisitorId, identity::Work, visit::Visit,
};
use crate::clock::{Clock, SystemClock};

/// What of a [`UserContext`] may travel to another service: who, who acts for them and until when,
/// the correlation ids, and the thread and the run that the credential is bound to.
///
/// An anonymous request's context stays that of the one visitor: both have the same
/// [`Subject`](super::Subject) and [`scoped_key`](UserContext::scoped_key).
///
/// Attributes stay behind, and so does proof: what was proved here is asserted there. What was
/// asserted, a fallback's or a development user's stays what it is. Deserialising validates each
/// id again; being well formed makes nobody trusted, so the way back is spelled out:
/// [`vouched_for`](Self::vouched_for).
///
/// A document without `expires_at` is of an identity that has no end, one without `bound_to` of a
/// credential that is for all of its user's work, and one without `evidence` is asserted.
///
/// ```
/// use tower_user_scope::{Identity, UserContext, UserId, context::PortableContext};
///
/// let alice: UserId = "alice".parse()?;
/// let here = UserContext::builder(Identity::proved(alice)).build();
/// let wire = serde_json::to_string(&PortableContext::from(&here))?;
///
/// let arrived: PortableContext = serde_json::from_str(&wire)?;
/// assert_eq!(arrived, PortableContext::from(&here));
///
/// let there = arrived.vouched_for("job_queue")?;
/// assert_eq!(there.request_id(), here.request_id());
/// assert!(there.evidence().is_asserted());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortableContext {
    principal: PortablePrincipal,
    /// Of an anonymous principal; without it the context is another visitor's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    visit: Option<Visit>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tenant_id: Option<TenantId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    actor: Option<PortablePrincipal>,
    request_id: RequestId,
    thread_id: ThreadId,
    run_id: RunId,
    connection_id: ConnectionId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parent_id: Option<RequestId>,
    #[serde(default, deserialize_with = "depth")]
    depth: u8,
    #[serde(default)]
    evidence: PortableEvidence,
    /// In whole seconds and nanoseconds since 1970, as `serde` writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<SystemTime>,
    #[serde(default, skip_serializing_if = "BoundTo::is_nothing")]
    bound_to: BoundTo,
}

/// How the identity is known there; there is no word for proof.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum PortableEvidence {
    #[default]
    Asserted,
    Development,
    Fallback,
}

/// What the credential was given out for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BoundTo {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    thread_id: Option<ThreadId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    run_id: Option<RunId>,
}

impl BoundTo {
    fn of(work: Option<&Work>) -> Self {
        Self {
            thread_id: work.and_then(|work| work.threads.first().cloned()),
            run_id: work.and_then(|work| work.runs.first().cloned()),
        }
    }

    fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum PortablePrincipal {
    User(UserId),
    Service(ServiceName),
    Anonymous,
    Visitor(VisitorId),
}

impl From<&Principal> for PortablePrincipal {
    fn from(principal: &Principal) -> Self {
        match principal {
            Principal::User(id) => Self::User(id.clone()),
            Principal::Service(name) => Self::Service(name.clone()),
            Principal::Anonymous => Self::Anonymous,
            Principal::Visitor(id) => Self::Visitor(id.clone()),
        }
    }
}

impl From<&PortablePrincipal> for Principal {
    fn from(principal: &PortablePrincipal) -> Self {
        match principal {
            PortablePrincipal::User(id) => Self::User(id.clone()),
            PortablePrincipal::Service(name) => Self::Service(name.clone()),
            PortablePrincipal::Anonymous => Self::Anonymous,
            PortablePrincipal::Visitor(id) => Self::Visitor(id.clone()),
        }
    }
}

fn depth<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    let depth = u8::deserialize(deserializer)?;
    if depth > UserContext::MAX_DEPTH {
        return Err(serde::de::Error::custom("depth is out of bounds"));
    }
    Ok(depth)
}

impl PortableContext {
    /// Returns the context that the application vouches for, found by the channel named `by`.
    ///
    /// Call it only on what came through a channel that nobody else can write to. The context
    /// ends when the identity does: see [`Identity::expires_at`].
    ///
    /// # Errors
    /// [`VouchError::Expired`] if the identity has ended by the system's clock, and
    /// [`VouchError::NotOfCredential`] if the thread or the run is not the one that the credential
    /// was given out for.
    pub fn vouched_for(self, by: &'static str) -> Result<UserContext, VouchError> {
        self.vouched_for_with(by, IdSource::default(), &SystemClock)
    }

    /// As [`vouched_for`](Self::vouched_for), with children's ids from `source`, and by the time
    /// that `clock` tells.
    ///
    /// # Errors
    /// As [`vouched_for`](Self::vouched_for).
    pub fn vouched_for_with(
        self,
        by: &'static str,
        source: IdSource,
        clock: &dyn Clock,
    ) -> Result<UserContext, VouchError> {
        let identity = self.identity();
        if identity.has_expired(clock) {
            return Err(VouchError::Expired);
        }
        UserContext::builder(identity)
            .id_source(source)
            .strategy(by)
            .request_id(self.request_id)
            .thread_id(self.thread_id)
            .run_id(self.run_id)
            .connection_id(self.connection_id)
            .lineage(self.parent_id, self.depth)
            .map_err(VouchError::NotOfCredential)
    }

    fn identity(&self) -> Identity {
        let principal = Principal::from(&self.principal);
        let mut identity = match self.evidence {
            PortableEvidence::Asserted => Identity::asserted(principal),
            PortableEvidence::Development => Identity::known(principal, Evidence::DEVELOPMENT),
            PortableEvidence::Fallback => Identity::known(principal, Evidence::FALLBACK),
        }
        .continue_visit(self.visit);
        if let Some(tenant_id) = &self.tenant_id {
            identity = identity.with_tenant_id(tenant_id.clone());
        }
        if let Some(actor) = &self.actor {
            identity = identity.with_actor(Principal::from(actor));
        }
        if let Some(end) = self.expires_at {
            identity = identity.with_expires_at(end);
        }
        if let Some(id) = &self.bound_to.thread_id {
            identity = identity.with_thread_id(id.clone());
        }
        if let Some(id) = &self.bound_to.run_id {
            identity = identity.with_run_id(id.clone());
        }
        identity
    }
}

/// Why nobody can vouch for a [`PortableContext`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum VouchError {
    /// The identity has ended.
    #[error("the identity has ended")]
    Expired,
    /// The thread or the run is not the one that the credential was given out for.
    #[error(transparent)]
    NotOfCredential(CorrelationError),
}

impl From<&UserContext> for PortableContext {
    fn from(context: &UserContext) -> Self {
        Self {
            principal: context.principal().into(),
            visit: context.subject().visit(),
            tenant_id: context.tenant_id().cloned(),
            actor: context.actor().map(PortablePrincipal::from),
            request_id: context.request_id().clone(),
            thread_id: context.thread_id().clone(),
            run_id: context.run_id().clone(),
            connection_id: context.connection_id().clone(),
            parent_id: context.parent_id().cloned(),
            depth: context.depth(),
            evidence: match context.evidence() {
                evidence if evidence.is_development() => PortableEvidence::Development,
                evidence if evidence.is_fallback() => PortableEvidence::Fallback,
                _ => PortableEvidence::Asserted,
            },
            // Whatever ended before 1970 has ended by then too, and can be written.
            expires_at: (context.identity().expires_at())
                .map(|end| end.max(SystemTime::UNIX_EPOCH)),
            bound_to: BoundTo::of(context.identity().work()),
        }
    }
}
