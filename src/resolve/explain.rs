//! Why a request would be resolved as it is, step by step, without making it.

use std::{
    error::Error as _,
    fmt,
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

use http::HeaderName;

use crate::{
    audit::{AuditEvent, Observer},
    context::{CorrelationProblem, UserContext},
    outcome::{InvalidReason, Verdict},
    rejection::{Reason, Rejection},
    stripped::StripReason,
};

/// Why a request would be resolved as it is; from
/// [`UserScopeLayer::explain`](crate::UserScopeLayer::explain).
///
/// `Display` has a line for each step and one for the answer. It is for operators: it says what
/// responses leave out, and as everything else here no credential.
#[derive(Debug)]
pub struct Explanation {
    steps: Vec<ExplainedStep>,
    answer: Result<UserContext, Rejection>,
}

/// One thing that would happen to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExplainedStep {
    /// A strategy would be asked, and say this.
    #[non_exhaustive]
    Asked {
        /// The strategy.
        strategy: &'static str,
        /// What it says.
        verdict: Verdict,
    },
    /// Its bad credential would count as none.
    #[non_exhaustive]
    PassedOver {
        /// The strategy.
        strategy: &'static str,
        /// What is wrong.
        reason: InvalidReason,
    },
    /// A header would be removed.
    #[non_exhaustive]
    Stripped {
        /// The strategy that it would have spoken to.
        strategy: &'static str,
        /// Its name.
        header: HeaderName,
        /// Why.
        reason: StripReason,
        /// The address at the other end, where it is known.
        peer: Option<IpAddr>,
        /// From which networks the header would have been believed; see
        /// [`AuditEvent::HeaderStripped`].
        wanted: Option<String>,
    },
    /// A `traceparent` would be ignored.
    #[non_exhaustive]
    TraceIgnored {
        /// What is wrong with it.
        problem: CorrelationProblem,
    },
}

impl Explanation {
    pub(crate) fn new(steps: Steps, answer: Result<UserContext, Rejection>) -> Self {
        let steps = steps.0.into_inner();
        Self {
            steps: steps.unwrap_or_else(PoisonError::into_inner),
            answer,
        }
    }

    /// What would happen, in order.
    #[must_use]
    pub fn steps(&self) -> &[ExplainedStep] {
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

impl fmt::Display for ExplainedStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked { strategy, verdict } => write!(f, "{strategy}: {}", verdict.as_str()),
            Self::PassedOver { strategy, reason } => {
                write!(
                    f,
                    "{strategy}: passed over, because its credential {reason}"
                )
            }
            Self::Stripped {
                strategy,
                header,
                reason,
                peer,
                wanted,
            } => {
                write!(f, "{strategy}: removes {header}, {}", reason.as_str())?;
                let Some(wanted) = wanted else { return Ok(()) };
                match peer {
                    Some(peer) => write!(f, ": the peer is {peer}, wanted is {wanted}"),
                    None => write!(f, ": wanted is {wanted}"),
                }
            }
            Self::TraceIgnored { problem } => write!(f, "traceparent {problem} and is ignored"),
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            writeln!(f, "{step}")?;
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
    let Reason::Invalid { invalid, .. } = rejection.reason() else {
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
pub(crate) struct Steps(Mutex<Vec<ExplainedStep>>);

impl Observer for Steps {
    fn observe(&self, event: &AuditEvent<'_>) {
        let step = match *event {
            AuditEvent::Consulted { strategy, verdict } => {
                ExplainedStep::Asked { strategy, verdict }
            }
            AuditEvent::CredentialPassedOver { strategy, invalid } => ExplainedStep::PassedOver {
                strategy,
                reason: invalid.reason(),
            },
            AuditEvent::HeaderStripped {
                strategy,
                header,
                reason,
                peer,
                wanted,
                ..
            } => ExplainedStep::Stripped {
                strategy,
                header: header.clone(),
                reason,
                peer,
                wanted: wanted.map(str::to_owned),
            },
            AuditEvent::TraceIgnored { problem, .. } => ExplainedStep::TraceIgnored { problem },
            _ => return,
        };
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(step);
    }
}
