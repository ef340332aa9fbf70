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

/// The body of [`UserScope`](crate::UserScope)'s responses.
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
        /// Whether the body's end was seen, by a server that asks before it polls.
        ended: AtomicBool,
        left: Left,
        scope: Option<OpenScope>,
    },
    Rejection(Bytes),
}

/// How many bytes of data are still to come. Over HTTP/1 a server that has sent as many as
/// `Content-Length` says asks for no more, and so never sees the body's own end.
enum Left {
    /// As the body's size hint says, once it is polled.
    AsHinted,
    Exactly(u64),
    Unknown,
}

impl Left {
    /// Whether the data that was just handed over was the last.
    fn is_none_after<D: Buf>(&mut self, frame: &Frame<D>) -> bool {
        match (self, frame.data_ref()) {
            (Self::Exactly(left), Some(data)) => {
                *left = left.saturating_sub(data.remaining() as u64);
                *left == 0
            }
            _ => false,
        }
    }
}

impl<B> ResponseBody<B> {
    /// `len` is what the response's `Content-Length` says, where it has one.
    pub(crate) fn inner(body: B, scope: Option<OpenScope>, len: Option<u64>) -> Self {
        Self {
            kind: Kind::Inner {
                body: Some(body),
                ended: AtomicBool::new(false),
                left: len.map_or(Left::AsHinted, Left::Exactly),
                scope,
            },
        }
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
            scope: Some(scope),
            ..
        } = self.project()
        {
            if *ended.get_mut() {
                scope.completes();
            }
            if mem::needs_drop::<B>() {
                scope.run(|| body.set(None));
            }
        }
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
                if let Left::AsHinted = left {
                    *left = body
                        .size_hint()
                        .exact()
                        .map_or(Left::Unknown, Left::Exactly);
                }
                let frame = ready!(scope.run(|| body.as_mut().poll_frame(cx)));
                match &frame {
                    None => scope.completes(),
                    Some(Err(_)) => scope.ends(Ending::Failed),
                    // A server need not poll again for an end that it was told of.
                    Some(Ok(frame)) => {
                        if left.is_none_after(frame) || body.is_end_stream() {
                            scope.completes();
                        }
                    }
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
            Kind::Inner { body, ended, .. } => {
                let end = body.as_ref().is_none_or(Body::is_end_stream);
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
            Kind::Inner { body, .. } => body.as_ref().map_or_else(SizeHint::new, Body::size_hint),
            Kind::Rejection(bytes) => SizeHint::with_exact(bytes.len() as u64),
        }
    }
}

impl<B: fmt::Debug> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_tuple("ResponseBody");
        match &self.kind {
            Kind::Inner { body, .. } => out.field(body),
            Kind::Rejection(bytes) => out.field(bytes),
        };
        out.finish()
    }
}
