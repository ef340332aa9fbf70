//! Lines about checks that were skipped, because what they need is down.

use super::AuditEvent;
#[cfg(feature = "limit")]
use crate::outcome::root_cause;

pub(super) fn trace_skipped(event: &AuditEvent<'_>) {
    match event {
        #[cfg(feature = "limit")]
        AuditEvent::LimitSkipped {
            context,
            limit,
            unavailable,
        } => {
            // Apart, because the macro of older versions brings `display` into scope.
            let cause = root_cause(&**unavailable).map(tracing::field::display);
            tracing::error!(
                target: "tower_user_scope::audit",
                limit = &**limit,
                reason = %unavailable,
                cause,
                request_id = %context.request_id(),
                "limit not checked, because its store is unavailable"
            );
        }
        #[cfg(feature = "open-scopes")]
        AuditEvent::RevocationsUnknown { context } => tracing::error!(
            target: "tower_user_scope::audit",
            request_id = %context.request_id(),
            "request goes on although the feed of revocations is lost"
        ),
        _ => {}
    }
}
