//! A request body that discards its trailers.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

/// A body that discards its trailers (RFC 9110 section 6.5.1).
///
/// Trailers arrive after the layer has decided who sent the request, so it can't remove an
/// identity header from them. A request that *announces* such a trailer is refused; HTTP does not
/// ask for the announcement. Where an inner service copies trailers into headers, or passes
/// requests on to one that does, wrap the request's body:
///
/// ```
/// use axum::{Router, body::Body, routing::post};
/// use http::Request;
/// use tower::util::MapRequestLayer;
/// use tower_user_scope::{TrustedHeader, UserScopeLayer, middleware::WithoutTrailers};
///
/// let layer = UserScopeLayer::builder()
///     .strategy(TrustedHeader::new("x-user-id").from_proxies(["10.0.0.0/8"])?)
///     .context_only()
///     .build()?;
/// let without_trailers = MapRequestLayer::new(|request: Request<Body>| {
///     request.map(|body| Body::new(WithoutTrailers::new(body)))
/// });
/// let app: Router = Router::new()
///     .route("/", post(async |body: String| body))
///     .layer(without_trailers)
///     .layer(layer);
/// # let _ = app;
/// # Ok::<(), tower_user_scope::ConfigError>(())
/// ```
#[pin_project]
#[derive(Clone, Debug)]
pub struct WithoutTrailers<B> {
    #[pin]
    body: B,
    ended: bool,
}

impl<B> WithoutTrailers<B> {
    /// Wraps a body.
    #[must_use]
    pub fn new(body: B) -> Self {
        Self { body, ended: false }
    }
}

impl<B: Body> Body for WithoutTrailers<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.project();
        if *this.ended {
            return Poll::Ready(None);
        }
        let frame = ready!(this.body.poll_frame(cx));
        // Trailers are the last frame of a body.
        *this.ended = match &frame {
            Some(Ok(frame)) => frame.is_trailers(),
            _ => true,
        };
        Poll::Ready(frame.filter(|frame| !matches!(frame, Ok(frame) if frame.is_trailers())))
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.ended {
            return SizeHint::with_exact(0);
        }
        self.body.size_hint()
    }
}
