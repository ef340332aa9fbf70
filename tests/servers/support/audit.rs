//! The layer's audit events as values that can be compared.

use std::sync::{Mutex, PoisonError};

use tower_user_scope::{
    Rejection,
    audit::AuditEvent,
    context::CorrelationErrorKind,
    factory::FactoryErrorKind,
    rejection::RejectionKind,
    strategy::{InvalidErrorKind, StripReason},
};

/// Why a request was refused: a [`RejectionKind`] as a value for tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    Nobody,
    NotAccepted(&'static str),
    Invalid(&'static str, InvalidErrorKind),
    Conflict(&'static str, &'static str),
    Unavailable(&'static str),
    Correlation(&'static str, CorrelationErrorKind),
    Forbidden(&'static str, &'static str),
    FactoryFailed,
    FactoryUnavailable,
    Other,
}

impl From<&Rejection> for Why {
    fn from(rejection: &Rejection) -> Self {
        match rejection.kind() {
            RejectionKind::NoCredential => Self::Nobody,
            RejectionKind::NotAccepted { strategy, .. } => Self::NotAccepted(strategy),
            RejectionKind::Invalid {
                strategy, invalid, ..
            } => Self::Invalid(strategy, invalid.kind()),
            RejectionKind::Conflict { first, second, .. } => Self::Conflict(first, second),
            RejectionKind::Unavailable { strategy, .. } => Self::Unavailable(strategy),
            RejectionKind::Correlation(error) => Self::Correlation(error.field(), error.kind()),
            RejectionKind::Forbidden {
                strategy,
                forbidden,
                ..
            } => Self::Forbidden(strategy, forbidden.reason()),
            RejectionKind::Factory(FactoryErrorKind::Failed(_)) => Self::FactoryFailed,
            RejectionKind::Factory(FactoryErrorKind::Unavailable(_)) => Self::FactoryUnavailable,
            _ => Self::Other,
        }
    }
}

/// The events since the last reading.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) accepted: Vec<String>,
    pub(crate) refused: Vec<Why>,
    pub(crate) stripped: Vec<(String, StripReason)>,
    /// Alarms that must never occur: a factory that is used outside of its own user's scope, or held
    /// or used beyond its own.
    pub(crate) alarms: Vec<String>,
}

#[derive(Default)]
pub(crate) struct Audit(Mutex<Heard>);

impl Audit {
    pub(super) fn hear(&self, event: &AuditEvent<'_>) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            AuditEvent::Accepted { context, .. } => {
                heard.accepted.push(context.request_id().to_string());
            }
            AuditEvent::Refused { rejection, .. } => heard.refused.push((&**rejection).into()),
            AuditEvent::HeaderStripped { header, reason, .. } => {
                heard.stripped.push((header.to_string(), *reason));
            }
            AuditEvent::CrossUserAccess { .. }
            | AuditEvent::FactoryRetained { .. }
            | AuditEvent::FactoryUsedOutsideScope { .. }
            | AuditEvent::FactoryUsedAfterClose { .. } => {
                heard.alarms.push(format!("{event:?}"));
            }
            _ => {}
        }
    }

    /// Returns all events since the last call.
    pub(crate) fn take(&self) -> Heard {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
