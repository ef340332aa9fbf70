//! Who turns a rejection into a response.

use bytes::Bytes;
use http::{Response, request::Parts};

use super::{Rejection, grpc, problem};

/// Turns a [`Rejection`] into the response that the client gets.
///
/// Closures of this form are one. The layer puts the rejection into the response's extensions
/// whoever made it.
///
/// ```
/// use bytes::Bytes;
/// use http::{Response, request::Parts};
/// use tower_user_scope::{Rejection, RespondToRejection};
///
/// fn plain(rejection: &Rejection, _: &Parts) -> Response<Bytes> {
///     let mut response = Response::new(Bytes::from_static(b"no"));
///     *response.status_mut() = rejection.status();
///     response
/// }
/// # fn check(_: impl RespondToRejection) {}
/// # check(plain);
/// ```
pub trait RespondToRejection {
    /// The response to the request of this head.
    ///
    /// Nothing from the rejection but its status and challenges is meant for the client.
    fn respond(&self, rejection: &Rejection, head: &Parts) -> Response<Bytes>;
}

impl<F> RespondToRejection for F
where
    F: Fn(&Rejection, &Parts) -> Response<Bytes>,
{
    fn respond(&self, rejection: &Rejection, head: &Parts) -> Response<Bytes> {
        self(rejection, head)
    }
}

/// `application/problem+json` (RFC 9457), or a trailers-only status for gRPC requests.
#[derive(Clone, Copy, Debug, Default)]
pub struct DefaultResponse {
    _private: (),
}

impl RespondToRejection for DefaultResponse {
    fn respond(&self, rejection: &Rejection, head: &Parts) -> Response<Bytes> {
        match grpc::content_type(head) {
            Some(content_type) => grpc::respond(rejection, content_type),
            None => problem::respond(rejection),
        }
    }
}
