//! Audit events, kept.

use std::sync::{Arc, Mutex, PoisonError};

use http::HeaderName;

use crate::{
    audit::{AuditEvent, Observer},
    context::{CorrelationProblem, UserContext},
    rejection::Rejection,
    scope::{Ending, ScopeViolation},
    strategy::{InvalidReason, StripReason, Verdict},
};

/// An [`AuditEvent`] as a value of its own.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Recorded {
    /// See [`AuditEvent::Consulted`].
    Consulted(&'static str, Verdict),
    /// See [`AuditEvent::Accepted`].
    Accepted(UserContext),
    /// See [`AuditEvent::Refused`].
    Refused(Rejection),
    /// See [`AuditEvent::HeaderStripped`].
    HeaderStripped(&'static str, HeaderName, StripReason),
    /// See [`AuditEvent::CredentialPassedOver`].
    CredentialPassedOver(&'static str, InvalidReason),
    /// See [`AuditEvent::TraceIgnored`].
    TraceIgnored(CorrelationProblem),
    /// See [`AuditEvent::Conflict`].
    Conflict(&'static str, &'static str),
    /// See [`AuditEvent::CrossUserAccess`].
    CrossUserAccess(ScopeViolation),
    /// See [`AuditEvent::FactoryRetained`].
    FactoryRetained(UserContext, &'static str),
    /// See [`AuditEvent::ScopeClosed`].
    ScopeClosed(UserContext, Ending),
}

/// Keeps the audit events of a layer; clones share what they keep.
///
/// ```
/// use tower_user_scope::{ExistingContext, UserScopeLayer, testing::Recorder};
///
/// let recorder = Recorder::new();
/// let layer = UserScopeLayer::builder()
///     .strategy(ExistingContext::new())
///     .observer(recorder.clone())
///     .context_only()
///     .build()?;
/// assert!(recorder.events().is_empty());
/// # let _ = layer;
/// # Ok::<(), tower_user_scope::ConfigError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    events: Arc<Mutex<Vec<Recorded>>>,
}

impl Recorder {
    /// A recorder that has heard nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Everything so far, in order.
    #[must_use]
    pub fn events(&self) -> Vec<Recorded> {
        self.lock().clone()
    }

    /// Takes everything so far.
    #[must_use]
    pub fn take(&self) -> Vec<Recorded> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Recorded>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Recorder {
    fn observe(&self, event: &AuditEvent<'_>) {
        let recorded = match *event {
            AuditEvent::Consulted { strategy, verdict } => Recorded::Consulted(strategy, verdict),
            AuditEvent::Accepted { context } => Recorded::Accepted(context.clone()),
            AuditEvent::Refused { rejection, .. } => Recorded::Refused(rejection.clone()),
            AuditEvent::HeaderStripped {
                strategy,
                header,
                reason,
                ..
            } => Recorded::HeaderStripped(strategy, header.clone(), reason),
            AuditEvent::CredentialPassedOver { strategy, invalid } => {
                Recorded::CredentialPassedOver(strategy, invalid.reason())
            }
            AuditEvent::TraceIgnored { problem, .. } => Recorded::TraceIgnored(problem),
            AuditEvent::Conflict { first, second } => Recorded::Conflict(first, second),
            AuditEvent::CrossUserAccess { violation } => {
                Recorded::CrossUserAccess(violation.clone())
            }
            AuditEvent::FactoryRetained {
                context, factory, ..
            } => Recorded::FactoryRetained(context.clone(), factory),
            AuditEvent::ScopeClosed {
                context, ending, ..
            } => Recorded::ScopeClosed(context.clone(), ending),
        };
        self.lock().push(recorded);
    }
}
