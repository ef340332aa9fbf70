//! The builder's methods for time limits, isolation, and hooks at the end of a scope.

#[cfg(feature = "tokio")]
use std::{future::Future, time::Duration};

use super::LayerBuilder;
#[cfg(feature = "open-scopes")]
use crate::open_scopes::OpenScopes;
use crate::scope::{ClosedScope, Isolation};

/// # Time limits
#[cfg(feature = "tokio")]
#[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
impl<L, M, A> LayerBuilder<L, M, A> {
    /// Sets the time limit of each strategy, the `authorize` step, the factory and each step before
    /// the response: 10 seconds by default. Zero is an error of `build()`.
    ///
    /// The limit applies to each of them separately. When it has passed, the future is dropped and
    /// the request is refused: with 500 for a step before the response, and with 503 for the others.
    /// The [reason](crate::rejection::RejectionKind) and the audit event name the strategy or the step. [`Strategy::timeout`](crate::strategy::Strategy::timeout),
    /// [`authorize_time_limit`](Self::authorize_time_limit) and `factory_time_limit` set the
    /// limit of one of them. A closure or a future that *blocks* its thread can't be interrupted.
    ///
    /// The limit needs the feature `tokio`, which `session` and `jwt` turn on, and a Tokio runtime with
    /// timers. Without such a runtime there is no limit, and an error is logged once.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_user_scope::{Outcome, CredentialSource, UserScopeLayer, from_async_fn};
    ///
    /// let layer = UserScopeLayer::builder()
    ///     .strategy(from_async_fn(CredentialSource::header("x-api-key"), |_| async {
    ///         // Here the strategy asks a store, which may be down.
    ///         Outcome::Absent
    ///     }))
    ///     .time_limit(Duration::from_secs(2))
    ///     .context_only()
    ///     .build()?;
    /// # let _ = layer;
    /// # Ok::<(), tower_user_scope::ConfigError>(())
    /// ```
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.settings.limits.each = Some(limit);
        self
    }

    /// Removes the time limit, except for strategies and steps that have their own. A store that
    /// hangs then keeps its requests, with their memory and connections, for ever.
    pub fn without_time_limit(mut self) -> Self {
        self.settings.limits.each = None;
        self
    }

    /// Sets the time limit of the `authorize` step, instead of the [common one](Self::time_limit).
    pub fn authorize_time_limit(mut self, limit: Duration) -> Self {
        self.settings.limits.authorize = Some(limit);
        self
    }
}

/// # Scope
impl<L, M, A> LayerBuilder<L, M, A> {
    /// Sets what happens when one user's factory is used in another user's scope. By default, the use
    /// is refused. The stricter setting of two layers counts; see [`Isolation`].
    pub fn isolation(mut self, isolation: Isolation) -> Self {
        self.settings.checks.isolation = isolation;
        self
    }

    /// Refuses the use of a factory outside of every scope too, such as in a spawned task without a
    /// [scope](crate::scope::InstrumentScope). A layer within this one requires a scope too.
    ///
    /// Without this call such a use is not checked, and is reported once for each place in the
    /// program, as
    /// [`FactoryUsedOutsideScope`](crate::audit::AuditEvent::FactoryUsedOutsideScope): for the first
    /// 64 places of each layer that has an observer or a hook, and for the first 64 of all other
    /// layers together. Only a factory that a layer built for a request can be reported, so start-up
    /// code and tests with [`AsUser`](crate::testing::AsUser) never are.
    pub fn require_scope(mut self) -> Self {
        self.settings.checks.require_scope = true;
        self
    }

    /// Refuses the use of a factory after its own scope has closed, except through a handle that
    /// [`Scoped::keep`](crate::Scoped::keep) returned. A layer within this one refuses it too.
    ///
    /// Without this call such a use is allowed, and the first one for each scope is reported, as
    /// [`FactoryUsedAfterClose`](crate::audit::AuditEvent::FactoryUsedAfterClose).
    ///
    /// ```
    /// use tower_user_scope::{ExistingContext, UserScopeLayer};
    ///
    /// // The strictest setting: work is done in its user's scope, and as long as that is open.
    /// let layer = UserScopeLayer::builder()
    ///     .strategy(ExistingContext::new())
    ///     .require_scope()
    ///     .require_open_scope()
    ///     .context_only()
    ///     .build()?;
    /// # let _ = layer;
    /// # Ok::<(), tower_user_scope::ConfigError>(())
    /// ```
    pub fn require_open_scope(mut self) -> Self {
        self.settings.checks.require_open_scope = true;
        self
    }

