//! The body of a scenario's requests.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// The body of a request of a [`ScenarioCheck`](super::ScenarioCheck): bytes in one piece.
///
/// axum's `Router` and tonic's `Routes` take any body. A service that takes one type of body is put
/// behind `tower::util::MapRequest`: `.map_request(|request: Request<TestBody>|
/// request.map(axum::body::Body::new))`.
#[derive(Clone, Debug, Default)]
pub struct TestBody(Option<Bytes>);

impl<T: Into<Bytes>> From<T> for TestBody {
    fn from(bytes: T) -> Self {
        let bytes = bytes.into();
        Self((!bytes.is_empty()).then_some(bytes))
    }
}

impl Body for TestBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}
