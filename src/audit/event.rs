//! The events, and how they reach `tracing` and the observer.

use std::{error::Error as StdError, fmt, iter, net::IpAddr, sync::Arc, time::Duration};

use http::{HeaderName, Method, StatusCode};
use tracing::Span;

use super::{
    Observer, UserIdTelemetry,
    path::{loggable, method as loggable_method},
};
use crate::{
    config_error::ConfigError,
    context::{CorrelationProblem, Principal, RequestId, Subject, UserContext},
    ending::Ending,
    outcome::{Invalid, Outcome, Verdict},
    rejection::Rejection,
    stripped::StripReason,
    violation::ScopeViolation,
};

/// Something that an operator may have to answer for.
#[derive(Debug)]
#[non_exhaustive]
pub enum AuditEvent<'a> {
    /// A strategy was asked and answered.
    #[non_exhaustive]
    Consulted {
        /// The strategy.
        strategy: &'static str,
        /// What it said.
        verdict: Verdict,
    },
    /// A request goes on to the inner service.
    #[non_exhaustive]
    Accepted {
        /// As whose, and found by what.
        context: &'a UserContext,
    },
    /// A request was refused.
    #[non_exhaustive]
    Refused {
        /// Why, with everything the response leaves out.
        rejection: &'a Rejection,
        /// Whose it was, where somebody was found who was then refused.
        subject: Option<&'a Subject>,
        /// The request's id, where it has one already, or the client sent one that can be read.
        request_id: Option<&'a RequestId>,
        /// The request's method.
        method: &'a Method,
        /// The request's path, as the layer sees it, without the query: at most 256 bytes of
        /// visible ASCII, others percent-encoded.
        path: &'a str,
        /// The address at the other end, where it is known.
        peer: Option<IpAddr>,
    },
    /// A header was removed before the inner service could see it.
    #[non_exhaustive]
    HeaderStripped {
        /// The strategy that it would have spoken to.
        strategy: &'static str,
        /// Its name, as it was sent.
        header: &'a HeaderName,
        /// Why it was removed.
        reason: StripReason,
        /// The address at the other end, where it is known.
        peer: Option<IpAddr>,
        /// From which networks it would have been believed, where the peer is in none of them:
        /// the first eight, and how many more.
        wanted: Option<&'a str>,
        /// How many more of the same request's headers were removed for this strategy, which
        /// have no event of their own.
        more: usize,
    },
    /// A bad credential counted as none, because its strategy is
    /// [`optional`](crate::Strategy::optional).
    #[non_exhaustive]
    CredentialPassedOver {
        /// The strategy.
        strategy: &'static str,
        /// What was wrong.
        invalid: &'a Invalid,
    },
    /// The `traceparent` of a request is malformed or was sent more than once. It is ignored, as
    /// the W3C's Trace Context asks for, and the request goes on.
    #[non_exhaustive]
    TraceIgnored {
        /// What is wrong with it.
        problem: CorrelationProblem,
        /// The address at the other end, where it is known.
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
        /// Whose, where.
        violation: &'a ScopeViolation,
    },
    /// A factory is still held although its scope has closed: something captured it.
    #[non_exhaustive]
    FactoryRetained {
        /// Whose it is.
        context: &'a UserContext,
        /// The type of the factory.
        factory: &'static str,
        /// How many handles there are.
        holders: usize,
        /// Since when: how long before the scope closed it was opened. Known where the layer
        /// has an observer or a hook.
        opened_before: Option<Duration>,
        /// The path of the request, without its query. Known as above.
        path: Option<&'a str>,
    },
    /// A scope has closed.
    #[non_exhaustive]
    ScopeClosed {
        /// The context whose scope it was.
        context: &'a UserContext,
        /// How it ended.
        ending: Ending,
        /// How long it was open.
        lasted: Duration,
        /// The status of the response, where there was one.
        status: Option<StatusCode>,
    },
}

