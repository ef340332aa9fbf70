//! Why a request would be resolved as it is, step by step, without making it.

use std::{
    error::Error as _,
    fmt,
    sync::{Mutex, PoisonError},
};

use crate::{
    audit::{AuditEvent, Observer},
    context::UserContext,
    rejection::{Rejection, RejectionKind},
};

/// Why a request would be resolved as it is; from
/// [`UserScopeLayer::explain`](crate::UserScopeLayer::explain).
///
/// `Display` has a line for each step and one for the answer. It is for operators: it says what
/// responses leave out, and as everything else here no credential.
#[derive(Debug)]
pub struct Explanation {
    steps: Vec<AuditEvent<'static>>,
    answer: Result<UserContext, Rejection>,
}

impl Explanation {
    pub(crate) fn new(steps: Steps, answer: Result<UserContext, Rejection>) -> Self {
        let steps = steps.0.into_inner();
        Self {
            steps: steps.unwrap_or_else(PoisonError::into_inner),
            answer,
        }
    }

    /// What would happen, in order: the events that strategies cause.
    #[must_use]
    pub fn steps(&self) -> &[AuditEvent<'static>] {
        &self.steps
    }

    /// As whom the request would go on.
    ///
    /// # Errors
    /// Why it would not.
    pub fn answer(&self) -> Result<&UserContext, &Rejection> {
        self.answer.as_ref()
    }
}

/// Writes the line of one event of those that strategies cause.
fn line(event: &AuditEvent<'_>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match event {
        AuditEvent::Consulted { strategy, verdict } => {
            writeln!(f, "{strategy}: {}", verdict.as_str())
        }
        AuditEvent::CredentialPassedOver { strategy, invalid } => writeln!(
            f,
            "{strategy}: passed over, because its credential {}",
            invalid.kind()
        ),
        AuditEvent::HeaderStripped {
            strategy,
            header,
            reason,
            peer,
            wanted,
            ..
        } => {
            write!(f, "{strategy}: removes {header}, {}", reason.as_str())?;
            match (wanted, peer) {
                (Some(wanted), Some(peer)) => {
                    writeln!(f, ": the peer is {peer}, wanted is {wanted}")
                }
                (Some(wanted), None) => writeln!(f, ": wanted is {wanted}"),
                (None, _) => writeln!(f),
            }
        }
        AuditEvent::TraceIgnored { problem, .. } => {
            writeln!(f, "traceparent {problem} and is ignored")
        }
        AuditEvent::Conflict { first, second } => {
            writeln!(f, "{first} and {second}: found different principals")
        }
        _ => Ok(()),
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for event in &self.steps {
            line(event, f)?;
        }
        match &self.answer {
            Ok(context) => write!(
                f,
                "goes on as a {}, {} by {}",
                context.principal().kind(),
                context.evidence().as_str(),
                context.strategy()
            ),
            Err(rejection) => refusal(rejection, f),
        }
    }
}

/// What was compared, and whose credential it was, go along for the operator.
fn refusal(rejection: &Rejection, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "refused with {}: {rejection}", rejection.status())?;
    let RejectionKind::Invalid { invalid, .. } = rejection.kind() else {
        return Ok(());
    };
    if let Some(source) = invalid.source() {
        write!(f, ": {source}")?;
    }
    match invalid.user() {
        Some(user) => write!(f, "; it is the credential of {user:?}"),
        None => Ok(()),
    }
}

/// Notes what the audit would be told.
#[derive(Default)]
pub(crate) struct Steps(Mutex<Vec<AuditEvent<'static>>>);

impl Observer for Steps {
    fn observe(&self, event: &AuditEvent<'_>) {
        let mut steps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        steps.push(event.clone().into_owned());
    }
}
