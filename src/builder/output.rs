//! What clients are answered, and what operators see.

use std::sync::Arc;

use super::LayerBuilder;
use crate::{
    audit::{Observer, UserIdTelemetry},
    rejection::RespondToRejection,
};

/// What is said and seen?
impl<L, M, A> LayerBuilder<L, M, A> {
    /// Replaces the responses to refused requests; see [`RespondToRejection`].
    pub fn rejection_response(
        mut self,
        respond: impl RespondToRejection + Send + Sync + 'static,
    ) -> Self {
        self.settings.respond = Box::new(respond);
        self
    }

    /// Hands every audit event to an observer too; to each one, where this is said more than once.
    pub fn observer(mut self, observer: impl Observer + Send + Sync + 'static) -> Self {
        self.settings.audit.observe_with(Arc::new(observer));
        self
    }

    /// Says how user ids appear in spans and `tracing` events; by default not at all.
    pub fn user_ids_in_telemetry(mut self, how: UserIdTelemetry) -> Self {
        self.settings.audit.show_user_ids(how);
        self
    }
}
