//! The body of a response: the inner service's, or a rejection's.

use std::{
    fmt,
    pin::Pin,
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
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
        #[pin]
        body: B,
        /// Whether the body's end was seen, by a server that asks before it polls.
        ended: AtomicBool,
        /// Last, so that the body is gone when the scope closes.
        scope: Option<OpenScope>,
    },
    Rejection(Bytes),
}

impl<B> ResponseBody<B> {
    pub(crate) fn inner(body: B, scope: Option<OpenScope>) -> Self {
        Self {
            kind: Kind::Inner {
                body,
                ended: AtomicBool::new(false),
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
            ended,
            scope: Some(scope),
            ..
        } = self.project()
        {
            if *ended.get_mut() {
                scope.ends(Ending::Completed);
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
            KindProjection::Inner { body, scope, .. } => match scope {
                None => body.poll_frame(cx),
                Some(scope) => {
                    let mut body = body;
                    let frame = ready!(scope.run(|| body.as_mut().poll_frame(cx)));
                    match &frame {
                        None => scope.ends(Ending::Completed),
                        Some(Err(_)) => scope.ends(Ending::Failed),
                        // A server need not poll again for an end that it was told of.
                        Some(Ok(_)) if body.is_end_stream() => scope.ends(Ending::Completed),
                        Some(Ok(_)) => {}
                    }
                    Poll::Ready(frame)
                }
            },
            KindProjection::Rejection(bytes) if bytes.is_empty() => Poll::Ready(None),
            KindProjection::Rejection(bytes) => {
                let bytes = std::mem::take(bytes);
                Poll::Ready(Some(Ok(Frame::data(bytes.into()))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Inner { body, ended, .. } => {
                let end = body.is_end_stream();
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
            Kind::Inner { body, .. } => body.size_hint(),
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
