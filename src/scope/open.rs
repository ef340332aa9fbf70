//! One open scope, from the acceptance of a request to the end of its response.

use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Instant,
};

use http::{HeaderMap, StatusCode, Uri};
use tracing::{Span, span::Entered};

use super::{
    ClosedScope, Ending,
    attached::Attached,
    close::Watch,
    current::{enter, within},
    handle::Handle,
};
use crate::{
    audit::{AuditEvent, HeldFactory},
    context::UserContext,
};

/// An open scope. It closes exactly once, when it is dropped.
pub(crate) struct OpenScope {
    /// Swapped with the thread-local's previous context while the scope is entered.
    context: Option<UserContext>,
    handle: Option<Arc<dyn Handle>>,
    /// Boxed, because the scope moves with the response and most scopes have no listeners.
    listeners: Option<Box<Listeners>>,
    ending: Ending,
    /// Whether a method of the body that takes `&self` panicked.
    panicked: AtomicBool,
    status: Option<StatusCode>,
    /// Whether the connection was upgraded: the scope then lasts as long as the last handle.
    upgraded: bool,
}

/// What a scope keeps for a subscriber, a hook or an observer.
struct Listeners {
    span: Span,
    watched: Option<Watched>,
    /// The connection's scope, if this is the scope of the body of an upgrade's response.
    connection: Option<Arc<dyn Handle>>,
    attached: Attached,
}

/// What a scope records for hooks and observers.
struct Watched {
    watch: Arc<Watch>,
    opened: Instant,
    uri: Uri,
    /// How many bytes of the body were handed to the server.
    bytes: u64,
}

impl OpenScope {
    pub(crate) fn new(
        context: UserContext,
        span: Option<Span>,
        handle: Option<Arc<dyn Handle>>,
        watch: Option<&Arc<Watch>>,
        uri: &Uri,
    ) -> Self {
        Self {
            context: Some(context),
            handle,
            listeners: if span.is_some() || watch.is_some() {
                Some(Listeners::new(span, watch, uri))
            } else {
                None
            },
            ending: Ending::Cancelled,
            panicked: AtomicBool::new(false),
            status: None,
            upgraded: false,
        }
    }

    /// Keeps something until the scope has closed.
    #[inline]
    pub(crate) fn attach(&mut self, attached: Attached) {
        if !attached.is_empty() {
            let listeners = self.listeners.get_or_insert_with(|| {
                Box::new(Listeners {
                    span: Span::none(),
                    watched: None,
                    connection: None,
                    attached: Attached::default(),
                })
            });
            listeners.attached = attached;
        }
    }

    /// Returns the fields that the response gets.
    pub(crate) fn take_fields(&mut self) -> Option<Box<HeaderMap>> {
        self.listeners.as_mut()?.attached.take_fields()
    }

    /// Returns the context, except while something of the scope is polled.
    pub(crate) fn context(&self) -> Option<&UserContext> {
        self.context.as_ref()
    }

