//! The response over HTTP: `application/problem+json` (RFC 9457).

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use super::Rejection;
#[cfg(feature = "limit")]
use super::RejectionKind;

/// Returns the body for a limit that is used up, of the problem type of
/// draft-ietf-httpapi-ratelimit-headers. The name of the limit is the only thing that is not constant,
/// and has no character that JSON would escape.
#[cfg(feature = "limit")]
fn quota_exceeded(rejection: &Rejection) -> Option<Bytes> {
    let RejectionKind::Limited(limited) = rejection.kind() else {
        return None;
    };
    let body = format!(
        r#"{{"type":"https://iana.org/assignments/http-problem-types#quota-exceeded","title":"Too Many Requests","status":429,"detail":"A limit on what one client may use is used up. Try again later.","violated-policies":["{}"]}}"#,
        limited.limit()
    );
    Some(body.into())
}

#[cfg(not(feature = "limit"))]
fn quota_exceeded(_: &Rejection) -> Option<Bytes> {
    None
}

/// Returns the body. Bodies are constants, so that no part of a request can be in one. With the type
/// `about:blank`, the title is the status's phrase (RFC 9457 section 4.2.1).
fn body(status: StatusCode) -> &'static str {
    match status {
        StatusCode::BAD_REQUEST => {
            r#"{"type":"about:blank","title":"Bad Request","status":400,"detail":"An identity or correlation id of the request is malformed or ambiguous."}"#
        }
        StatusCode::UNAUTHORIZED => {
            r#"{"type":"about:blank","title":"Unauthorized","status":401,"detail":"The request carries no credential that is accepted here."}"#
        }
        StatusCode::FORBIDDEN => {
            r#"{"type":"about:blank","title":"Forbidden","status":403,"detail":"The request is not permitted."}"#
        }
        StatusCode::SERVICE_UNAVAILABLE => {
            r#"{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"The request could not be checked now. Try again later."}"#
        }
        _ => {
            r#"{"type":"about:blank","title":"Internal Server Error","status":500,"detail":"The request could not be prepared."}"#
        }
    }
}

pub(super) fn respond(rejection: &Rejection) -> Response<Bytes> {
    let status = rejection.status();
    let mut response = Response::new(
        quota_exceeded(rejection).unwrap_or_else(|| Bytes::from_static(body(status).as_bytes())),
    );
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    );
    rejection.set_headers(headers);
    response
}
