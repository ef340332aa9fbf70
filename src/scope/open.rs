//! One open scope, from the acceptance of a request to the end of its response.

use std::{sync::Arc, thread, time::Instant};

use http::Uri;
use tracing::{Span, span::Entered};

use super::{
    Closed, Ending,
    close::Watch,
    current::{enter, within},
    handle::Handle,
};
use crate::{audit::AuditEvent, context::UserContext};

/// Closes when it is dropped, exactly once, whatever happened.
pub(crate) struct OpenScope {
    /// Rests here while nothing of the scope is polled.
    context: Option<UserContext>,
    handle: Option<Arc<dyn Handle>>,
    /// Apart, because the scope moves with the response and most have nothing of it.
    heard: Option<Box<Heard>>,
    ending: Ending,
    /// The connection changed its protocol, and the scope lasts as long as a handle.
    upgraded: bool,
}

/// What there is of a scope where somebody listens: a subscriber, a hook, an observer.
struct Heard {
    span: Span,
    watched: Option<Watched>,
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
        span: Option<Span>,
        handle: Option<Arc<dyn Handle>>,
        watch: Option<&Arc<Watch>>,
        uri: &Uri,
    ) -> Self {
        Self {
            context: Some(context),
            handle,
            heard: if span.is_some() || watch.is_some() {
                Some(Heard::new(span, watch, uri))
            } else {
                None
            },
            ending: Ending::Cancelled,
            upgraded: false,
        }
    }

    /// Makes the scope current and enters its span, until what this returns is dropped.
    #[inline]
    pub(crate) fn enter(&mut self) -> Working<'_> {
        let entered = enter(&mut self.context);
        Working {
            _span: self.heard.as_ref().map(|heard| heard.enter_span()),
            entered,
            ending: &mut self.ending,
        }
    }

    /// Does some of the scope's work.
    #[inline]
    pub(crate) fn run<R>(&mut self, work: impl FnOnce() -> R) -> R {
        let _working = self.enter();
        work()
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
            handle.keep_open(Box::new(self));
        }
    }

    #[inline]
    fn close(&mut self) {
        let holders = self.holders();
        let heard = self.heard.as_ref();
        if holders != 0 || heard.is_some_and(|heard| heard.watched.is_some()) {
            self.close_before_all(holders);
        } else if let Some(handle) = self.handle.take() {
            // What the factory does at its end is its user's work too.
            let _working = self.enter();
            drop(handle);
        }
    }

    /// How many hold the factory without having said that they mean to.
    #[inline]
    fn holders(&self) -> usize {
        let Some(handle) = &self.handle else {
            return 0;
        };
        // One is ours; every other one belongs to somebody who outlives the request.
        match Arc::strong_count(handle) - 1 + handle.bare_holders() {
            0 => 0,
            _ if handle.is_kept() => 0,
            holders => holders,
        }
    }

    #[cold]
    fn close_before_all(&mut self, holders: usize) {
        let Some(context) = self.context.take() else {
            return;
        };
        // What is told and run at the end is the scope's own too, whoever drops it where.
        let (span, watched) = match self.heard.take() {
            Some(heard) => (heard.span, heard.watched),
            None => (Span::none(), None),
        };
        let tell = || self.tell(&context, holders, watched);
        within(&context, || span.in_scope(tell));
    }

    fn tell(&mut self, context: &UserContext, holders: usize, watched: Option<Watched>) {
        // The last handle of a connection went with the task that panicked.
        if self.upgraded && thread::panicking() {
            self.ending = Ending::Panicked;
        }
        if let (Some(handle), 1..) = (&self.handle, holders) {
            let watched = watched.as_ref();
            let event = AuditEvent::FactoryRetained {
                context,
                factory: handle.factory(),
                holders,
                opened_before: watched.map(|watched| watched.opened.elapsed()),
                path: watched.map(|watched| watched.uri.path()),
            };
            Watch::emit_at_end(watched.map(|watched| &*watched.watch), &event);
        }
        if let Some(Watched { watch, opened, .. }) = watched {
            let lasted = opened.elapsed();
            let handle = self.handle.take();
            let context = context.clone();
            watch.closed(Closed::new(context, self.ending, lasted, handle));
        }
    }
}

impl Heard {
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
            }),
        })
    }
}

impl Drop for OpenScope {
    #[inline]
    fn drop(&mut self) {
        self.close();
    }
}

/// While some of a scope's work is done. Notes that it panicked, for whoever drops the scope
/// after the panic was caught.
pub(crate) struct Working<'a> {
    _span: Option<InSpan<'a>>,
    entered: super::current::Entered<'a>,
    ending: &'a mut Ending,
}

/// A span while it is entered. Out of line, because most scopes have none.
struct InSpan<'a> {
    entered: Option<Entered<'a>>,
}

impl Drop for InSpan<'_> {
    #[inline(never)]
    fn drop(&mut self) {
        self.entered = None;
    }
}

impl Drop for Working<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.entered.panics() {
            *self.ending = Ending::Panicked;
        }
    }
}
