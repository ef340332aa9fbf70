//! The body of a scenario's requests.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

/// The body of a request of a [`ScenarioCheck`](super::ScenarioCheck), or of a response that its
/// [`Client`](super::Client) read: bytes in one piece, and trailers.
///
/// axum's `Router` and tonic's `Routes` take any body. A service that takes one type of body is put
/// behind `tower::util::MapRequest`: `.map_request(|request: Request<TestBody>|
/// request.map(axum::body::Body::new))`.
#[derive(Clone, Debug, Default)]
pub struct TestBody {
    data: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

impl TestBody {
    pub(super) fn with_trailers(data: Bytes, trailers: &HeaderMap) -> Self {
        Self {
            trailers: (!trailers.is_empty()).then(|| trailers.clone()),
            ..Self::from(data)
        }
    }
}

impl<T: Into<Bytes>> From<T> for TestBody {
    fn from(bytes: T) -> Self {
        let bytes = bytes.into();
        Self {
            data: (!bytes.is_empty()).then_some(bytes),
            trailers: None,
        }
    }
}

impl Body for TestBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = self.data.take().map(Frame::data);
        let frame = data.or_else(|| self.trailers.take().map(Frame::trailers));
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.data.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}
