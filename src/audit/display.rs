//! Audit events as lines for operators.

use std::{
    error::Error as StdError,
    fmt::{self, Write as _},
    net::IpAddr,
};

use super::AuditEvent;
use crate::{
    context::UserContext,
    rejection::{Rejection, RejectionKind},
};

/// One line, without its end. It says what the fields of the log line say, but for user ids:
/// the text of an event never names a user, and never holds a credential.
///
/// ```
/// use http::{Request, Response};
/// use tower::{ServiceExt, service_fn};
/// use tower_layer::Layer;
/// use tower_user_scope::{ExistingContext, UserScopeLayer, testing::Recorder};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let recorder = Recorder::new();
/// let layer = UserScopeLayer::builder()
///     .strategy(ExistingContext::new())
///     .observer(recorder.clone())
///     .context_only()
///     .build()?;
/// let service = layer.layer(service_fn(async |_: Request<()>| {
///     Ok::<_, std::convert::Infallible>(Response::new(String::new()))
/// }));
/// service.oneshot(Request::get("/orders").body(())?).await?;
///
/// let lines: Vec<String> = recorder.events().iter().map(ToString::to_string).collect();
/// assert_eq!(lines, [
///     "existing_context: absent",
///     "GET /orders refused with 401 Unauthorized: no credential was found",
/// ]);
/// # Ok(())
/// # }
/// ```
impl fmt::Display for AuditEvent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Consulted {
                strategy, verdict, ..
            } => write!(f, "{strategy}: {}", verdict.as_str()),
            Self::Waited { step, waited } => write!(f, "waited {waited:?} for {}", step.as_str()),
            Self::Accepted { context, .. } => {
                write!(
                    f,
                    "{} accepted: a {}, {} by {}",
                    Of(context),
                    context.principal().kind(),
                    context.evidence().as_str(),
                    context.strategy()
                )?;
                match context.actor() {
                    Some(actor) => write!(f, ", for whom a {} acts", actor.kind()),
                    None => Ok(()),
                }
            }
            Self::Refused {
                rejection,
                request_id,
                method,
                path,
                work,
                peer,
                ..
            } => {
                if let Some(id) = request_id {
                    write!(f, "request {id}, ")?;
                }
                match (method, path, work) {
                    (Some(method), Some(path), _) => {
                        write!(f, "{} {path} ", super::path::method(method))?;
                    }
                    (_, _, Some(work)) => write!(f, "work `{work}` ")?,
                    _ => {}
                }
                refusal(rejection, f)?;
                from(*peer, f)
            }
            Self::HeaderStripped {
                strategy,
                header,
                reason,
                peer,
                wanted,
                more,
            } => {
                write!(f, "{strategy}: removes {header}, {}", reason.as_str())?;
                match (wanted, peer) {
                    (Some(wanted), Some(peer)) => {
                        write!(f, ": the peer is {peer}, wanted is {wanted}")?;
                    }
                    (Some(wanted), None) => write!(f, ": wanted is {wanted}")?,
                    (None, _) => {}
                }
                match more {
                    0 => Ok(()),
                    more => write!(f, "; and {more} more headers"),
                }
            }
            Self::InvalidCredentialIgnored { strategy, invalid } => write!(
                f,
                "{strategy}: ignored, because its credential {}",
                invalid.kind()
            ),
            Self::TraceIgnored { problem, peer } => {
                write!(f, "traceparent {problem} and is ignored")?;
                from(*peer, f)
            }
            Self::Conflict { first, second } => {
                write!(f, "{first} and {second}: found different principals")
            }
            Self::CrossUserAccess { violation } => fmt::Display::fmt(violation, f),
            Self::FactoryRetained {
                context,
                factory,
                holders,
                ..
            } => write!(
                f,
                "{}: {holders} still hold `{factory}` although its scope has closed",
                Of(context)
            ),
            #[cfg(feature = "limit")]
            Self::LimitSkipped {
                context,
                limit,
                unavailable,
            } => write!(
                f,
                "{}: limit `{limit}` was not checked: {unavailable}",
                Of(context)
            ),
            #[cfg(feature = "open-scopes")]
            Self::RevocationsUnknown { context } => write!(
                f,
                "{}: goes on although the feed of revocations is lost",
                Of(context)
            ),
            Self::FactoryUsedOutsideScope {
                context,
                factory,
                place,
            } => write!(
                f,
                "{}: `{factory}` was used outside every scope at {place}, and not checked",
                Of(context)
            ),
            Self::FactoryUsedAfterClose {
                context,
                factory,
                place,
                refused,
            } => write!(
                f,
                "{}: `{factory}` was used at {place} after its scope had closed, and {}",
                Of(context),
                if *refused { "refused" } else { "allowed" }
            ),
            Self::ScopeClosed {
                context,
                ending,
                lasted,
                status,
                bytes,
                ..
            } => {
                write!(f, "{}: scope {}", Of(context), ending.as_str())?;
                if let Some(status) = status {
                    write!(f, " with {status}")?;
                }
                write!(f, " after {lasted:?} and {bytes} bytes")
            }
        }
    }
}

/// What a context is of: a request, or work of a request.
struct Of<'a>(&'a UserContext);

impl fmt::Display for Of<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "request {}", self.0.request_id())?;
        match self.0.work() {
            Some(work) => write!(f, ", work `{work}`"),
            None => Ok(()),
        }
    }
}

fn from(peer: Option<IpAddr>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match peer {
        Some(peer) => write!(f, ", from {peer}"),
        None => Ok(()),
    }
}

/// Writes the status, the reason, and what was compared.
pub(crate) fn refusal(rejection: &Rejection, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    // Errors of the application may quote what a client sent.
    let mut line = OneLine(f);
    write!(line, "refused with {}: {rejection}", rejection.status())?;
    let RejectionKind::Invalid { invalid, .. } = rejection.kind() else {
        return Ok(());
    };
    match invalid.source() {
        Some(source) => write!(line, ": {source}"),
        None => Ok(()),
    }
}

/// Escapes control characters, which could begin a line of their own or rewrite a terminal's.
struct OneLine<'a, 'f>(&'a mut fmt::Formatter<'f>);

impl fmt::Write for OneLine<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|c| {
            if c.is_control() {
                write!(self.0, "{}", c.escape_default())
            } else {
                self.0.write_char(c)
            }
        })
    }
}
