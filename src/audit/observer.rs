//! The trait that receives audit events.

use super::AuditEvent;

/// Receives every [`AuditEvent`] as a value, for metrics, an audit trail, or a test.
///
/// It is called while the request is handled, so it must not block. Implemented by closures that take
/// `&AuditEvent<'_>`.
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use tower_user_scope::audit::{AuditEvent, Observer};
///
/// #[derive(Default)]
/// struct Refusals(AtomicU64);
///
/// impl Observer for Refusals {
///     fn observe(&self, event: &AuditEvent<'_>) {
///         if let AuditEvent::Refused { .. } = event {
///             self.0.fetch_add(1, Ordering::Relaxed);
///         }
///     }
/// }
/// ```
pub trait Observer {
    /// Receives an event.
    fn observe(&self, event: &AuditEvent<'_>);
}

impl<F> Observer for F
where
    F: Fn(&AuditEvent<'_>),
{
    fn observe(&self, event: &AuditEvent<'_>) {
        self(event);
    }
}
