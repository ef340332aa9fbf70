//! Tower middleware that finds out whose request it is, and hands the handler a fresh factory
//! for that user.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    not(test),
    warn(clippy::unwrap_used, clippy::expect_used, clippy::panic)
)]

mod accessors;
mod authorize;
mod body;
mod builder;
mod config_error;
mod context;
mod eventually;
mod factory;
mod future;
mod integration;
mod layer;
mod observe;
mod peer;
mod policy;
mod rejection;
mod service;
pub mod strategy;

#[cfg(feature = "serde")]
#[cfg_attr(docsrs, doc(cfg(feature = "serde")))]
pub use self::context::PortableContext;
#[cfg(feature = "tokio")]
#[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
pub use self::factory::LazyAsync;
#[cfg(feature = "axum")]
#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
pub use self::integration::ScopeRejection;
pub use self::{
    accessors::{MissingScope, UserScopeExt},
    authorize::{Anyone, Authorize, AuthorizeAsyncFn, AuthorizeFn, Denied, Forbidden},
    body::ResponseBody,
    builder::Builder,
    config_error::ConfigError,
    context::{
        Attributes, ConnectionId, ContextBuilder, CorrelationError, CorrelationIds,
        CorrelationKind, CorrelationProblem, DepthExceeded, Evidence, EvidenceRequired, IdError,
        IdProblem, IdRules, IdSource, Identity, Principal, RequestId, RunId, ServiceName, Subject,
        TenantId, ThreadId, TraceParent, UserContext, UserId, UserRequired,
    },
    eventually::Eventually,
    factory::{
        ContextOnly, FactoryAsyncFn, FactoryError, FactoryFn, FactoryUnavailable, Lazy,
        MakeFactory, NoFactory, ProvideFactory, Provided, Scoped, TryFactoryFn,
    },
    future::ResponseFuture,
    layer::UserScopeLayer,
    observe::{AuditEvent, Observer, UserIdTelemetry},
    peer::{PeerAddr, is_loopback},
    rejection::{DefaultResponse, FactoryFailure, Reason, Rejection, RespondToRejection},
    service::UserScope,
    strategy::{
        BoxStrategy, DevelopmentUser, ExistingContext, Fallback, FromExtension, Invalid,
        InvalidReason, Outcome, Presence, Reads, Strategy, StripReason, TrustedHeader, Unavailable,
        UnavailableReason, Untrusted, Verdict, from_async_fn, from_fn,
    },
};
