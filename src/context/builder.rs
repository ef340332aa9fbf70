//! A context that no layer resolved: a test's, or another framework's.

use super::{
    ConnectionId, Correlation, Handles, IdSource, Identity, RequestId, RunId, ThreadId, UserContext,
};
#[cfg(feature = "ids")]
use super::{CorrelationError, user_context::Descent};

/// Makes a [`UserContext`] by hand; see [`UserContext::builder`].
#[derive(Debug)]
#[must_use]
pub struct UserContextBuilder {
    identity: Identity,
    strategy: &'static str,
    correlation: Correlation,
}

impl UserContext {
    /// Starts a context by hand, for tests and for frameworks that resolve users themselves.
    pub fn builder(identity: Identity) -> UserContextBuilder {
        UserContextBuilder {
            identity,
            strategy: "manual",
            correlation: Correlation::made_by(IdSource::default()),
        }
    }
}

impl UserContextBuilder {
    /// Sets where ids that are missing come from; by default [`IdSource::default`].
    pub fn id_source(mut self, source: IdSource) -> Self {
        self.correlation = self.correlation.with_source(source);
        self
    }

    /// Names what found the identity; by default `manual`.
    pub fn strategy(mut self, name: &'static str) -> Self {
        self.strategy = name;
        self
    }

    /// Sets the request id.
    pub fn request_id(mut self, id: RequestId) -> Self {
        self.correlation = self.correlation.with_request_id(id);
        self
    }

    /// Sets the thread id.
    pub fn thread_id(mut self, id: ThreadId) -> Self {
        self.correlation = self.correlation.with_thread_id(id);
        self
    }

    /// Sets the run id.
    pub fn run_id(mut self, id: RunId) -> Self {
        self.correlation = self.correlation.with_run_id(id);
        self
    }

    /// Sets the connection id.
    pub fn connection_id(mut self, id: ConnectionId) -> Self {
        self.correlation = self.correlation.with_connection_id(id);
        self
    }

    /// The context.
    #[must_use]
    pub fn build(self) -> UserContext {
        let correlation = match self.identity.work() {
            // What was set by hand is meant, whatever the identity is for.
            Some(work) => (self.correlation.clone().bound_to(work)).unwrap_or(self.correlation),
            None => self.correlation,
        };
        UserContext::new(
            self.identity,
            self.strategy,
            correlation,
            Handles::NONE,
            None,
        )
    }

    #[cfg(feature = "ids")]
    pub(super) fn lineage(
        self,
        parent: Option<RequestId>,
        depth: u8,
    ) -> Result<UserContext, CorrelationError> {
        let correlation = match self.identity.work() {
            Some(work) => self.correlation.bound_to(work)?,
            None => self.correlation,
        };
        let descent = Box::new(Descent {
            parent,
            depth,
            outer: Vec::new(),
            work: None,
        });
        let (identity, strategy) = (self.identity, self.strategy);
        Ok(UserContext::new(
            identity,
            strategy,
            correlation,
            Handles::NONE,
            Some(descent),
        ))
    }
}
