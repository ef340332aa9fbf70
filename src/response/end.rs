//! When a response ends, and its scope with it.

use http::{Method, Response, StatusCode, header};

use super::{ResponseBody, body::Left};
use crate::scope::{Ending, OpenScope};

/// What a request's method says of the response's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expects {
    Body,
    /// A HEAD's response has none.
    NoBody,
    /// A CONNECT that succeeds is followed by a tunnel (RFC 9110 section 9.3.6), such as a
    /// WebSocket over HTTP/2 (RFC 8441).
    Tunnel,
}

impl Expects {
    pub(crate) fn of(method: &Method) -> Self {
        match *method {
            Method::HEAD => Self::NoBody,
            Method::CONNECT => Self::Tunnel,
            _ => Self::Body,
        }
    }
}

/// The scope goes on as long as the response's body does, or closes now.
pub(crate) fn close_with_body<B, E>(
    result: Result<Response<B>, E>,
    scope: &mut Option<OpenScope>,
    expects: Expects,
) -> Result<Response<ResponseBody<B>>, E> {
    let response = match result {
        Ok(response) => response,
        Err(error) => {
            if let Some(mut scope) = scope.take() {
                scope.ends(Ending::Failed);
            }
            return Err(error);
        }
    };
    let status = response.status();
    if let Some(scope) = scope.as_mut() {
        scope.responds(status);
    }
    let is_tunnel = expects == Expects::Tunnel && status.is_success();
    if is_tunnel || status == StatusCode::SWITCHING_PROTOCOLS {
        let scope = scope.take().map(OpenScope::outlive_response);
        return Ok(response.map(|body| ResponseBody::inner(body, scope, Left::Unknown)));
    }
    // No server reads a body that the response can't have (RFC 9110 section 6.4.1), and its
    // `Content-Length` is that of another response (section 8.6).
    let has_no_body = expects == Expects::NoBody
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED;
    let left = match content_length(&response) {
        _ if has_no_body => Left::Unknown,
        Some(len) => Left::Exactly(len),
        None => Left::AsHinted,
    };
    if let (true, Some(scope)) = (has_no_body || left == Left::Exactly(0), scope.as_mut()) {
        scope.completes();
    }
    Ok(response.map(|body| ResponseBody::inner(body, scope.take(), left)))
}

/// What a server will stop at, whatever the body has after it. Nothing where there are several.
fn content_length<B>(response: &Response<B>) -> Option<u64> {
    let mut values = response.headers().get_all(header::CONTENT_LENGTH).iter();
    let value = values.next()?.to_str().ok()?;
    // `parse` would take a sign as well.
    (values.next().is_none() && value.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| value.parse().ok())
        .flatten()
}
