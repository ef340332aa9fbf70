//! Counts events with the `metrics` facade.

use std::{fmt, sync::OnceLock};

use http::StatusCode;
use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram,
};

use super::{AuditEvent, Observer, by_label::ByLabel};
use crate::{outcome::Verdict, violation::IsolationError};

/// The most values of each kind of label. Names of strategies and words of reasons are constants of
/// the program, so more of them are a mistake.
const MAX_STRATEGIES: usize = 32;
const MAX_REASONS: usize = 96;
const MAX_FEW: usize = 16;

/// An [`Observer`] that counts events, and measures how long things take, with the
/// [`metrics`](https://docs.rs/metrics) facade.
///
/// Install the recorder of the program first: metrics are registered with the recorder that is
/// installed when they are first used. Without one, nothing is counted. Two layers with an observer
/// each add to the same series.
///
/// | metric | labels | |
/// | --- | --- | --- |
/// | `user_scope_resolutions_total` | `strategy`, `outcome` | answers of strategies: `found`, `absent`, `invalid`, `unavailable` |
/// | `user_scope_resolution_wait_seconds` | `strategy` | how long requests waited for strategies that don't answer at once |
/// | `user_scope_step_wait_seconds` | `step` | how long requests waited for `authorize`, a `limit` and the `factory`, if these don't answer at once |
/// | `user_scope_accepted_total` | `strategy`, `evidence` | requests that went on to the inner service |
/// | `user_scope_refused_total` | `reason`, `status` | refused requests, by [`Rejection::reason`](crate::Rejection::reason) |
/// | `user_scope_open_scopes` | | scopes that are open now |
/// | `user_scope_scope_duration_seconds` | `ending` | how long scopes were open |
/// | `user_scope_isolation_violations_total` | `kind` | uses of a factory in the scope of another user; where that is refused, outside every scope or after its own has closed |
/// | `user_scope_reported_uses_total` | `kind` | reports of uses of a factory outside every scope (`no_scope`), or after its own has closed (`scope_closed`), where these are allowed |
/// | `user_scope_factories_retained_total` | | factories that are still held after their scope has closed |
/// | `user_scope_headers_removed_total` | `reason` | identity headers that were removed |
/// | `user_scope_invalid_ignored_total` | `strategy` | invalid credentials of optional strategies |
/// | `user_scope_conflicts_total` | | requests with credentials of two principals |
/// | `user_scope_limits_skipped_total` | | limits that were not checked, because their store is down (feature `limit`) |
/// | `user_scope_revocations_unknown_total` | | requests that went on although the feed of revocations was lost (feature `open-scopes`) |
///
/// What belongs to no layer counts by itself, without this observer:
///
/// | metric | labels | |
/// | --- | --- | --- |
/// | `user_scope_token_cache_lookups_total` | `cache`, `result` | look-ups of tokens and keys that were checked before: `hit` or `miss`, of the caches `jwt`, `introspection` and `api_key` |
/// | `user_scope_key_set_fetches_total` | `key_set`, `result` | fetches of the keys of an issuer: `succeeded` or `failed` |
/// | `user_scope_key_set_fetched_timestamp_seconds` | `key_set` | when the last fetch succeeded, in seconds since 1970; `time()` less this is the age |
/// | `user_scope_revocation_lag_seconds` | | how long revocations of other replicas took to arrive, by the clocks of both (feature `open-scopes`) |
/// | `user_scope_revocation_feed_connected` | | whether the feed of revocations is connected: 1 or 0 (feature `open-scopes`) |
/// | `user_scope_singleton_uses_total` | `singleton`, `place`, `route` | uses of a [`Singleton`](crate::migration::Singleton) |
///
/// No label has a value that a client chooses, and each has a bounded number of values; those beyond
/// the bound are counted as `other`. `key_set` is a configured URL without its query, for the first 64
/// of a process. `examples/observability` in the repository has a dashboard and
/// rules for alerts.
///
/// ```
/// use tower_user_scope::{ExistingContext, UserScopeLayer, audit::Metrics};
///
/// // First the recorder, such as `metrics_exporter_prometheus::PrometheusBuilder`'s.
/// let layer = UserScopeLayer::builder()
///     .strategy(ExistingContext::new())
///     .observer(Metrics::new())
///     .context_only()
///     .build()?;
/// # let _ = layer;
/// # Ok::<(), tower_user_scope::ConfigError>(())
/// ```
pub struct Metrics {
    strategies: ByLabel<OfStrategy>,
    step_waits: ByLabel<Histogram>,
    refused: ByLabel<OfReason>,
    open: Gauge,
    durations: ByLabel<Histogram>,
    other_user: Counter,
    no_scope: Counter,
    scope_closed: Counter,
    used_outside: Counter,
    used_after_close: Counter,
    retained: Counter,
    headers_removed: ByLabel<Counter>,
    conflicts: Counter,
    #[cfg(feature = "limit")]
    limits_skipped: Counter,
    #[cfg(feature = "open-scopes")]
    revocations_unknown: Counter,
}

