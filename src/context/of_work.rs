//! The contexts of work that is not a request, such as a job, and of a scope that was renewed.

#[cfg(feature = "tokio")]
use super::{CorrelationError, Identity, RunId, ThreadId};
use super::{Handles, UserContext};

impl UserContext {
    /// Returns the name of the work that this context is of, if that is not a request; see
    /// [`UserScopeLayer::run`](crate::UserScopeLayer::run).
    #[must_use]
    pub fn work(&self) -> Option<&'static str> {
        self.inner.descent.as_ref()?.work
    }

    /// Makes the context of work for the same user, with the same ids.
    pub(crate) fn of_work(&self, name: &'static str, handles: Handles) -> Self {
        let mut descent = self.inner.descent.clone().unwrap_or_default();
        descent.work = Some(name);
        let checks = handles.checks.stricter(self.inner.handles.checks);
        let context = Self::new(
            self.identity().clone(),
            self.strategy(),
            self.inner.correlation.settled(),
            handles.with_checks(checks),
            Some(descent),
        );
        context.inner.life.share(&self.inner.life);
        context
    }

    /// Makes the context of the same scope with the fresh identity of a renewal. A credential that is
    /// bound to another thread or run is not for this scope.
    #[cfg(feature = "tokio")]
    pub(crate) fn renewed(
        &self,
        identity: Identity,
        strategy: &'static str,
        handles: Handles,
    ) -> Result<Self, CorrelationError> {
        let fresh = self.continued(identity, strategy, handles)?;
        if fresh.thread_id() != self.thread_id() {
            return Err(CorrelationError::not_of_credential(ThreadId::FIELD));
        }
        if fresh.run_id() != self.run_id() {
            return Err(CorrelationError::not_of_credential(RunId::FIELD));
        }
        Ok(fresh)
    }
}
