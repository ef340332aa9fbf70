//! What is known: identifiers, the identity, and the context that ties both to one request.
//!
//! Nothing here knows how an identity is found or what is built from it.

mod builder;
mod correlated;
mod correlation;
mod id_source;
pub(crate) mod identity;
pub(crate) mod ids;
mod known;
#[cfg(feature = "ids")]
mod portable;
mod trace_parent;
pub(crate) mod user_context;

#[cfg(feature = "ids")]
#[cfg_attr(docsrs, doc(cfg(feature = "ids")))]
pub use self::portable::{PortableContext, VouchError};
pub use self::{
    builder::UserContextBuilder,
    correlation::{CorrelationError, CorrelationErrorKind, CorrelationKind, CorrelationSources},
    id_source::IdSource,
    identity::{Attributes, Evidence, Subject},
    ids::{
        ConnectionId, IdError, IdErrorKind, IdRules, RequestId, RunId, ServiceName, TenantId,
        ThreadId,
    },
    trace_parent::TraceParent,
    user_context::{DepthError, EvidenceError, UserRequiredError},
};
pub(crate) use self::{
    correlated::{Correlation, Ids},
    identity::{Identity, Principal},
    ids::UserId,
    user_context::{Handles, UserContext},
};
