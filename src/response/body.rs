//! The body of a response: the inner service's, or a rejection's.

use std::{
    fmt, mem,
    pin::Pin,
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use pin_project::{pin_project, pinned_drop};

use crate::scope::{Ending, OpenScope};

/// The body of [`UserScope`](crate::middleware::UserScope)'s responses.
///
/// It passes the inner service's body through frame by frame; nothing is asked of that body but
/// that its data can be made of [`Bytes`], for the few bytes of a rejection.
#[pin_project]
pub struct ResponseBody<B> {
    #[pin]
    kind: Kind<B>,
}

#[pin_project(project = KindProjection, PinnedDrop)]
enum Kind<B> {
    Inner {
        /// There until it is dropped, which happens in its scope.
        #[pin]
        body: Option<B>,
        /// Whether a server that asks before it polls was told of the body's end.
        ended: AtomicBool,
        left: Left,
        scope: Option<OpenScope>,
    },
    Rejection(Bytes),
}

/// How many bytes of data are still to come.
///
/// Over HTTP/1 a server that has sent as many as `Content-Length` says polls no more, so the
/// count is the only way to see the end. A body that stops before is not whole: its client gets
/// an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// As the body's size hint says at the first poll. Servers make a `Content-Length` of it.
    AsHinted,
    Exactly(u64),
    /// Not known, or of no importance as the response has no body (RFC 9110 section 6.4.1).
    Unknown,
}

impl Left {
    /// Subtracts the data of a frame, and tells whether that was all there may be.
    fn count<D: Buf>(&mut self, frame: &Frame<D>) -> Count {
        let len = frame.data_ref().map_or(0, |data| data.remaining() as u64);
        match self {
            Self::Exactly(left) if len > *left => Count::TooMuch,
            Self::Exactly(left) => {
                *left -= len;
                match (*left, len) {
                    (0, 1..) => Count::Last,
                    _ => Count::More,
                }
            }
            Self::AsHinted | Self::Unknown => Count::More,
        }
    }

    fn is_short(self) -> bool {
        matches!(self, Self::Exactly(1..))
    }
}

/// What a frame is for a body whose length is known.
enum Count {
    More,
    Last,
    TooMuch,
}

impl<B> ResponseBody<B> {
    pub(crate) fn inner(body: B, scope: Option<OpenScope>, left: Left) -> Self {
        Self {
            kind: Kind::Inner {
                body: Some(body),
                ended: AtomicBool::new(false),
                left,
                scope,
            },
        }
    }

    /// The body of a service whose scope is another layer's.
    pub(crate) fn unscoped(body: B) -> Self {
        Self::inner(body, None, Left::Unknown)
    }

    pub(crate) fn rejection(body: Bytes) -> Self {
        Self {
            kind: Kind::Rejection(body),
        }
    }
}

#[pinned_drop]
impl<B> PinnedDrop for Kind<B> {
    fn drop(self: Pin<&mut Self>) {
        if let KindProjection::Inner {
            mut body,
            ended,
            left,
            scope: Some(scope),
        } = self.project()
        {
            if *ended.get_mut() {
                ends(scope, *left);
            }
            if mem::needs_drop::<B>() {
                scope.run(|| body.set(None));
            }
        }
    }
}

/// The body is at its end.
fn ends(scope: &mut OpenScope, left: Left) {
    if left.is_short() {
        scope.fails();
    } else {
        scope.completes();
    }
}

/// An empty body.
impl<B> Default for ResponseBody<B> {
    fn default() -> Self {
        Self::rejection(Bytes::new())
    }
}

impl<B> Body for ResponseBody<B>
where
    B: Body,
    B::Data: From<Bytes>,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        match self.project().kind.project() {
            KindProjection::Inner {
                body, scope, left, ..
            } => {
                let Some(mut body) = body.as_pin_mut() else {
                    return Poll::Ready(None);
                };
                let Some(scope) = scope else {
                    return body.poll_frame(cx);
                };
                // A server need not poll again for an end that it was told of.
                let (frame, is_end) = ready!(scope.run(|| {
                    if *left == Left::AsHinted {
                        let len = body.size_hint().exact();
                        *left = len.map_or(Left::Unknown, Left::Exactly);
                    }
                    let frame = body.as_mut().poll_frame(cx);
                    frame.map(|frame| (frame, body.is_end_stream()))
                }));
                match &frame {
                    None => ends(scope, *left),
                    Some(Err(_)) => scope.ends(Ending::Failed),
                    Some(Ok(frame)) => match left.count(frame) {
                        Count::TooMuch => scope.ends(Ending::Failed),
                        Count::Last => scope.completes(),
                        // Nothing comes after trailers (RFC 9110 section 6.5), and hyper does
                        // not ask.
                        Count::More if is_end || frame.is_trailers() => ends(scope, *left),
                        Count::More => {}
                    },
                }
                Poll::Ready(frame)
            }
            KindProjection::Rejection(bytes) if bytes.is_empty() => Poll::Ready(None),
            KindProjection::Rejection(bytes) => {
                let bytes = mem::take(bytes);
                Poll::Ready(Some(Ok(Frame::data(bytes.into()))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Inner {
                body, ended, scope, ..
            } => {
                let end = body
                    .as_ref()
                    .is_none_or(|body| run_shared(scope.as_ref(), || body.is_end_stream()));
                if end {
                    ended.store(true, Ordering::Relaxed);
                }
                end
            }
            Kind::Rejection(bytes) => bytes.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Inner {
                body, ended, scope, ..
            } => {
                let Some(body) = body else {
                    return SizeHint::new();
                };
                let hint = run_shared(scope.as_ref(), || body.size_hint());
                // Hyper drops a body that has nothing to come without a poll.
                if hint.exact() == Some(0) {
                    ended.store(true, Ordering::Relaxed);
                }
                hint
            }
            Kind::Rejection(bytes) => SizeHint::with_exact(bytes.len() as u64),
        }
    }
}

/// Calls a method of a body that takes `&self`, in its scope.
fn run_shared<R>(scope: Option<&OpenScope>, work: impl FnOnce() -> R) -> R {
    match scope {
        Some(scope) => scope.run_shared(work),
        None => work(),
    }
}

impl<B: fmt::Debug> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_tuple("ResponseBody");
        match &self.kind {
            Kind::Inner { body, scope, .. } => {
                run_shared(scope.as_ref(), || out.field(body).finish())
            }
            Kind::Rejection(bytes) => out.field(bytes).finish(),
        }
    }
}
