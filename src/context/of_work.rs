//! The context of work that is not a request, such as a job.

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
}
