//! The response over gRPC and gRPC-Web: the refusal's HTTP status, with a gRPC status.
//!
//! gRPC clients take `grpc-status` before the HTTP status, as long as the response has no body:
//! with `application/problem+json` in it, grpcio reports UNKNOWN. gRPC-Web clients take the HTTP
//! status or the trailers in the body, and refuse other content types.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header::CONTENT_TYPE};
#[cfg(feature = "tokio")]
use http_body::Frame;

use super::Rejection;
#[cfg(feature = "tokio")]
use crate::lifetime::EndReason;

/// The protocol of a request, by its content type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Grpc,
    Web,
    WebText,
}

impl Protocol {
    /// The protocol of a request. `None` is plain HTTP.
    ///
    /// The content type alone decides, because nothing depends on it but the form of the
    /// response: the HTTP status is the refusal's own in each. Behind a translator, such as
    /// tonic-web's, gRPC arrives over HTTP/1.1.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get(CONTENT_TYPE)?.as_bytes();
        // The subtype's suffix and parameters are ignored.
        let end = value.iter().position(|byte| matches!(byte, b'+' | b';'));
        let media_type = value.get(..end.unwrap_or(value.len()))?.trim_ascii();
        [Self::Grpc, Self::Web, Self::WebText]
            .into_iter()
            .find(|it| {
                it.content_type()
                    .as_bytes()
                    .eq_ignore_ascii_case(media_type)
            })
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Grpc => "application/grpc",
            Self::Web => "application/grpc-web",
            Self::WebText => "application/grpc-web-text",
        }
    }

    fn body(self, status: &Status) -> Bytes {
        match self {
            // The response's headers are the trailers.
            Self::Grpc => Bytes::new(),
            Self::Web => status.trailers_frame().into(),
            Self::WebText => Bytes::from_static(status.text.as_bytes()),
        }
    }
}

/// A gRPC status. The message has no byte that would need escaping in `grpc-message`.
struct Status {
    code: &'static str,
    message: &'static str,
    /// The trailers frame in base64.
    text: &'static str,
}

impl Status {
    fn of(http: StatusCode) -> Self {
        match http {
            StatusCode::BAD_REQUEST => Self {
                code: "3",
                message: "an id of the request is malformed or ambiguous",
                text: "gAAAAExncnBjLXN0YXR1czozDQpncnBjLW1lc3NhZ2U6YW4gaWQgb2YgdGhlIHJlcXVlc3QgaXMgbWFsZm9ybWVkIG9yIGFtYmlndW91cw0K",
            },
            StatusCode::UNAUTHORIZED => Self {
                code: "16",
                message: "no credential that is accepted here",
                text: "gAAAAEJncnBjLXN0YXR1czoxNg0KZ3JwYy1tZXNzYWdlOm5vIGNyZWRlbnRpYWwgdGhhdCBpcyBhY2NlcHRlZCBoZXJlDQo=",
            },
            StatusCode::FORBIDDEN => Self {
                code: "7",
                message: "the request is not permitted",
                text: "gAAAADpncnBjLXN0YXR1czo3DQpncnBjLW1lc3NhZ2U6dGhlIHJlcXVlc3QgaXMgbm90IHBlcm1pdHRlZA0K",
            },
            StatusCode::TOO_MANY_REQUESTS => Self {
                code: "8",
                message: "a limit is used up",
                text: "gAAAADBncnBjLXN0YXR1czo4DQpncnBjLW1lc3NhZ2U6YSBsaW1pdCBpcyB1c2VkIHVwDQo=",
            },
            StatusCode::SERVICE_UNAVAILABLE => Self {
                code: "14",
                message: "the request could not be checked now",
                text: "gAAAAENncnBjLXN0YXR1czoxNA0KZ3JwYy1tZXNzYWdlOnRoZSByZXF1ZXN0IGNvdWxkIG5vdCBiZSBjaGVja2VkIG5vdw0K",
            },
            _ => Self {
                code: "13",
                message: "the request could not be prepared",
                text: "gAAAAEBncnBjLXN0YXR1czoxMw0KZ3JwYy1tZXNzYWdlOnRoZSByZXF1ZXN0IGNvdWxkIG5vdCBiZSBwcmVwYXJlZA0K",
            },
        }
    }

    fn trailers_frame(&self) -> Vec<u8> {
        trailers_frame(self.code, self.message)
    }
}

/// The trailers as the last frame of a gRPC-Web body: a flag, four bytes of length, and lines as in
/// HTTP/1.1 (gRPC's PROTOCOL-WEB.md).
fn trailers_frame(code: &str, message: &str) -> Vec<u8> {
    let trailers = format!("grpc-status:{code}\r\ngrpc-message:{message}\r\n");
    let len = u32::try_from(trailers.len()).unwrap_or(0);
    let mut frame = vec![0x80];
    frame.extend(len.to_be_bytes());
    frame.extend(trailers.into_bytes());
    frame
}

/// Returns the last frame of a response that is cut off, because its identity has ended: the status
/// `UNAUTHENTICATED` in trailers.
#[cfg(feature = "tokio")]
pub(crate) fn cut_off<D: From<Bytes>>(protocol: Protocol, reason: EndReason) -> Option<Frame<D>> {
    let (code, message) = ("16", format!("the identity has ended: {reason}"));
    Some(match protocol {
        Protocol::Grpc => {
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static(code));
            if let Ok(message) = HeaderValue::try_from(message) {
                trailers.insert("grpc-message", message);
            }
            Frame::trailers(trailers)
        }
        Protocol::Web => Frame::data(Bytes::from(trailers_frame(code, &message)).into()),
        // In base64 the body may be cut off within a group of four characters.
        Protocol::WebText => return None,
    })
}

pub(super) fn respond(rejection: &Rejection, protocol: Protocol) -> Response<Bytes> {
    let status = Status::of(rejection.status());
    let mut response = Response::new(protocol.body(&status));
    *response.status_mut() = rejection.status();
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_TYPE, protocol.content_type()),
        (HeaderName::from_static("grpc-status"), status.code),
        (HeaderName::from_static("grpc-message"), status.message),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    rejection.set_headers(headers);
    response
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    use http::StatusCode;

    use super::Status;

    #[test]
    fn the_text_of_each_status_is_its_trailers_frame_in_base64() {
        for http in [400, 401, 403, 429, 500, 503] {
            let status = Status::of(StatusCode::from_u16(http).expect("a status"));
            let frame = status.trailers_frame();
            assert_eq!(status.text, BASE64_STANDARD.encode(&frame), "{http}");
            assert_eq!(usize::from(frame[4]), frame.len() - 5, "{http}");
        }
    }
}
