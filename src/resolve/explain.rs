//! Why a request would be resolved as it is, step by step, without making it.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use crate::{
    audit::{AuditEvent, Observer, refusal},
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

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for event in &self.steps {
            writeln!(f, "{event}")?;
        }
        match &self.answer {
            Ok(context) => write!(
                f,
                "goes on as a {}, {} by {}",
                context.principal().kind(),
                context.evidence().as_str(),
                context.strategy()
            ),
            Err(rejection) => {
                refusal(rejection, f)?;
                write_owner(rejection, f)
            }
        }
    }
}

/// Adds the user of the credential, if that was verified.
fn write_owner(rejection: &Rejection, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let RejectionKind::Invalid { invalid, .. } = rejection.kind() else {
        return Ok(());
    };
    match invalid.user() {
        Some(user) => write!(f, "; it is the credential of {user:?}"),
        None => Ok(()),
    }
}

/// Collects the audit events of a resolution.
#[derive(Default)]
pub(crate) struct Steps(Mutex<Vec<AuditEvent<'static>>>);

impl Observer for Steps {
    fn observe(&self, event: &AuditEvent<'_>) {
        let mut steps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        steps.push(event.clone().into_owned());
    }
}
