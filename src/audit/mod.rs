//! What is seen: an audit event for everything that was accepted, refused or removed.
//!
//! Every event goes to `tracing` under the target `tower_user_scope::audit`, and as a value to
//! the layer's [`Observer`], where there is one. What each strategy said goes to `tracing` at
//! debug level under the crate's own target. No event carries a credential.

mod display;
mod event;
mod observer;
mod path;
mod sink;
mod user_ids;

pub(crate) use self::{display::refusal, path::loggable, sink::Audit};
pub use self::{event::AuditEvent, observer::Observer, user_ids::UserIdTelemetry};

#[cfg(feature = "telemetry")]
pub use self::user_ids::UserIdKey;
