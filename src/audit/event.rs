//! The audit events, as values.

use std::{borrow::Cow, net::IpAddr, panic::Location, time::Duration};

use http::{HeaderName, Method, StatusCode};

use super::HeldFactory;
#[cfg(feature = "limit")]
use crate::outcome::UnavailableError;
use crate::{
    context::{CorrelationErrorKind, Principal, RequestId, Subject, UserContext},
    ending::Ending,
    outcome::{InvalidError, Verdict},
    rejection::Rejection,
    stripped::StripReason,
    violation::IsolationError,
};

/// An event that matters for security.
///
/// An observer gets borrowed events; [`into_owned`](Self::into_owned) returns one to keep, or to send
/// to another task.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum AuditEvent<'a> {
    /// A strategy resolved a request.
    #[non_exhaustive]
    Consulted {
        /// The strategy.
        strategy: &'static str,
        /// Its verdict.
        verdict: Verdict,
        /// How long the request waited for it, unless it answered at once. Known if the layer has an
        /// observer.
        waited: Option<Duration>,
    },
    /// A request has waited for a step after the strategies.
    #[non_exhaustive]
    Waited {
        /// The step.
        step: WaitedStep,
        /// How long. At most the step's time limit.
        waited: Duration,
    },
    /// A request goes on to the inner service, or work that is not a request begins.
    #[non_exhaustive]
    Accepted {
        /// Its context.
        context: Cow<'a, UserContext>,
        /// The request's method; `None` for work that is not a request.
        method: Option<Cow<'a, Method>>,
        /// The request's path, as in [`Refused`](Self::Refused); `None` for work that is not a request.
        path: Option<Cow<'a, str>>,
        /// The peer's address, if it is known.
        peer: Option<IpAddr>,
    },
    /// A request was refused, or work that is not a request.
    #[non_exhaustive]
    Refused {
        /// Why, with what the response leaves out.
        rejection: Cow<'a, Rejection>,
        /// The subject, if one was found and then refused.
        subject: Option<Cow<'a, Subject>>,
        /// Who acts for the subject, if somebody does.
        actor: Option<Cow<'a, Principal>>,
        /// The request's id, if it has one already or the client sent a valid one.
        request_id: Option<Cow<'a, RequestId>>,
        /// The request's method; `None` for work that is not a request.
        method: Option<Cow<'a, Method>>,
        /// The request's path, as the layer sees it, without the query: at most 256 bytes of
        /// visible ASCII, others percent-encoded. `None` for work that is not a request.
        path: Option<Cow<'a, str>>,
        /// The name of the work, if it is not a request
        /// ([`UserScopeLayer::run`](crate::UserScopeLayer::run)).
        work: Option<&'static str>,
        /// The peer's address, if it is known.
        peer: Option<IpAddr>,
    },
    /// A header was removed before the inner service could see it.
    #[non_exhaustive]
    HeaderStripped {
        /// The strategy that reads it.
        strategy: &'static str,
        /// Its name, as it was sent.
        header: Cow<'a, HeaderName>,
        /// Why it was removed.
        reason: StripReason,
        /// The peer's address, if it is known.
        peer: Option<IpAddr>,
        /// From which networks it would have been believed, where the peer is in none of them:
        /// the first eight, and how many more.
        wanted: Option<Cow<'a, str>>,
        /// How many more of the same request's headers were removed for this strategy, which
        /// have no event of their own.
        more: usize,
    },
    /// An invalid credential counted as absent, because its strategy is
    /// [`optional`](crate::strategy::Strategy::optional).
    #[non_exhaustive]
    InvalidCredentialIgnored {
        /// The strategy.
        strategy: &'static str,
        /// What was wrong.
        invalid: Cow<'a, InvalidError>,
    },
    /// The `traceparent` of a request is malformed or was sent more than once. It is ignored, as
    /// the W3C's Trace Context asks for, and the request goes on.
    #[non_exhaustive]
    TraceIgnored {
        /// What is wrong with it.
        problem: CorrelationErrorKind,
        /// The peer's address, if it is known.
        peer: Option<IpAddr>,
    },
    /// Two strategies found different principals in one request.
    #[non_exhaustive]
    Conflict {
        /// The strategy that found one.
        first: &'static str,
        /// The strategy that found another.
        second: &'static str,
    },
    /// One user's factory was used in another user's scope, or outside every scope where that
    /// is not allowed.
    #[non_exhaustive]
    CrossUserAccess {
        /// The users and the factory.
        violation: Cow<'a, IsolationError>,
    },
    /// A factory is still referenced after its scope has closed: something captured it.
    #[non_exhaustive]
    FactoryRetained {
        /// Whose it is.
        context: Cow<'a, UserContext>,
        /// The type of the factory.
        factory: &'static str,
        /// How many handles there are.
        holders: usize,
        /// Counts them again later.
        held: HeldFactory,
        /// How long the scope was open. Known if the layer has an observer or a hook.
        opened_before: Option<Duration>,
        /// The path of the request, without its query. Known as above; `None` for work that is not a
        /// request.
        path: Option<Cow<'a, str>>,
    },
    /// A limit was not checked, because its store is down and the limit says
    /// [`Allow`](crate::limit::OnUnavailable::Allow).
    #[cfg(feature = "limit")]
    #[cfg_attr(docsrs, doc(cfg(feature = "limit")))]
    #[non_exhaustive]
    LimitSkipped {
        /// Whose request it was.
        context: Cow<'a, UserContext>,
        /// The name of the limit.
        limit: Cow<'a, str>,
        /// What did not answer.
        unavailable: Cow<'a, UnavailableError>,
    },
    /// A request goes on although the feed of revocations is lost, because
    /// [`Allow`](crate::open_scopes::OnFeedLost::Allow) says so: its credential may have been revoked on
    /// another replica.
    #[cfg(feature = "open-scopes")]
    #[cfg_attr(docsrs, doc(cfg(feature = "open-scopes")))]
    #[non_exhaustive]
    RevocationsUnknown {
        /// Whose request it is.
        context: Cow<'a, UserContext>,
    },
    /// A factory was used outside every scope, where nobody can tell whose work it is: its use
    /// was not checked. Reported once for each place of a layer's factories.
    #[non_exhaustive]
    FactoryUsedOutsideScope {
        /// Whose it is.
        context: Cow<'a, UserContext>,
        /// The type of the factory.
        factory: &'static str,
        /// Where it was used.
        place: &'static Location<'static>,
    },
    /// A factory was used after its own scope had closed, through a handle that was not
    /// [kept](crate::Scoped::keep). Reported once for each scope, and each time it is refused.
    #[non_exhaustive]
    FactoryUsedAfterClose {
        /// Whose it is.
        context: Cow<'a, UserContext>,
        /// The type of the factory.
        factory: &'static str,
        /// Where it was used.
        place: &'static Location<'static>,
        /// Whether the use was
        /// [refused](crate::middleware::LayerBuilder::require_open_scope).
        refused: bool,
    },
    /// A scope has closed.
    #[non_exhaustive]
    ScopeClosed {
        /// The context whose scope it was.
        context: Cow<'a, UserContext>,
        /// How it ended.
        ending: Ending,
        /// How long it was open.
        lasted: Duration,
        /// The status of the response, if there was one.
        status: Option<StatusCode>,
        /// How many bytes of the response's body were handed to the server.
        bytes: u64,
        /// How many references to the factory are left, without those that were
        /// [kept](crate::Scoped::keep) on purpose.
        holders: usize,
    },
}

