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

use super::BodyError;
#[cfg(feature = "tokio")]
use super::cut::Cut;
#[cfg(feature = "tokio")]
use crate::lifetime::EndReason;
use crate::{
    factory::BoxError,
    scope::{Ending, OpenScope},
};

/// The body of [`UserScope`](crate::middleware::UserScope)'s responses.
///
/// It passes on the frames of the inner service's body one by one. The bounds on that body are
/// `Data: From<`[`Bytes`]`>`, for the few bytes of a rejection, and an error that can be boxed in a
/// [`BodyError`], beside that of a body that is cut off.
#[pin_project]
pub struct ResponseBody<B> {
    #[pin]
    kind: Kind<B>,
}

#[pin_project(project = KindProjection, PinnedDrop)]
enum Kind<B> {
    Inner {
        /// `None` after it was dropped, which happens in its scope.
        #[pin]
        body: Option<B>,
        /// Whether `is_end_stream` or `size_hint` has shown the server the body's end.
        ended: AtomicBool,
        left: Left,
        scope: Option<OpenScope>,
        /// Ends the body when its identity ends, where the layer does that.
        #[cfg(feature = "tokio")]
        cut: Option<Box<Cut>>,
    },
    Rejection(Bytes),
}

/// How many bytes of data are still to come.
///
/// An HTTP/1 server stops polling after it has sent `Content-Length` bytes, so only the count shows
/// the end. A body that ends earlier is incomplete, and the client gets an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// The body's size hint at the first poll, from which servers make a `Content-Length`.
    AsHinted,
    Exactly(u64),
    /// Unknown, or irrelevant because the response has no body (RFC 9110 section 6.4.1).
    Unknown,
}

impl Left {
    /// Subtracts the data of a frame and returns whether more data may follow.
    fn count(&mut self, len: u64) -> Count {
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

/// The position of a frame in a body whose length is known.
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
                #[cfg(feature = "tokio")]
                cut: None,
            },
        }
    }

    /// Ends the body when its identity ends.
    #[cfg(feature = "tokio")]
    pub(crate) fn cut_off_by(mut self, by: Option<Cut>) -> Self {
        if let Kind::Inner { cut, .. } = &mut self.kind {
            *cut = by.map(Box::new);
        }
        self
    }

    /// Creates the body of a service whose scope belongs to another layer.
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
            ..
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

/// Counts the data of a frame that is handed to the server.
fn count<D: Buf>(left: &mut Left, scope: &mut OpenScope, frame: &Frame<D>) -> Count {
    let len = frame.data_ref().map_or(0, |data| data.remaining() as u64);
    scope.sends(len);
    left.count(len)
}

/// Sets how the scope ends, at the end of the body.
fn ends(scope: &mut OpenScope, left: Left) {
    if left.is_short() {
        scope.fails();
    } else {
        scope.completes();
    }
}

/// Drops the body in its scope, and returns the frame or the error that it ends with.
#[cfg(feature = "tokio")]
fn cut_off<B>(
    mut body: Pin<&mut Option<B>>,
    scope: &mut OpenScope,
    cut: &mut Option<Box<Cut>>,
    reason: EndReason,
) -> Result<Frame<B::Data>, BodyError>
where
    B: Body,
    B::Data: From<Bytes>,
{
    scope.run(|| body.set(None));
    scope.ends(Ending::CutOff(reason));
    let last = cut.take().map(|cut| cut.last_frame(reason));
    match last {
        Some(Ok(frame)) => Ok(frame),
        Some(Err(error)) => Err(BodyError::new(error)),
        None => unreachable!("only a cut ends a body before its end"),
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
    B::Error: Into<BoxError>,
{
    type Data = B::Data;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        match self.project().kind.project() {
            KindProjection::Inner {
                body: mut slot,
                scope,
                left,
                #[cfg(feature = "tokio")]
                cut,
                ..
            } => {
                let Some(mut body) = slot.as_mut().as_pin_mut() else {
                    return Poll::Ready(None);
                };
                let Some(scope) = scope else {
                    return body.poll_frame(cx).map_err(BodyError::new);
                };
                #[cfg(feature = "tokio")]
                if let Some(reason) = cut.as_ref().and_then(|cut| cut.before_frame()) {
                    return Poll::Ready(Some(cut_off(slot, scope, cut, reason)));
                }
                // A server that has seen `is_end_stream` need not poll again.
                let polled = scope.run(|| {
                    if *left == Left::AsHinted {
                        let len = body.size_hint().exact();
                        *left = len.map_or(Left::Unknown, Left::Exactly);
                    }
                    let frame = body.as_mut().poll_frame(cx);
                    frame.map(|frame| (frame, body.is_end_stream()))
                });
                #[cfg(feature = "tokio")]
                if let (Poll::Pending, Some(waiting)) = (&polled, cut.as_mut()) {
                    let reason = ready!(waiting.poll_ended(cx));
                    return Poll::Ready(Some(cut_off(slot, scope, cut, reason)));
                }
                let (frame, is_end) = ready!(polled);
                match &frame {
                    None => ends(scope, *left),
                    Some(Err(_)) => scope.ends(Ending::Failed),
                    Some(Ok(frame)) => match count(left, scope, frame) {
                        Count::TooMuch => scope.ends(Ending::Failed),
                        Count::Last => scope.completes(),
                        // Trailers end a body (RFC 9110 section 6.5): hyper does not poll again.
                        Count::More if is_end || frame.is_trailers() => ends(scope, *left),
                        Count::More => {}
                    },
                }
                #[cfg(feature = "tokio")]
                if let (Some(cut), Some(Ok(frame))) = (cut, &frame) {
                    cut.sends(frame);
                }
                Poll::Ready(frame.map(|frame| frame.map_err(BodyError::new)))
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
                // Hyper drops an empty body without a poll.
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
