//! A context that crosses a service boundary.
//!
//! What arrives is checked for form again and is nobody's identity until the receiver says so.

use serde::{Deserialize, Serialize};

use super::{
    ConnectionId, IdSource, Identity, Principal, RequestId, RunId, ServiceName, TenantId, ThreadId,
    UserContext, UserId,
};

/// What of a [`UserContext`] may travel to another service: who, and the correlation ids.
///
/// Evidence and attributes stay behind. Deserialising validates each id again; being well
/// formed makes nobody trusted, so the way back is spelled out:
/// [`vouched_for`](Self::vouched_for).
///
/// ```
/// use tower_user_scope::{Identity, PortableContext, UserContext, UserId};
///
/// let alice: UserId = "alice".parse()?;
/// let here = UserContext::builder(Identity::proved(alice)).build();
/// let wire = serde_json::to_string(&PortableContext::from(&here))?;
///
/// let arrived: PortableContext = serde_json::from_str(&wire)?;
/// assert_eq!(arrived, PortableContext::from(&here));
///
/// let there = arrived.vouched_for("job_queue");
/// assert_eq!(there.request_id(), here.request_id());
/// assert!(there.evidence().is_asserted());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortableContext {
    principal: PortablePrincipal,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tenant_id: Option<TenantId>,
    request_id: RequestId,
    thread_id: ThreadId,
    run_id: RunId,
    connection_id: ConnectionId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parent_id: Option<RequestId>,
    #[serde(default, deserialize_with = "depth")]
    depth: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum PortablePrincipal {
    User(UserId),
    Service(ServiceName),
    Anonymous,
}

fn depth<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    let depth = u8::deserialize(deserializer)?;
    if depth > UserContext::MAX_DEPTH {
        return Err(serde::de::Error::custom("depth is out of bounds"));
    }
    Ok(depth)
}

impl PortableContext {
    /// The context that the application vouches for, asserted by the channel named `by`.
    ///
    /// Call it only on what came through a channel that nobody else can write to.
    #[cfg(feature = "uuid")]
    #[cfg_attr(docsrs, doc(cfg(all(feature = "serde", feature = "uuid"))))]
    #[must_use]
    pub fn vouched_for(self, by: &'static str) -> UserContext {
        self.vouched_for_with_ids(by, IdSource::uuid_v7())
    }

    /// As [`vouched_for`](Self::vouched_for), with children's ids from `source`.
    #[must_use]
    pub fn vouched_for_with_ids(self, by: &'static str, source: IdSource) -> UserContext {
        let principal = match self.principal {
            PortablePrincipal::User(id) => Principal::User(id),
            PortablePrincipal::Service(name) => Principal::Service(name),
            PortablePrincipal::Anonymous => Principal::Anonymous,
        };
        let mut identity = Identity::asserted(principal);
        if let Some(tenant_id) = self.tenant_id {
            identity = identity.tenant(tenant_id);
        }
        UserContext::builder_with_ids(identity, source)
            .strategy(by)
            .request_id(self.request_id)
            .thread_id(self.thread_id)
            .run_id(self.run_id)
            .connection_id(self.connection_id)
            .lineage(self.parent_id, self.depth)
    }
}

impl From<&UserContext> for PortableContext {
    fn from(context: &UserContext) -> Self {
        Self {
            principal: match context.principal() {
                Principal::User(id) => PortablePrincipal::User(id.clone()),
                Principal::Service(name) => PortablePrincipal::Service(name.clone()),
                Principal::Anonymous => PortablePrincipal::Anonymous,
            },
            tenant_id: context.tenant_id().cloned(),
            request_id: context.request_id().clone(),
            thread_id: context.thread_id().clone(),
            run_id: context.run_id().clone(),
            connection_id: context.connection_id().clone(),
            parent_id: context.parent_id().cloned(),
            depth: context.depth(),
        }
    }
}
