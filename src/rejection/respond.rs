//! Turns a rejection into a response.

use bytes::Bytes;
use http::{Response, request::Parts};

use super::{
    Rejection,
    grpc::{self, Protocol},
    problem_json,
};

/// Turns a [`Rejection`] into the response that the client gets.
///
/// Implemented by closures. The layer inserts the rejection into the response's extensions itself.
///
/// ```
/// use bytes::Bytes;
/// use http::{Response, request::Parts};
/// use tower_user_scope::{Rejection, rejection::RespondToRejection};
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
    /// Returns the response to the request with this head.
    ///
    /// Only the rejection's status and challenges are meant for the client.
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

/// Answers in the form of the request's protocol, always with the refusal's own HTTP status.
///
/// | `content-type` of the request | body of the response |
/// | --- | --- |
/// | `application/grpc` | empty |
/// | `application/grpc-web` | a trailers frame |
/// | `application/grpc-web-text` | the same in base64 |
/// | any other, or none | `application/problem+json` (RFC 9457) |
///
/// Over gRPC and gRPC-Web, `grpc-status` and `grpc-message` are among the headers too. The status
/// is never a 200, so that no client can choose by a content type that a proxy, which lets
/// through what is answered with a 2xx, takes its refusal for a success. Real clients read these
/// codes:
///
/// | HTTP status | `grpc-status` | tonic, grpcio, grpc-js, grpc-web | connect-es |
/// | --- | --- | --- | --- |
/// | 401 | 16 | `UNAUTHENTICATED` | `UNAUTHENTICATED` |
/// | 403 | 7 | `PERMISSION_DENIED` | `PERMISSION_DENIED` |
/// | 429 | 8 | `RESOURCE_EXHAUSTED` | `UNAVAILABLE` |
/// | 503 | 14 | `UNAVAILABLE` | `UNAVAILABLE` |
/// | 400 | 3 | `INVALID_ARGUMENT` | `INTERNAL` |
/// | 500 | 13 | `INTERNAL` | `UNKNOWN` |
///
/// connect-es takes the HTTP status, as gRPC-Web clients do behind a translator such as
/// tonic-web's `GrpcWebLayer`.
#[derive(Clone, Copy, Debug, Default)]
pub struct DefaultResponder {
    _private: (),
}

impl RespondToRejection for DefaultResponder {
    fn respond(&self, rejection: &Rejection, head: &Parts) -> Response<Bytes> {
        match Protocol::of(&head.headers) {
            Some(protocol) => grpc::respond(rejection, protocol),
            None => problem_json::respond(rejection),
        }
    }
}