/// The metrics of one strategy.
struct OfStrategy {
    name: &'static str,
    found: Counter,
    absent: Counter,
    invalid: Counter,
    unavailable: Counter,
    /// Registered at first use, because most strategies answer at once.
    waits: OnceLock<Histogram>,
    accepted: ByLabel<Counter>,
    ignored: OnceLock<Counter>,
}

impl OfStrategy {
    fn new(name: &'static str) -> Self {
        let outcome = |outcome: Verdict| counter!("user_scope_resolutions_total", "strategy" => name, "outcome" => outcome.as_str());
        Self {
            name,
            found: outcome(Verdict::Found),
            absent: outcome(Verdict::Absent),
            invalid: outcome(Verdict::Invalid),
            unavailable: outcome(Verdict::Unavailable),
            waits: OnceLock::new(),
            accepted: ByLabel::with_max(MAX_FEW),
            ignored: OnceLock::new(),
        }
    }

    fn outcome(&self, verdict: Verdict) -> &Counter {
        match verdict {
            Verdict::Found => &self.found,
            Verdict::Absent => &self.absent,
            Verdict::Invalid => &self.invalid,
            Verdict::Unavailable => &self.unavailable,
        }
    }

    fn waits(&self) -> &Histogram {
        let name = self.name;
        let register = || histogram!("user_scope_resolution_wait_seconds", "strategy" => name);
        self.waits.get_or_init(register)
    }

    fn ignored(&self) -> &Counter {
        let name = self.name;
        let register = || counter!("user_scope_invalid_ignored_total", "strategy" => name);
        self.ignored.get_or_init(register)
    }

    fn accepted(&self, evidence: &'static str) -> &Counter {
        self.accepted.get(evidence, |evidence| {
            counter!("user_scope_accepted_total", "strategy" => self.name, "evidence" => evidence)
        })
    }
}

/// The metric of one reason of refusals.
struct OfReason {
    reason: &'static str,
    by_status: ByLabel<Counter>,
}

impl OfReason {
    fn new(reason: &'static str) -> Self {
        Self {
            reason,
            by_status: ByLabel::with_max(MAX_FEW),
        }
    }

    fn with_status(&self, status: StatusCode) -> &Counter {
        let status = match status {
            StatusCode::BAD_REQUEST => "400",
            StatusCode::UNAUTHORIZED => "401",
            StatusCode::FORBIDDEN => "403",
            StatusCode::TOO_MANY_REQUESTS => "429",
            StatusCode::INTERNAL_SERVER_ERROR => "500",
            StatusCode::SERVICE_UNAVAILABLE => "503",
            _ => "other",
        };
        self.by_status.get(status, |status| {
            counter!("user_scope_refused_total", "reason" => self.reason, "status" => status)
        })
    }
}

fn violations(kind: &'static str) -> Counter {
    counter!("user_scope_isolation_violations_total", "kind" => kind)
}

fn reported_uses(kind: &'static str) -> Counter {
    counter!("user_scope_reported_uses_total", "kind" => kind)
}

impl Metrics {
    /// Describes the metrics to the recorder that is installed. Registers those that should never count
    /// anything, so that an alert sees the first one.
    #[must_use]
    pub fn new() -> Self {
        describe();
        Self {
            strategies: ByLabel::with_max(MAX_STRATEGIES),
            step_waits: ByLabel::with_max(MAX_FEW),
            refused: ByLabel::with_max(MAX_REASONS),
            open: gauge!("user_scope_open_scopes"),
            durations: ByLabel::with_max(MAX_FEW),
            other_user: violations("other_user"),
            no_scope: violations("no_scope"),
            scope_closed: violations("scope_closed"),
            used_outside: reported_uses("no_scope"),
            used_after_close: reported_uses("scope_closed"),
            retained: counter!("user_scope_factories_retained_total"),
            headers_removed: ByLabel::with_max(MAX_FEW),
            conflicts: counter!("user_scope_conflicts_total"),
            #[cfg(feature = "limit")]
            limits_skipped: counter!("user_scope_limits_skipped_total"),
            #[cfg(feature = "open-scopes")]
            revocations_unknown: counter!("user_scope_revocations_unknown_total"),
        }
    }

