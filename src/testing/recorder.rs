//! Records audit events.

use std::sync::{Arc, Mutex, PoisonError};

use crate::audit::{AuditEvent, Observer};

/// Records the audit events of a layer. Clones share the events.
///
/// ```
/// use tower_user_scope::{ExistingContext, UserScopeLayer, testing::Recorder};
///
/// let recorder = Recorder::new();
/// let layer = UserScopeLayer::builder()
///     .strategy(ExistingContext::new())
///     .observer(recorder.clone())
///     .context_only()
///     .build()?;
/// assert!(recorder.events().is_empty());
/// # let _ = layer;
/// # Ok::<(), tower_user_scope::ConfigError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    events: Arc<Mutex<Vec<AuditEvent<'static>>>>,
}

impl Recorder {
    /// Creates an empty recorder.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns all events so far, in order.
    #[must_use]
    pub fn events(&self) -> Vec<AuditEvent<'static>> {
        self.lock().clone()
    }

    /// Returns all events so far, and removes them.
    #[must_use]
    pub fn take(&self) -> Vec<AuditEvent<'static>> {
        std::mem::take(&mut *self.lock())
    }

    /// Returns the number of events so far.
    pub(super) fn count(&self) -> usize {
        self.lock().len()
    }

    /// Returns the events after the first ones, in order.
    pub(super) fn events_after(&self, first: usize) -> Vec<AuditEvent<'static>> {
        self.lock().get(first..).unwrap_or_default().to_vec()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<AuditEvent<'static>>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Recorder {
    fn observe(&self, event: &AuditEvent<'_>) {
        self.lock().push(event.clone().into_owned());
    }
}