    /// Ends scopes when their identity expires ([`Identity::expires_at`](crate::Identity::expires_at)),
    /// by the layer's [clock](Self::clock). By default a response that is being streamed goes on.
    ///
    /// A body that is still open is dropped, in its scope. The scope ends as
    /// [`Ending::CutOff`](crate::scope::Ending::CutOff), and the client can tell:
    ///
    /// | the response is | the client gets |
    /// | --- | --- |
    /// | `text/event-stream` | the event `scope-ended` with the data `expired`, then the end; browsers connect again, and get 401 |
    /// | gRPC, gRPC-Web | the status `UNAUTHENTICATED` (16) |
    /// | any other, or encoded, or cut off within an event | an error of the body ([`ScopeEndedError`](crate::scope::ScopeEndedError)): HTTP/1 connections close, HTTP/2 streams are reset |
    ///
    /// The first frame of a body is always sent, so an answer of one frame arrives whole. What is not
    /// a body can wait for [`UserContext::ended`](crate::UserContext::ended): an upgraded connection, a handler that is still at
    /// work, a job.
    ///
    /// ```
    /// use tower_user_scope::{ExistingContext, UserScopeLayer};
    ///
    /// let layer = UserScopeLayer::builder()
    ///     .strategy(ExistingContext::new())
    ///     .end_scopes_at_expiry()
    ///     .context_only()
    ///     .build()?;
    /// # let _ = layer;
    /// # Ok::<(), tower_user_scope::ConfigError>(())
    /// ```
    #[cfg(feature = "tokio")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
    pub fn end_scopes_at_expiry(mut self) -> Self {
        self.settings.ends.at_expiry = true;
        self
    }

    /// Enters each scope into a registry, which counts them and ends those that are revoked; see
    /// [`open_scopes`](crate::open_scopes). Several layers may share one; a request that goes through
    /// two of them counts twice.
    #[cfg(feature = "open-scopes")]
    #[cfg_attr(docsrs, doc(cfg(feature = "open-scopes")))]
    pub fn open_scopes(mut self, registry: &OpenScopes) -> Self {
        self.settings.ends.open_scopes = Some(registry.clone());
        self
    }

    /// Runs a hook exactly once when the scope of a request closes: after the response's body was
    /// sent, was dropped or failed, or, for an upgraded connection, when the last handle is dropped.
    ///
    /// The hook runs on the thread that closes the scope, so it must not block. A panic of a hook is
    /// logged and does not affect other hooks.
    ///
    /// The client has its answer by then: what has to fail *with* the request, such as a commit, belongs
    /// into [`before_response`](Self::before_response).
    ///
    /// ```
    /// use tower_user_scope::{ExistingContext, UserScopeLayer};
    ///
    /// let layer = UserScopeLayer::builder()
    ///     .strategy(ExistingContext::new())
    ///     .context_only()
    ///     .on_close(|closed| {
    ///         println!("{:?} after {:?}: {} bytes", closed.ending(), closed.lasted(), closed.bytes());
    ///     })
    ///     .build()?;
    /// # let _ = layer;
    /// # Ok::<(), tower_user_scope::ConfigError>(())
    /// ```
    pub fn on_close(mut self, hook: impl Fn(&ClosedScope) + Send + Sync + 'static) -> Self {
        self.settings.hooks.add(hook);
        self
    }

    /// Runs a hook as [`on_close`](Self::on_close) does, and spawns its future onto the Tokio runtime
    /// that closes the scope. The future runs in a scope of the same user.
    ///
    /// A runtime that shuts down drops futures that are not finished.
    #[cfg(feature = "tokio")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
    pub fn on_close_async<F, Fut>(mut self, hook: F) -> Self
    where
        F: Fn(ClosedScope) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.settings.hooks.add_async(hook);
        self
    }
}