    /// Makes the scope current and enters its span, until the returned guard is dropped.
    #[inline]
    pub(crate) fn enter(&mut self) -> ScopeEntry<'_> {
        self.enter_with_handle().0
    }

    #[inline]
    fn enter_with_handle(&mut self) -> (ScopeEntry<'_>, Option<&Arc<dyn Handle>>) {
        let entered = enter(&mut self.context);
        let entry = ScopeEntry {
            _span: self
                .listeners
                .as_ref()
                .map(|listeners| listeners.enter_span()),
            entered,
            ending: &mut self.ending,
        };
        (entry, self.handle.as_ref())
    }

    /// Runs work in the scope.
    #[inline]
    pub(crate) fn run<R>(&mut self, work: impl FnOnce() -> R) -> R {
        let _entry = self.enter();
        work()
    }

    /// Runs work in the scope with the factory's handle, if the layer builds one.
    #[inline]
    pub(crate) fn run_with_handle<R>(
        &mut self,
        work: impl FnOnce(Option<&Arc<dyn Handle>>) -> R,
    ) -> R {
        let (_entry, handle) = self.enter_with_handle();
        work(handle)
    }

    /// Runs work in the scope through a shared reference, which costs a reference count.
    pub(crate) fn run_shared<R>(&self, work: impl FnOnce() -> R) -> R {
        let mut slot = self.context.clone();
        let _entry = SharedEntry {
            _span: self
                .listeners
                .as_ref()
                .map(|listeners| listeners.enter_span()),
            entered: enter(&mut slot),
            panicked: &self.panicked,
        };
        work()
    }

    /// Records the status of the inner service's response.
    pub(crate) fn responds(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    /// Counts bytes of the body that are handed to the server.
    #[inline]
    pub(crate) fn sends(&mut self, len: u64) {
        let listeners = self.listeners.as_mut();
        if let Some(watched) = listeners.and_then(|listeners| listeners.watched.as_mut()) {
            watched.bytes = watched.bytes.saturating_add(len);
        }
    }

    pub(crate) fn ends(&mut self, ending: Ending) {
        self.ending = ending;
    }

    /// Records that the whole response was passed to the server. An earlier failure is kept.
    pub(crate) fn completes(&mut self) {
        if self.ending == Ending::Cancelled {
            self.ending = Ending::Completed;
        }
    }

    /// Records that the response ended before it was complete. A known reason is kept.
    pub(crate) fn fails(&mut self) {
        if let Ending::Cancelled | Ending::Completed = self.ending {
            self.ending = Ending::Failed;
        }
    }

    /// Makes the scope of an upgraded connection last until the last holder of the factory, or of the
    /// response's body, is gone; the body may be the tunnel. Returns the scope for the body.
    pub(crate) fn outlive_response(mut self) -> Self {
        self.completes();
        self.upgraded = true;
        let Some(handle) = self.handle.take() else {
            return self;
        };
        let span = self
            .listeners
            .as_ref()
            .map(|listeners| listeners.span.clone());
        let of_body = Self {
            context: self.context.clone(),
            handle: None,
            listeners: Some(Box::new(Listeners {
                span: span.unwrap_or_else(Span::none),
                watched: None,
                connection: Some(Arc::clone(&handle)),
                attached: Attached::default(),
            })),
            ending: Ending::Completed,
            panicked: AtomicBool::new(false),
            status: self.status,
            upgraded: true,
        };
        handle.keep_open(Box::new(self));
        of_body
    }

    #[inline]
    fn close(&mut self) {
        self.close_for_handles();
        let holders = self.holders();
        if self.listeners.is_some() {
            self.finish_span();
        }
        let listeners = self.listeners.as_ref();
        if holders != 0 || listeners.is_some_and(|listeners| listeners.watched.is_some()) {
            self.close_before_all(holders);
        } else if let Some(handle) = self.handle.take() {
            // The factory's own `Drop` runs in its user's scope.
            let _entry = self.enter();
            drop(handle);
        }
    }

    /// Records for handles that outlive the scope that it has closed.
    #[inline]
    fn close_for_handles(&self) {
        match &self.handle {
            Some(handle) if Arc::strong_count(handle) > 1 => handle.state().close(),
            _ => {}
        }
    }

    /// Returns the number of holders of the factory that have not called `Scoped::keep`.
    #[inline]
    fn holders(&self) -> usize {
        self.handle.as_ref().map_or(0, holders_besides_one)
    }

    #[cold]
    fn close_before_all(&mut self, holders: usize) {
        let Some(context) = self.context.take() else {
            return;
        };
        // Events and hooks run in the scope and its span, on whatever thread it is dropped.
        let (span, watched, attached) = match self.listeners.take() {
            Some(listeners) => (listeners.span, listeners.watched, listeners.attached),
            None => (Span::none(), None, Attached::default()),
        };
        let tell = || self.tell(&context, holders, watched);
        within(&context, || span.in_scope(tell));
        drop(attached);
    }

    /// Settles how the scope ended, and records it in the span.
    #[cold]
    fn finish_span(&mut self) {
        if *self.panicked.get_mut() {
            self.ending = Ending::Panicked;
        }
        // The task that panicked dropped the connection's last handle.
        if self.upgraded && thread::panicking() {
            self.ending = Ending::Panicked;
        }
        let Some(Listeners {
            span,
            connection: None,
            ..
        }) = self.listeners.as_deref()
        else {
            return;
        };
        span.record("user_scope.ending", self.ending.as_str());
        if let Some(status) = self.status {
            span.record("http.response.status_code", status.as_u16());
        }
        let failed = matches!(self.ending, Ending::Failed | Ending::Panicked)
            || self.status.is_some_and(|status| status.is_server_error());
        if failed {
            // The field by which `tracing-opentelemetry` sets the status of a span.
            span.record("otel.status_code", "ERROR");
        }
    }

    fn tell(&mut self, context: &UserContext, holders: usize, watched: Option<Watched>) {
        if let (Some(handle), 1..) = (&self.handle, holders) {
            let watched = watched.as_ref();
            let event = AuditEvent::FactoryRetained {
                context: Cow::Borrowed(context),
                factory: handle.factory(),
                holders,
                held: held_later(handle),
                opened_before: watched.map(|watched| watched.opened.elapsed()),
                // The head of work has no path.
                path: (watched.filter(|_| context.work().is_none()))
                    .map(|watched| Cow::Borrowed(watched.uri.path())),
            };
            Watch::emit_at_end(watched.map(|watched| &*watched.watch), &event);
        }
        if let Some(watched) = watched {
            watched.watch.closed(ClosedScope {
                context: context.clone(),
                ending: self.ending,
                status: self.status,
                lasted: watched.opened.elapsed(),
                bytes: watched.bytes,
                holders,
                handle: self.handle.take(),
            });
        }
    }
}

