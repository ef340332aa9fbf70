//! Audit events: one for each request or header that was accepted, refused or removed.
//!
//! Every event goes to `tracing` under the target `tower_user_scope::audit`, and as a value to
//! each [`Observer`] of the layer. The verdict of each strategy goes to `tracing` at debug level under
//! the target `tower_user_scope`. No event contains a credential.
//!
//! ```
//! use tower_user_scope::{ExistingContext, UserScopeLayer, audit::AuditEvent};
//!
//! let layer = UserScopeLayer::builder()
//!     .strategy(ExistingContext::new())
//!     .observer(|event: &AuditEvent<'_>| {
//!         if let AuditEvent::Refused { .. } = event {
//!             // Counted in the application's metrics.
//!         }
//!     })
//!     .context_only()
//!     .build()?;
//! # let _ = layer;
//! # Ok::<(), tower_user_scope::ConfigError>(())
//! ```

#[cfg(feature = "metrics")]
mod by_label;
mod display;
mod event;
mod held;
#[cfg(feature = "telemetry")]
mod log;
#[cfg(feature = "metrics")]
mod metrics;
mod observer;
mod path;
mod sink;
#[cfg(any(feature = "limit", feature = "open-scopes"))]
mod skipped;
mod user_ids;

pub(crate) use self::{display::refusal, path::loggable, sink::Audit};
pub use self::{
    event::{AuditEvent, WaitedStep},
    held::HeldFactory,
    observer::Observer,
    user_ids::UserIdTelemetry,
};

#[cfg(feature = "metrics")]
pub use self::metrics::Metrics;
#[cfg(feature = "telemetry")]
pub use self::{log::AuditLog, user_ids::UserIdKey};
