//! Sends browsers to a log-in page.

use std::fmt::Write as _;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header, request::Parts};

use super::{DefaultResponder, Rejection, RespondToRejection, grpc::Protocol};
use crate::{config_error::ConfigError, peer::original_path};

/// Redirects a browser without a valid log-in to a log-in page (303), and leaves every other refusal to
/// another responder.
///
/// Only what a person opens is redirected: a `GET` or `HEAD` that accepts `text/html` by name, whose
/// `Sec-Fetch-Mode` is `navigate` and whose `Sec-Fetch-Dest` is `document` (W3C Fetch Metadata), where
/// the browser sends them. Calls of scripts, of programs and over gRPC get the refusal itself, with its
/// real status: so does a request with `Authorization`, and one for the log-in page itself. Statuses other
/// than 401 are never redirected.
///
/// The page finds in the parameter `next` where the browser wanted to go: the path and the query of the
/// request, percent-encoded. It is always a path of this origin, which begins with one slash. It is
/// left out if it has more than 1,024 bytes, or a part that some software reads in another way: an empty
/// segment at its begin, a dot segment, a backslash, or an encoded slash, backslash, dot, percent sign or
/// control character. A page that redirects to `next` is safe if it decodes it once and adds nothing.
///
/// ```
/// use tower_user_scope::{ConfigError, ExistingContext, UserScopeLayer, rejection::LoginRedirect};
///
/// # fn layer() -> Result<(), ConfigError> {
/// let layer = UserScopeLayer::builder()
///     .strategy(ExistingContext::new())
///     .rejection_response(LoginRedirect::to("/login")?)
///     .context_only()
///     .build()?;
/// # let _ = layer;
/// # Ok(())
/// # }
/// # layer().expect("a valid configuration");
/// ```
///
/// The log-in page stands outside the layer. A reverse proxy that asks this service by a subrequest (such
/// as `auth_request` of nginx) expects a 401: it makes the redirect itself.
#[derive(Clone, Debug)]
pub struct LoginRedirect<R = DefaultResponder> {
    url: Box<str>,
    parameter: Option<Box<str>>,
    otherwise: R,
}

impl LoginRedirect {
    /// The longest path and query that is passed on, in bytes.
    const MAX_NEXT: usize = 1_024;

    /// Redirects to a path of this origin, or to an `https` or `http` URL. It may have a query.
    ///
    /// # Errors
    /// [`ConfigError::LoginUrl`] if it is something else, or has a fragment.
    pub fn to(url: impl Into<String>) -> Result<Self, ConfigError> {
        let url = url.into();
        let is_path = url.starts_with('/') && !url.starts_with("//");
        let is_url = ["https://", "http://"].iter().any(|scheme| {
            let rest = url.strip_prefix(scheme);
            rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
        });
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'#' | b'\\');
        if (is_path || is_url) && url.bytes().all(is_plain) {
            return Ok(Self {
                url: url.into_boxed_str(),
                parameter: Some("next".into()),
                otherwise: DefaultResponder::default(),
            });
        }
        Err(ConfigError::LoginUrl { url })
    }
}

impl<R> LoginRedirect<R> {
    /// Sets the name of the parameter, instead of `next`.
    #[must_use]
    pub fn next_parameter(mut self, name: impl AsRef<str>) -> Self {
        self.parameter = Some(encoded(name.as_ref()).into());
        self
    }

    /// Does not say where the browser wanted to go.
    #[must_use]
    pub fn without_next(mut self) -> Self {
        self.parameter = None;
        self
    }

    /// Sets what answers refusals that are not redirected, instead of the [`DefaultResponder`].
    #[must_use]
    pub fn otherwise<O: RespondToRejection>(self, otherwise: O) -> LoginRedirect<O> {
        LoginRedirect {
            url: self.url,
            parameter: self.parameter,
            otherwise,
        }
    }

    fn location(&self, head: &Parts) -> Option<HeaderValue> {
        let path = original_path(head);
        let (page, _) = self.url.split_once('?').unwrap_or((&self.url, ""));
        if path == page {
            return None;
        }
        let next = self.parameter.as_ref().zip(next(path, head.uri.query()));
        let Some((parameter, next)) = next else {
            return HeaderValue::from_str(&self.url).ok();
        };
        let separator = if self.url.contains('?') { '&' } else { '?' };
        let url = format!("{}{separator}{parameter}={next}", self.url);
        HeaderValue::try_from(url).ok()
    }
}

impl<R: RespondToRejection> RespondToRejection for LoginRedirect<R> {
    fn respond(&self, rejection: &Rejection, head: &Parts) -> Response<Bytes> {
        let is_redirected = rejection.status() == StatusCode::UNAUTHORIZED && is_navigation(head);
        let location = is_redirected.then(|| self.location(head)).flatten();
        let Some(location) = location else {
            return self.otherwise.respond(rejection, head);
        };
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::SEE_OTHER;
        let headers = response.headers_mut();
        headers.insert(header::LOCATION, location);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

/// Whether a person has opened this in a browser.
fn is_navigation(head: &Parts) -> bool {
    let headers = &head.headers;
    let is = |name: &str, wanted: &[u8]| {
        let mut sent = headers.get_all(name).iter();
        sent.all(|value| value.as_bytes() == wanted)
    };
    matches!(head.method, Method::GET | Method::HEAD)
        && accepts_html(headers)
        && is("sec-fetch-mode", b"navigate")
        && is("sec-fetch-dest", b"document")
        && !headers.contains_key(header::AUTHORIZATION)
        && !headers.contains_key("x-requested-with")
        && Protocol::of(headers).is_none()
}

/// Whether `Accept` has `text/html` by name (RFC 9110 section 12.5.1).
fn accepts_html(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::ACCEPT).iter();
    let lines = lines.filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_html = parts
            .next()
            .is_some_and(|it| it.eq_ignore_ascii_case("text/html"));
        // A weight of zero means "not acceptable".
        let is_refused = parts.any(|part| {
            let weight = part.strip_prefix("q=").or_else(|| part.strip_prefix("Q="));
            weight.is_some_and(|weight| weight.bytes().all(|byte| matches!(byte, b'0' | b'.')))
        });
        is_html && !is_refused
    })
}

/// Returns the path and the query, encoded; `None` if they are long, or not plainly a path of this
/// origin.
fn next(path: &str, query: Option<&str>) -> Option<String> {
    let length = path.len() + query.map_or(0, |query| query.len() + 1);
    if length > LoginRedirect::MAX_NEXT || !is_plain_path(path) {
        return None;
    }
    let mut next = encoded(path);
    if let Some(query) = query {
        next.push_str("%3F");
        next.push_str(&encoded(query));
    }
    Some(next)
}

/// Whether every reader of a path takes it for the same path of the same origin.
fn is_plain_path(path: &str) -> bool {
    let is_odd = |byte: u8| byte.is_ascii_control() || matches!(byte, b'/' | b'\\' | b'.' | b'%');
    let has_odd_escape = path.split('%').skip(1).any(|escape| {
        let digits = escape.get(..2);
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        byte.is_none_or(is_odd)
    });
    let has_odd_segment = path.split('/').any(|segment| matches!(segment, "." | ".."));
    let is_rooted = path.starts_with('/') && !path.starts_with("//");
    let is_clean = |byte: u8| byte.is_ascii_graphic() && byte != b'\\';
    is_rooted && !has_odd_escape && !has_odd_segment && path.bytes().all(is_clean)
}

/// Percent-encodes all but what RFC 3986 section 2.3 calls unreserved.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string can't fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}
