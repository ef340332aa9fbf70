//! The response over gRPC: a trailers-only status.
//!
//! A 401 with another content type would reach a gRPC client as UNKNOWN (grpc/grpc#36328).

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Method, Response, StatusCode, Version, header, request::Parts,
};

use super::Rejection;

const GRPC: &[u8] = b"application/grpc";

/// The content type of the answer, where the request is one of gRPC or gRPC-Web.
///
/// gRPC is POST over HTTP/2, and gRPC-Web POST over any version. A content type alone makes no
/// request one: who asks for an answer with status 200 must not get it in place of a 401.
pub(super) fn content_type(head: &Parts) -> Option<HeaderValue> {
    let value = head.headers.get(header::CONTENT_TYPE)?.as_bytes();
    let (start, rest) = value.split_at_checked(GRPC.len())?;
    if head.method != Method::POST || !start.eq_ignore_ascii_case(GRPC) {
        return None;
    }
    // What the client sent is not repeated: it may say anything in its parameters.
    let rest = rest
        .split(|byte| *byte == b';')
        .next()?
        .to_ascii_lowercase();
    if rest.starts_with(b"-web-text") {
        return Some(HeaderValue::from_static("application/grpc-web-text"));
    }
    match rest.first() {
        Some(b'-') if rest.starts_with(b"-web") => {
            Some(HeaderValue::from_static("application/grpc-web"))
        }
        None | Some(b'+' | b' ') if head.version >= Version::HTTP_2 => {
            Some(HeaderValue::from_static("application/grpc"))
        }
        _ => None,
    }
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

pub(super) fn respond(rejection: &Rejection, content_type: HeaderValue) -> Response<Bytes> {
    let (code, message) = status(rejection.status());
    let mut response = Response::new(Bytes::new());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
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
