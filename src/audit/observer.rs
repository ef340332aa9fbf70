//! The trait that receives audit events.

use super::AuditEvent;
use crate::outcome::UnavailableError;

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

    /// Decides whether an accepted request may go on, for observers that must record each of them.
    /// By default it may.
    ///
    /// It is called with the [`Accepted`](AuditEvent::Accepted) event, before any observer observes
    /// that.
    ///
    /// # Errors
    /// Why the request could not be recorded. It is refused with 503, and is a
    /// [`Refused`](AuditEvent::Refused) event instead.
    fn admit(&self, event: &AuditEvent<'_>) -> Result<(), UnavailableError> {
        let _ = event;
        Ok(())
    }
}

impl<F> Observer for F
where
    F: Fn(&AuditEvent<'_>),
{
    fn observe(&self, event: &AuditEvent<'_>) {
        self(event);
    }
}