/// Sends events to where they are seen.
#[derive(Clone, Default)]
pub(crate) struct Audit {
    /// Whether `tracing` hears nothing, because nothing happens.
    hypothetical: bool,
    observers: Vec<Arc<dyn Observer + Send + Sync>>,
    user_ids: UserIdTelemetry,
}

impl Audit {
    /// For what would happen: told to this observer alone.
    pub(crate) fn hypothetical(observer: Arc<dyn Observer + Send + Sync>) -> Self {
        Self {
            hypothetical: true,
            observers: vec![observer],
            user_ids: UserIdTelemetry::default(),
        }
    }

    pub(crate) fn observe_with(&mut self, observer: Arc<dyn Observer + Send + Sync>) {
        self.observers.push(observer);
    }

    pub(crate) fn is_observed(&self) -> bool {
        !self.observers.is_empty()
    }

    pub(crate) fn show_user_ids(&mut self, how: UserIdTelemetry) {
        self.user_ids = how;
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        self.user_ids.validate()
    }

    /// On the hot path, and all that happens there where nobody listens.
    #[inline]
    pub(crate) fn consulted(&self, strategy: &'static str, outcome: &Outcome) {
        if !self.hypothetical {
            tracing::debug!(
                target: "tower_user_scope",
                strategy,
                verdict = outcome.verdict().as_str(),
                "strategy consulted"
            );
        }
        if !self.observers.is_empty() {
            let verdict = outcome.verdict();
            self.tell_observers(&AuditEvent::Consulted { strategy, verdict });
        }
    }

    /// As [`emit`](Self::emit); all that happens for every request where nobody listens.
    #[inline]
    pub(crate) fn accepted(&self, context: &UserContext) {
        self.trace_accepted(context);
        if !self.observers.is_empty() {
            self.tell_observers(&AuditEvent::Accepted { context });
        }
    }

    pub(crate) fn emit(&self, event: &AuditEvent<'_>) {
        if !self.hypothetical {
            self.trace(event);
        }
        self.tell_observers(event);
    }

    fn tell_observers(&self, event: &AuditEvent<'_>) {
        for observer in &self.observers {
            observer.observe(event);
        }
    }

    /// The span that the inner service's work happens in, where somebody records it. One that
    /// nobody does would still pass each entry and exit on to the `log` crate, where that bridge
    /// is compiled in.
    #[inline]
    pub(crate) fn span(&self, context: &UserContext) -> Option<Span> {
        tracing::span_enabled!(target: "tower_user_scope", tracing::Level::INFO)
            .then(|| self.recorded_span(context))
    }

    #[cold]
    fn recorded_span(&self, context: &UserContext) -> Span {
        let span = tracing::info_span!(
            target: "tower_user_scope",
            "user_scope",
            user.id = tracing::field::Empty,
            user.hash = tracing::field::Empty,
            user_scope.principal = context.principal().kind(),
            user_scope.strategy = context.strategy(),
            user_scope.evidence = context.evidence().as_str(),
            request_id = tracing::field::Empty,
            thread_id = tracing::field::Empty,
            run_id = tracing::field::Empty,
        );
        // An id that nobody reads is never made.
        if !span.is_disabled() {
            if let Some(id) = self.user_ids.plain(context.principal()) {
                span.record("user.id", id);
            }
            if let Some(hash) = self.user_ids.hashed(context.principal()) {
                span.record("user.hash", &*hash);
            }
            span.record("request_id", context.request_id().as_str());
            span.record("thread_id", context.thread_id().as_str());
            span.record("run_id", context.run_id().as_str());
        }
        span
    }

    #[inline]
    fn trace_accepted(&self, context: &UserContext) {
        tracing::info!(
            target: "tower_user_scope::audit",
            strategy = context.strategy(),
            principal = context.principal().kind(),
            user.id = self.user_ids.plain(context.principal()),
            user.hash = self.user_ids.hashed(context.principal()).as_deref(),
            evidence = context.evidence().as_str(),
            development = context.evidence().is_development(),
            request_id = %context.request_id(),
            "request accepted"
        );
    }

