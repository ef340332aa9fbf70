//! Sends audit events to `tracing` and to the observers.

use std::{borrow::Cow, fmt, sync::Arc, time::Instant};

use http::request::Parts;
use tracing::Span;

#[cfg(any(feature = "limit", feature = "open-scopes"))]
use super::skipped::trace_skipped;
use super::{
    AuditEvent, Observer, UserIdTelemetry, WaitedStep,
    path::{loggable, method as loggable_method},
};
use crate::{
    config_error::ConfigError,
    context::{Principal, UserContext},
    outcome::{Outcome, UnavailableError, root_cause},
    peer::peer_ip,
};

/// Sends events to `tracing` and to the observers of a layer.
#[derive(Clone, Default)]
pub(crate) struct Audit {
    /// Whether events go to observers only, because no request is handled.
    hypothetical: bool,
    observers: Vec<Arc<dyn Observer + Send + Sync>>,
    user_ids: UserIdTelemetry,
}

impl Audit {
    /// Creates an instance for `explain`, whose events go to this observer only.
    pub(crate) fn hypothetical(observer: Arc<dyn Observer + Send + Sync>) -> Self {
        Self {
            hypothetical: true,
            observers: vec![observer],
            user_ids: UserIdTelemetry::default(),
        }
    }

    pub(crate) fn add_observer(&mut self, observer: Arc<dyn Observer + Send + Sync>) {
        self.observers.push(observer);
    }

    pub(crate) fn is_observed(&self) -> bool {
        !self.observers.is_empty()
    }

    pub(crate) fn set_user_ids(&mut self, how: UserIdTelemetry) {
        self.user_ids = how;
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        self.user_ids.validate()
    }

    /// As [`emit`](Self::emit), without building the event if there is no observer: it runs for each
    /// strategy of each request.
    #[inline]
    pub(crate) fn consulted(
        &self,
        strategy: &'static str,
        outcome: &Outcome,
        since: Option<Instant>,
    ) {
        if !self.hypothetical {
            tracing::debug!(
                target: "tower_user_scope",
                strategy,
                verdict = outcome.verdict().as_str(),
                "strategy consulted"
            );
        }
        if !self.observers.is_empty() {
            self.notify_observers(&AuditEvent::Consulted {
                strategy,
                verdict: outcome.verdict(),
                waited: since.map(|since| since.elapsed()),
            });
        }
    }

    /// As [`emit`](Self::emit), without building the event if there is no observer: it runs for each
    /// request. Fails if an observer does not admit the request; then nothing is emitted.
    #[inline]
    pub(crate) fn accepted(
        &self,
        context: &UserContext,
        head: &Parts,
    ) -> Result<(), UnavailableError> {
        if self.observers.is_empty() {
            self.trace_accepted(context);
            return Ok(());
        }
        let is_request = context.work().is_none();
        let event = AuditEvent::Accepted {
            context: Cow::Borrowed(context),
            method: is_request.then_some(Cow::Borrowed(&head.method)),
            path: is_request.then(|| loggable(head.uri.path())),
            peer: peer_ip(&head.extensions),
        };
        for observer in &self.observers {
            observer.admit(&event)?;
        }
        self.trace_accepted(context);
        self.notify_observers(&event);
        Ok(())
    }

    /// Returns the time if an observer wants to know how long something takes.
    #[inline]
    pub(crate) fn now(&self) -> Option<Instant> {
        self.is_observed().then(Instant::now)
    }

    /// Reports how long a request waited for a step.
    pub(crate) fn waited(&self, step: WaitedStep, since: Option<Instant>) {
        if let Some(since) = since {
            let waited = since.elapsed();
            self.notify_observers(&AuditEvent::Waited { step, waited });
        }
    }

    pub(crate) fn emit(&self, event: &AuditEvent<'_>) {
        if !self.hypothetical {
            self.trace(event);
        }
        self.notify_observers(event);
    }

    fn notify_observers(&self, event: &AuditEvent<'_>) {
        for observer in &self.observers {
            observer.observe(event);
        }
    }

