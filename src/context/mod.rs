//! What is known: identifiers, the identity, and the context that ties both to one request.
//!
//! Nothing here knows how an identity is found or what is built from it.

mod by_hand;
mod correlated;
mod correlation;
mod id_source;
mod identity;
mod ids;
mod known;
#[cfg(feature = "serde")]
mod portable;
mod trace_parent;
mod user_context;

pub use self::{
    by_hand::ContextBuilder,
    correlation::{CorrelationError, CorrelationIds, CorrelationKind, CorrelationProblem},
    id_source::IdSource,
    identity::{Attributes, Evidence, Identity, Principal, Subject},
    ids::{
        ConnectionId, IdError, IdProblem, IdRules, RequestId, RunId, ServiceName, TenantId,
        ThreadId, UserId,
    },
    trace_parent::TraceParent,
    user_context::{DepthExceeded, EvidenceRequired, UserContext, UserRequired},
};
pub(crate) use self::{
    correlated::{Correlation, Ids},
    user_context::Handles,
};

#[cfg(feature = "serde")]
pub use self::portable::{PortableContext, VouchError};