    fn of(&self, strategy: &'static str) -> &OfStrategy {
        self.strategies.get(strategy, OfStrategy::new)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Observer for Metrics {
    fn observe(&self, event: &AuditEvent<'_>) {
        match event {
            AuditEvent::Consulted {
                strategy,
                verdict,
                waited,
            } => {
                let strategy = self.of(strategy);
                strategy.outcome(*verdict).increment(1);
                if let Some(waited) = waited {
                    strategy.waits().record(*waited);
                }
            }
            AuditEvent::Waited { step, waited } => {
                let waits = self.step_waits.get(
                    step.as_str(),
                    |step| histogram!("user_scope_step_wait_seconds", "step" => step),
                );
                waits.record(*waited);
            }
            AuditEvent::Accepted { context, .. } => {
                let strategy = self.of(context.strategy());
                strategy.accepted(context.evidence().as_str()).increment(1);
                self.open.increment(1.0);
            }
            AuditEvent::Refused { rejection, .. } => {
                let refused = self.refused.get(rejection.reason(), OfReason::new);
                refused.with_status(rejection.status()).increment(1);
            }
            AuditEvent::HeaderStripped { reason, more, .. } => {
                let removed = self.headers_removed.get(
                    reason.as_str(),
                    |reason| counter!("user_scope_headers_removed_total", "reason" => reason),
                );
                removed.increment(1 + *more as u64);
            }
            AuditEvent::InvalidCredentialIgnored { strategy, .. } => {
                self.of(strategy).ignored().increment(1);
            }
            AuditEvent::TraceIgnored { .. } => {}
            AuditEvent::Conflict { .. } => self.conflicts.increment(1),
            AuditEvent::CrossUserAccess { violation } => {
                let violations = match **violation {
                    IsolationError::OtherUser { .. } => &self.other_user,
                    IsolationError::NoScope { .. } => &self.no_scope,
                    IsolationError::ScopeClosed { .. } => &self.scope_closed,
                };
                violations.increment(1);
            }
            #[cfg(feature = "limit")]
            AuditEvent::LimitSkipped { .. } => self.limits_skipped.increment(1),
            #[cfg(feature = "open-scopes")]
            AuditEvent::RevocationsUnknown { .. } => self.revocations_unknown.increment(1),
            AuditEvent::FactoryUsedOutsideScope { .. } => self.used_outside.increment(1),
            AuditEvent::FactoryUsedAfterClose { refused: true, .. } => {
                self.scope_closed.increment(1);
            }
            AuditEvent::FactoryUsedAfterClose { .. } => self.used_after_close.increment(1),
            AuditEvent::FactoryRetained { .. } => self.retained.increment(1),
            AuditEvent::ScopeClosed { ending, lasted, .. } => {
                self.open.decrement(1.0);
                let durations = self.durations.get(
                    ending.as_str(),
                    |ending| histogram!("user_scope_scope_duration_seconds", "ending" => ending),
                );
                durations.record(*lasted);
            }
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// Sets help texts and units.
fn describe() {
    for (name, help) in [
        ("user_scope_resolutions_total", "Answers of strategies."),
        (
            "user_scope_accepted_total",
            "Requests that went on to the inner service.",
        ),
        ("user_scope_refused_total", "Requests that were refused."),
        (
            "user_scope_isolation_violations_total",
            "Uses of a factory outside its user's scope.",
        ),
        (
            "user_scope_reported_uses_total",
            "Reports of uses of a factory without its scope.",
        ),
        (
            "user_scope_factories_retained_total",
            "Factories that were still held after their scope had closed.",
        ),
        (
            "user_scope_headers_removed_total",
            "Identity headers that were removed from requests.",
        ),
        (
            "user_scope_invalid_ignored_total",
            "Invalid credentials that counted as absent.",
        ),
        (
            "user_scope_conflicts_total",
            "Requests with credentials of two principals.",
        ),
        (
            "user_scope_limits_skipped_total",
            "Limits that were not checked, because their store is down.",
        ),
        (
            "user_scope_token_cache_lookups_total",
            "Look-ups of tokens and keys that were checked before.",
        ),
        (
            "user_scope_key_set_fetches_total",
            "Fetches of the keys of an issuer.",
        ),
        (
            "user_scope_singleton_uses_total",
            "Uses of an object that all requests share.",
        ),
        (
            "user_scope_revocations_unknown_total",
            "Requests that went on although the feed of revocations was lost.",
        ),
    ] {
        describe_counter!(name, Unit::Count, help);
    }
    describe_gauge!(
        "user_scope_open_scopes",
        Unit::Count,
        "Scopes that are open."
    );
    describe_gauge!(
        "user_scope_revocation_feed_connected",
        Unit::Count,
        "Whether the feed of revocations is connected."
    );
    describe_gauge!(
        "user_scope_key_set_fetched_timestamp_seconds",
        Unit::Seconds,
        "When the keys of an issuer were fetched last, in seconds since 1970."
    );
    for (name, help) in [
        (
            "user_scope_resolution_wait_seconds",
            "How long requests waited for a strategy.",
        ),
        (
            "user_scope_step_wait_seconds",
            "How long requests waited for the authorization, a limit or the factory.",
        ),
        (
            "user_scope_scope_duration_seconds",
            "How long scopes were open.",
        ),
        (
            "user_scope_revocation_lag_seconds",
            "How long revocations of other replicas took to arrive.",
        ),
    ] {
        describe_histogram!(name, Unit::Seconds, help);
    }
}