    /// Returns the span of the inner service, if a subscriber records it. A disabled span would still
    /// pass each entry and exit to the `log` crate, if that bridge is compiled in.
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
            actor.id = tracing::field::Empty,
            actor.hash = tracing::field::Empty,
            user_scope.principal = context.principal().kind(),
            user_scope.strategy = context.strategy(),
            user_scope.evidence = context.evidence().as_str(),
            user_scope.work = context.work(),
            request_id = tracing::field::Empty,
            thread_id = tracing::field::Empty,
            run_id = tracing::field::Empty,
            user_scope.ending = tracing::field::Empty,
            http.response.status_code = tracing::field::Empty,
            otel.status_code = tracing::field::Empty,
        );
        // Ids are generated when they are first read.
        if !span.is_disabled() {
            if let Some(id) = self.user_ids.plain(context.principal()) {
                span.record("user.id", id);
            }
            if let Some(hash) = self.user_ids.hashed(context.principal()) {
                span.record("user.hash", &*hash);
            }
            if let Some(actor) = context.actor() {
                if let Some(id) = self.user_ids.plain(actor) {
                    span.record("actor.id", id);
                }
                if let Some(hash) = self.user_ids.hashed(actor) {
                    span.record("actor.hash", &*hash);
                }
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
            actor = context.actor().map(Principal::kind),
            actor.id = context.actor().and_then(|actor| self.user_ids.plain(actor)),
            actor.hash = context.actor().and_then(|actor| self.user_ids.hashed(actor)),
            evidence = context.evidence().as_str(),
            development = context.evidence().is_development(),
            request_id = %context.request_id(),
            work = context.work(),
            "request accepted"
        );
    }

    fn trace(&self, event: &AuditEvent<'_>) {
        match event {
            AuditEvent::Consulted { .. } | AuditEvent::Waited { .. } => {}
            AuditEvent::Accepted { context, .. } => self.trace_accepted(context),
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
                wanted = wanted.as_deref(),
                more,
                "identity header removed"
            ),
            AuditEvent::InvalidCredentialIgnored { strategy, invalid } => tracing::warn!(
                target: "tower_user_scope::audit",
                strategy,
                reason = %invalid.kind(),
                "invalid credential ignored, because its strategy is optional"
            ),
            AuditEvent::TraceIgnored { problem, peer } => {
                // Apart, because the macro of older versions brings `display` into scope.
                let peer = peer.map(tracing::field::display);
                tracing::debug!(
                    target: "tower_user_scope::audit",
                    reason = %problem,
                    peer,
                    "traceparent ignored"
                );
            }
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
                held: _,
                opened_before,
                path,
            } => tracing::warn!(
                target: "tower_user_scope::audit",
                factory,
                holders,
                opened_before = opened_before.map(tracing::field::debug),
                path = path.as_deref().map(loggable).as_deref(),
                strategy = context.strategy(),
                user.id = self.user_ids.plain(context.principal()),
                user.hash = self.user_ids.hashed(context.principal()).as_deref(),
                request_id = %context.request_id(),
                work = context.work(),
                "factory still held although its scope has closed"
            ),
            #[cfg(feature = "limit")]
            AuditEvent::LimitSkipped { .. } => trace_skipped(event),
            #[cfg(feature = "open-scopes")]
            AuditEvent::RevocationsUnknown { .. } => trace_skipped(event),
            AuditEvent::FactoryUsedOutsideScope {
                context,
                factory,
                place,
            } => tracing::warn!(
                target: "tower_user_scope::audit",
                factory,
                place = %place,
                strategy = context.strategy(),
                user.id = self.user_ids.plain(context.principal()),
                user.hash = self.user_ids.hashed(context.principal()).as_deref(),
                request_id = %context.request_id(),
                "factory used outside every scope, where it is not checked: give the work its scope \
                 with `.in_current_scope()`, or with `UserContext::enter` if it is a closure"
            ),
            AuditEvent::FactoryUsedAfterClose { .. } => self.trace_use_after_close(event),
            AuditEvent::ScopeClosed {
                context,
                ending,
                lasted,
                status,
                bytes,
                holders,
            } => tracing::debug!(
                target: "tower_user_scope::audit",
                ending = ending.as_str(),
                status = status.map(|status| status.as_u16()),
                lasted = ?lasted,
                bytes,
                holders,
                request_id = %context.request_id(),
                work = context.work(),
                "scope closed"
            ),
        }
    }

    fn trace_use_after_close(&self, event: &AuditEvent<'_>) {
        let AuditEvent::FactoryUsedAfterClose {
            context,
            factory,
            place,
            refused,
        } = event
        else {
            return;
        };
        macro_rules! used {
            ($level:ident) => {
                tracing::$level!(
                    target: "tower_user_scope::audit",
                    factory,
                    place = %place,
                    refused,
                    strategy = context.strategy(),
                    user.id = self.user_ids.plain(context.principal()),
                    user.hash = self.user_ids.hashed(context.principal()).as_deref(),
                    request_id = %context.request_id(),
                    "factory used after its scope had closed: hold the handle that `Scoped::keep` \
                     returns, or let the work end with its request"
                )
            };
        }
        if *refused {
            used!(error);
        } else {
            used!(warn);
        }
    }

    fn trace_refusal(&self, event: &AuditEvent<'_>) {
        let AuditEvent::Refused {
            rejection,
            subject,
            actor,
            request_id,
            method,
            path,
            work,
            peer,
        } = event
        else {
            return;
        };
        let status = rejection.status();
        let cause = root_cause(&**rejection).map(tracing::field::display);
        let principal = subject.as_ref().map(|subject| subject.principal());
        let hash = principal.and_then(|principal| self.user_ids.hashed(principal));
        macro_rules! refusal {
            ($level:ident) => {
                tracing::$level!(
                    target: "tower_user_scope::audit",
                    status = status.as_u16(),
                    strategy = rejection.strategy(),
                    error.r#type = rejection.reason(),
                    reason = %rejection,
                    cause,
                    principal = principal.map(Principal::kind),
                    user.id = principal.and_then(|principal| self.user_ids.plain(principal)),
                    user.hash = hash,
                    actor = actor.as_deref().map(Principal::kind),
                    actor.id = actor.as_deref().and_then(|actor| self.user_ids.plain(actor)),
                    actor.hash = actor.as_deref().and_then(|actor| self.user_ids.hashed(actor)),
                    request_id = request_id.as_deref().map(tracing::field::display),
                    method = method.as_deref().map(loggable_method),
                    path = path.as_deref(),
                    work,
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

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Audit")
            .field("observers", &self.observers.len())
            .field("user_ids", &self.user_ids)
            .finish_non_exhaustive()
    }
}