/// A step that a request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WaitedStep {
    /// The [`authorize`](crate::authorize) step.
    Authorize,
    /// A [limit](crate::limit) whose counts are in a store.
    #[cfg(feature = "limit")]
    #[cfg_attr(docsrs, doc(cfg(feature = "limit")))]
    Limit,
    /// The [factory](crate::factory).
    Factory,
}

impl WaitedStep {
    /// Returns the step in one lower-case word, for telemetry.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Authorize => "authorize",
            #[cfg(feature = "limit")]
            Self::Limit => "limit",
            Self::Factory => "factory",
        }
    }
}

fn owned<T: Clone>(value: Cow<'_, T>) -> Cow<'static, T> {
    Cow::Owned(value.into_owned())
}

fn owned_text(text: Cow<'_, str>) -> Cow<'static, str> {
    Cow::Owned(text.into_owned())
}

impl AuditEvent<'_> {
    /// Returns the event with owned contents.
    #[must_use]
    pub fn into_owned(self) -> AuditEvent<'static> {
        match self {
            Self::Consulted {
                strategy,
                verdict,
                waited,
            } => AuditEvent::Consulted {
                strategy,
                verdict,
                waited,
            },
            Self::Waited { step, waited } => AuditEvent::Waited { step, waited },
            Self::Accepted {
                context,
                method,
                path,
                peer,
            } => AuditEvent::Accepted {
                context: owned(context),
                method: method.map(owned),
                path: path.map(owned_text),
                peer,
            },
            Self::Refused {
                rejection,
                subject,
                actor,
                request_id,
                method,
                path,
                work,
                peer,
            } => AuditEvent::Refused {
                rejection: owned(rejection),
                subject: subject.map(owned),
                actor: actor.map(owned),
                request_id: request_id.map(owned),
                method: method.map(owned),
                path: path.map(owned_text),
                work,
                peer,
            },
            Self::HeaderStripped {
                strategy,
                header,
                reason,
                peer,
                wanted,
                more,
            } => AuditEvent::HeaderStripped {
                strategy,
                header: owned(header),
                reason,
                peer,
                wanted: wanted.map(owned_text),
                more,
            },
            Self::InvalidCredentialIgnored { strategy, invalid } => {
                AuditEvent::InvalidCredentialIgnored {
                    strategy,
                    invalid: owned(invalid),
                }
            }
            Self::TraceIgnored { problem, peer } => AuditEvent::TraceIgnored { problem, peer },
            Self::Conflict { first, second } => AuditEvent::Conflict { first, second },
            Self::CrossUserAccess { violation } => AuditEvent::CrossUserAccess {
                violation: owned(violation),
            },
            Self::FactoryRetained {
                context,
                factory,
                holders,
                held,
                opened_before,
                path,
            } => AuditEvent::FactoryRetained {
                context: owned(context),
                factory,
                holders,
                held,
                opened_before,
                path: path.map(owned_text),
            },
            #[cfg(feature = "limit")]
            Self::LimitSkipped {
                context,
                limit,
                unavailable,
            } => AuditEvent::LimitSkipped {
                context: owned(context),
                limit: owned_text(limit),
                unavailable: owned(unavailable),
            },
            #[cfg(feature = "open-scopes")]
            Self::RevocationsUnknown { context } => AuditEvent::RevocationsUnknown {
                context: owned(context),
            },
            Self::FactoryUsedOutsideScope {
                context,
                factory,
                place,
            } => AuditEvent::FactoryUsedOutsideScope {
                context: owned(context),
                factory,
                place,
            },
            Self::FactoryUsedAfterClose {
                context,
                factory,
                place,
                refused,
            } => AuditEvent::FactoryUsedAfterClose {
                context: owned(context),
                factory,
                place,
                refused,
            },
            Self::ScopeClosed {
                context,
                ending,
                lasted,
                status,
                bytes,
                holders,
            } => AuditEvent::ScopeClosed {
                context: owned(context),
                ending,
                lasted,
                status,
                bytes,
                holders,
            },
        }
    }
}
