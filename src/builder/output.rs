//! Responses to refused requests, and audit events.

use std::sync::Arc;

use super::LayerBuilder;
use crate::{
    audit::{Observer, UserIdTelemetry},
    rejection::RespondToRejection,
};

/// # Responses and telemetry
impl<L, M, A> LayerBuilder<L, M, A> {
    /// Replaces the responses to refused requests; see [`RespondToRejection`].
    pub fn rejection_response(
        mut self,
        respond: impl RespondToRejection + Send + Sync + 'static,
    ) -> Self {
        self.settings.respond = Box::new(respond);
        self
    }

    /// Adds an observer, which receives every audit event.
    pub fn observer(mut self, observer: impl Observer + Send + Sync + 'static) -> Self {
        self.settings.audit.add_observer(Arc::new(observer));
        self
    }

    /// Sets how user ids appear in spans and `tracing` events. By default they don't.
    pub fn user_ids_in_telemetry(mut self, how: UserIdTelemetry) -> Self {
        self.settings.audit.set_user_ids(how);
        self
    }
}
