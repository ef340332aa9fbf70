//! The fields of a line, in their order. `audit-log.schema.json` describes them.

use std::{net::IpAddr, time::SystemTime};

use serde::Serialize;

use crate::{
    audit::{AuditEvent, UserIdTelemetry, path::method},
    context::{Principal, RequestId, Subject, TenantId, UserContext},
    rejection::Rejection,
};

/// Increases when a field changes its meaning or disappears.
const VERSION: u8 = 1;

/// One line of the log. Fields of which nothing is known are left out.
#[derive(Debug, Default, Serialize)]
pub(super) struct Record<'a> {
    version: u8,
    time: String,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thread_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    work: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    principal: Option<Who<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<Who<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strategy: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    header: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    other_strategy: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    factory: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    holders: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ending: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
}

/// A principal, with its id as far as the log may have it.
#[derive(Debug, Serialize)]
struct Who<'a> {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hash: Option<String>,
}

impl<'a> Who<'a> {
    fn new(principal: &'a Principal, ids: &UserIdTelemetry) -> Self {
        Self {
            kind: principal.kind(),
            id: match principal {
                Principal::Service(name) => Some(name.as_str()),
                _ => ids.plain(principal),
            },
            hash: ids.hashed(principal),
        }
    }
}

impl<'a> Record<'a> {
    /// Returns the line of an event, or `None` for events that are not written.
    pub(super) fn of(
        event: &'a AuditEvent<'_>,
        ids: &UserIdTelemetry,
        now: SystemTime,
    ) -> Option<Self> {
        let record = match event {
            AuditEvent::Consulted { .. } | AuditEvent::Waited { .. } => return None,
            AuditEvent::Accepted {
                context,
                method: verb,
                path,
                peer,
            } => Self {
                method: verb.as_deref().map(method),
                path: path.as_deref(),
                peer: *peer,
                ..Self::about("accepted", context, ids)
            },
            AuditEvent::Refused {
                rejection,
                subject,
                actor,
                request_id,
                method: verb,
                path,
                work,
                peer,
            } => Self {
                request_id: request_id.as_deref().map(RequestId::as_str),
                method: verb.as_deref().map(method),
                path: path.as_deref(),
                work: *work,
                actor: actor.as_deref().map(|actor| Who::new(actor, ids)),
                peer: *peer,
                strategy: rejection.strategy(),
                ..Self::refused(rejection, subject.as_deref(), ids)
            },
            AuditEvent::HeaderStripped {
                strategy,
                header,
                reason,
                peer,
                ..
            } => Self {
                event: "header_removed",
                peer: *peer,
                strategy: Some(strategy),
                reason: Some(reason.as_str()),
                header: Some(header.as_str()),
                ..Self::default()
            },
            AuditEvent::InvalidCredentialIgnored { strategy, invalid } => Self {
                event: "invalid_ignored",
                strategy: Some(strategy),
                reason: Some(invalid.kind().as_str()),
                ..Self::default()
            },
            AuditEvent::TraceIgnored { problem, peer } => Self {
                event: "trace_ignored",
                peer: *peer,
                detail: Some(problem.to_string()),
                ..Self::default()
            },
            AuditEvent::Conflict { first, second } => Self {
                event: "conflict",
                strategy: Some(first),
                other_strategy: Some(second),
                ..Self::default()
            },
            AuditEvent::CrossUserAccess { violation } => Self {
                event: "isolation_violated",
                detail: Some(violation.to_string()),
                ..Self::default()
            },
            AuditEvent::FactoryRetained {
                context,
                factory,
                holders,
                ..
            } => Self {
                factory: Some(factory),
                holders: Some(*holders),
                ..Self::about("factory_retained", context, ids)
            },
            #[cfg(feature = "limit")]
            AuditEvent::LimitSkipped { context, limit, .. } => Self {
                limit: Some(limit),
                ..Self::about("limit_skipped", context, ids)
            },
            #[cfg(feature = "open-scopes")]
            AuditEvent::RevocationsUnknown { context } => {
                Self::about("revocations_unknown", context, ids)
            }
            AuditEvent::FactoryUsedOutsideScope {
                context,
                factory,
                place,
            } => Self {
                factory: Some(factory),
                detail: Some(place.to_string()),
                ..Self::about("used_outside_scope", context, ids)
            },
            AuditEvent::FactoryUsedAfterClose {
                context,
                factory,
                place,
                refused,
            } => Self {
                factory: Some(factory),
                refused: Some(*refused),
                detail: Some(place.to_string()),
                ..Self::about("used_after_close", context, ids)
            },
            AuditEvent::ScopeClosed {
                context,
                ending,
                lasted,
                status,
                bytes,
                holders,
            } => Self {
                status: status.map(|status| status.as_u16()),
                holders: Some(*holders),
                ending: Some(ending.as_str()),
                duration_ms: Some(u64::try_from(lasted.as_millis()).unwrap_or(u64::MAX)),
                bytes: Some(*bytes),
                ..Self::about("closed", context, ids)
            },
        };
        Some(Self {
            version: VERSION,
            time: humantime::format_rfc3339_millis(now).to_string(),
            ..record
        })
    }

    /// Returns what is known about a request that was resolved.
    fn about(event: &'static str, context: &'a UserContext, ids: &UserIdTelemetry) -> Self {
        Self {
            event,
            request_id: Some(context.request_id().as_str()),
            thread_id: Some(context.thread_id().as_str()),
            run_id: Some(context.run_id().as_str()),
            work: context.work(),
            principal: Some(Who::new(context.principal(), ids)),
            tenant_id: context.tenant_id().map(TenantId::as_str),
            actor: context.actor().map(|actor| Who::new(actor, ids)),
            strategy: Some(context.strategy()),
            evidence: Some(context.evidence().as_str()),
            ..Self::default()
        }
    }

    fn refused(rejection: &Rejection, subject: Option<&'a Subject>, ids: &UserIdTelemetry) -> Self {
        Self {
            event: "refused",
            principal: subject.map(|subject| Who::new(subject.principal(), ids)),
            tenant_id: subject.and_then(Subject::tenant_id).map(TenantId::as_str),
            status: Some(rejection.status().as_u16()),
            reason: Some(rejection.reason()),
            detail: Some(rejection.to_string()),
            ..Self::default()
        }
    }
}
