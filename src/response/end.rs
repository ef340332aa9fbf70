//! Moves the scope into the response's body, or closes it if the response has none.

use http::{Method, Response, StatusCode, header};

#[cfg(feature = "tokio")]
use super::cut::Cut;
use super::{ResponseBody, body::Left};
use crate::scope::OpenScope;

/// The response's body that a request's method allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expects {
    Body,
    /// The response to HEAD has no body.
    NoBody,
    /// A successful CONNECT opens a tunnel (RFC 9110 section 9.3.6), such as a WebSocket over HTTP/2
    /// (RFC 8441).
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

/// Moves the scope into the response's body, which closes it at its end.
pub(crate) fn close_with_body<B>(
    response: Response<B>,
    mut scope: Option<OpenScope>,
    expects: Expects,
) -> Response<ResponseBody<B>> {
    let status = response.status();
    if let Some(scope) = scope.as_mut() {
        scope.responds(status);
    }
    let is_tunnel = expects == Expects::Tunnel && status.is_success();
    if is_tunnel || status == StatusCode::SWITCHING_PROTOCOLS {
        let scope = scope.map(OpenScope::outlive_response);
        return response.map(|body| ResponseBody::inner(body, scope, Left::Unknown));
    }
    // Servers do not read the body of such a response (RFC 9110 section 6.4.1). Its `Content-Length`
    // is the one of another response (section 8.6).
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
    #[cfg(feature = "tokio")]
    {
        let lifetime = scope.as_ref().and_then(OpenScope::context);
        let lifetime = lifetime.and_then(|context| context.life().get()).cloned();
        let cut = lifetime.map(|lifetime| Cut::new(lifetime, response.headers()));
        response.map(|body| ResponseBody::inner(body, scope, left).cut_off_by(cut))
    }
    #[cfg(not(feature = "tokio"))]
    response.map(|body| ResponseBody::inner(body, scope, left))
}

/// Returns the `Content-Length`, at which a server stops polling the body. Returns `None` if there are
/// several.
fn content_length<B>(response: &Response<B>) -> Option<u64> {
    let mut values = response.headers().get_all(header::CONTENT_LENGTH).iter();
    let value = values.next()?.to_str().ok()?;
    // `parse` accepts a sign too.
    (values.next().is_none() && value.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| value.parse().ok())
        .flatten()
}
