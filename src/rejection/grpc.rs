//! The response over gRPC: a trailers-only status.
//!
//! A 401 with another content type would reach a gRPC client as UNKNOWN (grpc/grpc#36328).

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

use super::Rejection;

const GRPC: &[u8] = b"application/grpc";

/// The request's own content type, where it is gRPC: `application/grpc`, one of its `+` formats
/// or gRPC-Web.
pub(super) fn content_type(headers: &HeaderMap) -> Option<&HeaderValue> {
    let value = headers.get(header::CONTENT_TYPE)?;
    let start = value.as_bytes().get(..GRPC.len())?;
    let next = value.as_bytes().get(GRPC.len());
    (start.eq_ignore_ascii_case(GRPC) && matches!(next, None | Some(b'+' | b';' | b'-')))
        .then_some(value)
}

/// Code and message. The messages have no byte that would need escaping in `grpc-message`.
fn status(http: StatusCode) -> (&'static str, &'static str) {
    match http {
        StatusCode::BAD_REQUEST => ("3", "an id of the request is malformed or ambiguous"),
        StatusCode::UNAUTHORIZED => ("16", "no credential that is accepted here"),
        StatusCode::FORBIDDEN => ("7", "the request is not permitted"),
        StatusCode::SERVICE_UNAVAILABLE => ("14", "the request could not be checked now"),
        _ => ("13", "the request could not be prepared"),
    }
}

pub(super) fn respond(rejection: &Rejection, content_type: &HeaderValue) -> Response<Bytes> {
    let (code, message) = status(rejection.status());
    let mut response = Response::new(Bytes::new());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type.clone());
    headers.insert(
        HeaderName::from_static("grpc-status"),
        HeaderValue::from_static(code),
    );
    headers.insert(
        HeaderName::from_static("grpc-message"),
        HeaderValue::from_static(message),
    );
    for challenge in rejection.challenges() {
        headers.append(header::WWW_AUTHENTICATE, challenge.clone());
    }
    response
}