/// Returns the number of holders but for the handle that is passed and those that are kept.
#[inline]
fn holders_besides_one(handle: &Arc<dyn Handle>) -> usize {
    match Arc::strong_count(handle) - 1 + handle.bare_holders() {
        0 => 0,
        holders => holders.saturating_sub(handle.kept_handles()),
    }
}

#[cold]
fn held_later(handle: &Arc<dyn Handle>) -> HeldFactory {
    let handle = Arc::downgrade(handle);
    HeldFactory::new(move || handle.upgrade().as_ref().map_or(0, holders_besides_one))
}

impl Listeners {
    #[inline(never)]
    fn enter_span(&self) -> InSpan<'_> {
        InSpan {
            entered: Some(self.span.enter()),
        }
    }

    #[cold]
    fn new(span: Option<Span>, watch: Option<&Arc<Watch>>, uri: &Uri) -> Box<Self> {
        Box::new(Self {
            span: span.unwrap_or_else(Span::none),
            watched: watch.map(|watch| Watched {
                watch: Arc::clone(watch),
                opened: Instant::now(),
                uri: uri.clone(),
                bytes: 0,
            }),
            connection: None,
            attached: Attached::default(),
        })
    }
}

impl Drop for OpenScope {
    #[inline]
    fn drop(&mut self) {
        self.close();
    }
}

/// A scope that is entered. Records a panic, because the scope may be dropped after the panic was
/// caught.
pub(crate) struct ScopeEntry<'a> {
    _span: Option<InSpan<'a>>,
    entered: super::current::Entered<'a>,
    ending: &'a mut Ending,
}

/// A span that is entered. Its drop is out of line, because most scopes have no span.
struct InSpan<'a> {
    entered: Option<Entered<'a>>,
}

impl Drop for InSpan<'_> {
    #[inline(never)]
    fn drop(&mut self) {
        self.entered = None;
    }
}

impl Drop for ScopeEntry<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.entered.panics() {
            *self.ending = Ending::Panicked;
        }
    }
}

/// A scope that is entered through a shared reference; see [`ScopeEntry`].
struct SharedEntry<'a> {
    _span: Option<InSpan<'a>>,
    entered: super::current::Entered<'a>,
    panicked: &'a AtomicBool,
}

impl Drop for SharedEntry<'_> {
    fn drop(&mut self) {
        if self.entered.panics() {
            self.panicked.store(true, Ordering::Relaxed);
        }
    }
}