    fn trace(&self, event: &AuditEvent<'_>) {
        match event {
            AuditEvent::Consulted { .. } => {}
            AuditEvent::Accepted { context } => self.trace_accepted(context),
            AuditEvent::Refused { .. } => self.trace_refusal(event),
            AuditEvent::HeaderStripped {
                strategy,
                header,
                reason,
                peer,
                wanted,
                more,
            } => tracing::warn!(
                target: "tower_user_scope::audit",
                strategy,
                header = header.as_str(),
                reason = reason.as_str(),
                peer = peer.map(tracing::field::display),
                wanted,
                more,
                "identity header removed"
            ),
            AuditEvent::CredentialPassedOver { strategy, invalid } => tracing::warn!(
                target: "tower_user_scope::audit",
                strategy,
                reason = %invalid.reason(),
                "bad credential passed over, because its strategy is optional"
            ),
            AuditEvent::TraceIgnored { problem, peer } => tracing::debug!(
                target: "tower_user_scope::audit",
                reason = %problem,
                peer = peer.map(tracing::field::display),
                "traceparent ignored"
            ),
            AuditEvent::Conflict { first, second } => tracing::warn!(
                target: "tower_user_scope::audit",
                first,
                second,
                "strategies found different principals"
            ),
            AuditEvent::CrossUserAccess { violation } => tracing::error!(
                target: "tower_user_scope::audit",
                reason = %violation,
                "factory used outside its user's scope"
            ),
            AuditEvent::FactoryRetained {
                context,
                factory,
                holders,
                opened_before,
                path,
            } => tracing::warn!(
                target: "tower_user_scope::audit",
                factory,
                holders,
                opened_before = opened_before.map(tracing::field::debug),
                path = path.map(loggable).as_deref(),
                strategy = context.strategy(),
                user.id = self.user_ids.plain(context.principal()),
                user.hash = self.user_ids.hashed(context.principal()).as_deref(),
                request_id = %context.request_id(),
                "factory still held although its scope has closed"
            ),
            AuditEvent::ScopeClosed {
                context,
                ending,
                lasted,
                status,
            } => tracing::debug!(
                target: "tower_user_scope::audit",
                ending = ending.as_str(),
                status = status.map(|status| status.as_u16()),
                lasted = ?lasted,
                request_id = %context.request_id(),
                "scope closed"
            ),
        }
    }

    fn trace_refusal(&self, event: &AuditEvent<'_>) {
        let AuditEvent::Refused {
            rejection,
            subject,
            request_id,
            method,
            path,
            peer,
        } = *event
        else {
            return;
        };
        let status = rejection.status();
        let cause = root_cause(rejection).map(tracing::field::display);
        let principal = subject.map(Subject::principal);
        let hash = principal.and_then(|principal| self.user_ids.hashed(principal));
        macro_rules! refusal {
            ($level:ident) => {
                tracing::$level!(
                    target: "tower_user_scope::audit",
                    status = status.as_u16(),
                    strategy = rejection.strategy(),
                    reason = %rejection,
                    cause,
                    principal = principal.map(Principal::kind),
                    user.id = principal.and_then(|principal| self.user_ids.plain(principal)),
                    user.hash = hash,
                    request_id = request_id.map(tracing::field::display),
                    method = loggable_method(method),
                    path,
                    peer = peer.map(tracing::field::display),
                    hint = rejection.hint(peer.is_some()),
                    "request refused"
                )
            };
        }
        if status.is_server_error() {
            refusal!(error);
        } else {
            refusal!(warn);
        }
    }
}

/// The error that everything above it passed on: what the operator has to look at.
fn root_cause(error: &dyn StdError) -> Option<&(dyn StdError + 'static)> {
    iter::successors(error.source(), |&error| error.source()).last()
}

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Audit")
            .field("observers", &self.observers.len())
            .field("user_ids", &self.user_ids)
            .finish_non_exhaustive()
    }
}
