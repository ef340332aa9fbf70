//! One open scope, from the acceptance of a request to the end of its response.

use std::{any::Any, mem, sync::Arc, thread, time::Instant};

use http::Uri;
use tracing::Span;

use super::{
    Closed, Ending,
    close::Watch,
    current::{enter, within},
};
use crate::{context::UserContext, observe::AuditEvent};

/// A request's factory without its type.
pub(crate) trait Handle: Any + Send + Sync {
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
    fn factory(&self) -> &'static str;
    /// How many hold the factory itself, without the handle, where handlers find it so.
    fn bare_holders(&self) -> usize;
    /// Whether somebody said that it is kept on purpose.
    fn is_kept(&self) -> bool;
    /// Keeps a scope open until the last handle is gone.
    fn keep_open(&self, scope: OpenScope);
}

/// Closes when it is dropped, exactly once, whatever happened.
pub(crate) struct OpenScope {
    /// Rests here while nothing of the scope is polled.
    context: Option<UserContext>,
    span: Span,
    handle: Option<Arc<dyn Handle>>,
    watched: Option<Watched>,
    ending: Ending,
    /// The connection changed its protocol, and the scope lasts as long as a handle.
    upgraded: bool,
}

/// What is noted of a scope where somebody wants to know.
struct Watched {
    watch: Arc<Watch>,
    opened: Instant,
    uri: Uri,
}

impl OpenScope {
    pub(crate) fn new(
        context: UserContext,
        span: Span,
        handle: Option<Arc<dyn Handle>>,
        watch: Option<Arc<Watch>>,
        uri: &Uri,
    ) -> Self {
        Self {
            context: Some(context),
            span,
            handle,
            watched: watch.map(|watch| Watched {
                watch,
                opened: Instant::now(),
                uri: uri.clone(),
            }),
            ending: Ending::Cancelled,
            upgraded: false,
        }
    }

    /// Does some of the scope's work with the scope current and its span entered.
    #[inline]
    pub(crate) fn run<R>(&mut self, work: impl FnOnce() -> R) -> R {
        let Self {
            context,
            span,
            ending,
            ..
        } = self;
        let entered = enter(context);
        let mark = MarkPanic { entered, ending };
        let result = span.in_scope(work);
        drop(mark);
        result
    }

    pub(crate) fn ends(&mut self, ending: Ending) {
        self.ending = ending;
    }

    /// The response was handed over whole; what failed before stays failed.
    pub(crate) fn completes(&mut self) {
        if self.ending == Ending::Cancelled {
            self.ending = Ending::Completed;
        }
    }

    /// The connection changes its protocol: the scope lasts as long as somebody holds the
    /// factory, or ends now where nobody does.
    pub(crate) fn outlive_response(mut self) {
        self.completes();
        self.upgraded = true;
        if let Some(handle) = self.handle.take() {
            handle.keep_open(self);
        }
    }

    fn close(&mut self) {
        let Some(context) = self.context.take() else {
            return;
        };
        let holders = self.holders();
        if self.watched.is_none() && holders == 0 {
            return;
        }
        // What is told and run at the end is the scope's own too, whoever drops it where.
        let span = mem::replace(&mut self.span, Span::none());
        within(&context, || span.in_scope(|| self.tell(&context, holders)));
    }

    /// How many hold the factory without having said that they mean to.
    fn holders(&self) -> usize {
        match &self.handle {
            // One is ours; every other one belongs to somebody who outlives the request.
            Some(handle) if !handle.is_kept() => {
                Arc::strong_count(handle) - 1 + handle.bare_holders()
            }
            _ => 0,
        }
    }

    fn tell(&mut self, context: &UserContext, holders: usize) {
        // The last handle of a connection went with the task that panicked.
        if self.upgraded && thread::panicking() {
            self.ending = Ending::Panicked;
        }
        let watched = self.watched.as_ref();
        if let (Some(handle), 1..) = (&self.handle, holders) {
            let event = AuditEvent::FactoryRetained {
                context,
                factory: handle.factory(),
                holders,
                opened_before: watched.map(|watched| watched.opened.elapsed()),
                path: watched.map(|watched| watched.uri.path()),
            };
            Watch::emit_at_end(watched.map(|watched| &*watched.watch), &event);
        }
        if let Some(Watched { watch, opened, .. }) = &self.watched {
            let lasted = opened.elapsed();
            let handle = self.handle.take();
            let context = context.clone();
            watch.closed(Closed::new(context, self.ending, lasted, handle));
        }
    }
}

impl Drop for OpenScope {
    fn drop(&mut self) {
        self.close();
    }
}

/// Notes that the work panicked, for whoever drops the scope after the panic was caught.
struct MarkPanic<'a> {
    entered: super::current::Entered<'a>,
    ending: &'a mut Ending,
}

impl Drop for MarkPanic<'_> {
    fn drop(&mut self) {
        if self.entered.panics() {
            *self.ending = Ending::Panicked;
        }
    }
}
