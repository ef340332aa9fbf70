//! What is known: identifiers, the identity, and the context that ties both to one request.
//!
//! Nothing here knows how an identity is found or what is built from it.
//!
//! ```
//! use tower_user_scope::{Identity, UserContext, UserId, context::TenantId};
//!
//! let alice = Identity::proved(UserId::try_from("alice")?)
//!     .with_tenant_id(TenantId::try_from("acme")?);
//! let context = UserContext::builder(alice).build();
//! assert_eq!(context.tenant_id().map(TenantId::as_str), Some("acme"));
//! # Ok::<(), tower_user_scope::context::IdError>(())
//! ```

mod builder;
mod correlated;
mod correlation;
mod correlation_error;
mod error;
mod handles;
mod id_source;
pub(crate) mod identity;
pub(crate) mod ids;
mod life;
mod of_work;
#[cfg(feature = "ids")]
mod portable;
mod request_id_header;
mod scoped_key;
pub(crate) mod subject;
mod tenant;
mod trace_parent;
pub(crate) mod user_context;
mod visit;

#[cfg(feature = "ids")]
#[cfg_attr(docsrs, doc(cfg(feature = "ids")))]
pub use self::portable::{PortableContext, VouchError};
pub use self::{
    builder::UserContextBuilder,
    correlation::CorrelationSources,
    correlation_error::{CorrelationError, CorrelationErrorKind, CorrelationKind},
    error::{DepthError, EvidenceError, UserRequiredError},
    id_source::IdSource,
    identity::{Attributes, Evidence},
    ids::{
        ConnectionId, IdError, IdErrorKind, IdRules, RequestId, RunId, ServiceName, TenantId,
        ThreadId, VisitorId,
    },
    subject::Subject,
    tenant::{TenantError, TenantSource},
    trace_parent::TraceParent,
};
pub(crate) use self::{
    correlated::{Correlation, Ids},
    handles::Handles,
    identity::Identity,
    ids::UserId,
    request_id_header::{RequestIdHeader, ReturnRequestId},
    subject::Principal,
    user_context::UserContext,
};
