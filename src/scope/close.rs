//! The end of a scope, and the hooks that run then.

use std::{
    borrow::Cow,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};
#[cfg(feature = "tokio")]
use std::{future::Future, pin::Pin};

use http::StatusCode;

#[cfg(feature = "tokio")]
use super::instrument::InstrumentScope;
use super::{handle::Handle, places::Places};
use crate::{
    audit::{Audit, AuditEvent},
    context::UserContext,
    ending::Ending,
};

/// A scope that has ended, as hooks of
/// [`LayerBuilder::on_close`](crate::middleware::LayerBuilder::on_close) see it.
#[derive(Clone)]
pub struct ClosedScope {
    pub(super) context: UserContext,
    pub(super) ending: Ending,
    pub(super) status: Option<StatusCode>,
    pub(super) lasted: Duration,
    pub(super) bytes: u64,
    pub(super) holders: usize,
    pub(super) handle: Option<Arc<dyn Handle>>,
}

impl ClosedScope {
    /// Returns the context of the scope.
    #[must_use]
    pub fn context(&self) -> &UserContext {
        &self.context
    }

    /// Returns how the scope ended.
    #[must_use]
    pub fn ending(&self) -> Ending {
        self.ending
    }

    /// Returns the status of the response, or `None` if the inner service made none because it
    /// failed, panicked, or was dropped, or if the scope is of work that is not a request.
    ///
    /// A response that was sent completely may still report a failure. gRPC reports failures in
    /// `grpc-status`, and the status here is 200.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        self.status
    }

    /// Returns how long the scope was open.
    #[must_use]
    pub fn lasted(&self) -> Duration {
        self.lasted
    }

    /// Returns how many bytes of the response's body were handed to the server, without trailers.
    ///
    /// The client may have received fewer.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns how many references to the factory are left: handles that
    /// [`Scoped::keep`](crate::Scoped::keep) did not return, and bare `Arc`s.
    #[must_use]
    pub fn holders(&self) -> usize {
        self.holders
    }

    pub(crate) fn handle(&self) -> Option<&Arc<dyn Handle>> {
        self.handle.as_ref()
    }
}

impl fmt::Debug for ClosedScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClosedScope")
            .field("context", &self.context)
            .field("ending", &self.ending)
            .field("status", &self.status)
            .field("lasted", &self.lasted)
            .field("bytes", &self.bytes)
            .field("holders", &self.holders)
            .finish_non_exhaustive()
    }
}

#[cfg(feature = "tokio")]
type HookFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// An application's function that runs when a scope closes.
enum Hook {
    Sync(Box<dyn Fn(&ClosedScope) + Send + Sync>),
    #[cfg(feature = "tokio")]
    Async(Box<dyn Fn(ClosedScope) -> HookFuture + Send + Sync>),
}

#[derive(Default)]
pub(crate) struct Hooks(Vec<Hook>);

impl Hooks {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn add(&mut self, hook: impl Fn(&ClosedScope) + Send + Sync + 'static) {
        self.0.push(Hook::Sync(Box::new(hook)));
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn add_async<F, Fut>(&mut self, hook: F)
    where
        F: Fn(ClosedScope) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let hook = move |closed| Box::pin(hook(closed)) as HookFuture;
        self.0.push(Hook::Async(Box::new(hook)));
    }

    fn run(&self, closed: &ClosedScope) {
        for hook in &self.0 {
            // This may run in a drop while the thread panics: a second panic would abort the
            // process.
            if catch_unwind(AssertUnwindSafe(|| hook.run(closed))).is_err() {
                tracing::error!(target: "tower_user_scope::audit", "an on_close hook panicked");
            }
        }
    }
}

impl Hook {
    fn run(&self, closed: &ClosedScope) {
        match self {
            Self::Sync(hook) => hook(closed),
            #[cfg(feature = "tokio")]
            Self::Async(hook) => {
                if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                    let work = hook(closed.clone()).in_scope(closed.context.clone());
                    drop(runtime.spawn(work));
                } else {
                    tracing::error!(
                        target: "tower_user_scope::audit",
                        "an on_close_async hook was not run: the scope closed outside a runtime"
                    );
                }
            }
        }
    }
}

/// The hooks and observers of a layer, shared by its scopes.
#[derive(Default)]
pub(crate) struct Watch {
    pub(crate) hooks: Hooks,
    pub(crate) audit: Audit,
    /// Where factories were used outside every scope.
    pub(super) places: Places,
}

impl Watch {
    pub(crate) fn new(hooks: Hooks, audit: Audit) -> Self {
        Self {
            hooks,
            audit,
            places: Places::default(),
        }
    }

    pub(super) fn emit(watch: Option<&Self>, event: &AuditEvent<'_>) {
        match watch {
            Some(watch) => watch.audit.emit(event),
            None => Audit::default().emit(event),
        }
    }

    /// Emits an event as [`emit`](Self::emit) does, and catches the panic of an observer. For use in
    /// a drop.
    pub(super) fn emit_at_end(watch: Option<&Self>, event: &AuditEvent<'_>) {
        if catch_unwind(AssertUnwindSafe(|| Self::emit(watch, event))).is_err() {
            tracing::error!(target: "tower_user_scope::audit", "an observer panicked");
        }
    }

    /// Runs the hooks, and drops the last handle while its scope is still current.
    pub(super) fn closed(&self, closed: ClosedScope) {
        Self::emit_at_end(
            Some(self),
            &AuditEvent::ScopeClosed {
                context: Cow::Borrowed(&closed.context),
                ending: closed.ending,
                lasted: closed.lasted,
                status: closed.status,
                bytes: closed.bytes,
                holders: closed.holders,
            },
        );
        self.hooks.run(&closed);
        drop(closed);
    }
}
