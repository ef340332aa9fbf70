//! The places of a request where a token may be.

use std::{borrow::Cow, fmt};

use http::{HeaderName, HeaderValue, Uri, header, request::Parts};

use super::{
    authorization,
    websocket::{self, Protocol},
};
use crate::{
    config_error::ConfigError,
    cookies::{self, is_alike, mark_sensitive},
    outcome::{InvalidError, InvalidErrorKind},
    peer::original_uri,
    strategy::{fold_alike, is_reserved, strip_alike},
    stripped::Stripped,
};

/// A place in a request where a strategy looks for a token.
///
/// A strategy searches all its sources. It refuses a request with more than one token, in one source
/// or in several (RFC 6750 section 2).
///
/// ```
/// use tower_user_scope::token::TokenSource;
///
/// let key = TokenSource::header("x-api-key");
/// # let _ = key;
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct TokenSource(Place);

#[derive(Clone, PartialEq, Eq)]
enum Place {
    /// The scheme.
    Authorization(Box<str>),
    Cookie(Box<str>),
    /// A name that a header can't have is kept for the error of `build()`.
    Header(Result<HeaderName, Box<str>>),
    Protocol(Protocol),
    Query(Box<str>),
}

impl TokenSource {
    /// Reads `Authorization: Bearer <token>` (RFC 6750 section 2.1), with the scheme in any case.
    ///
    /// A request with another scheme has no token in this place. A header without a readable scheme,
    /// or with `Bearer` and no token, is refused with 400. So is a single word of more than 32 bytes, or
    /// in the form of a JWT: a token without its scheme.
    #[must_use]
    pub fn bearer() -> Self {
        Self::authorization("Bearer")
    }

    /// Reads `Authorization: <scheme> <token>` with a scheme of the application's, such as `ApiKey`,
    /// as [`bearer`](Self::bearer) does.
    #[must_use]
    pub fn authorization(scheme: impl Into<String>) -> Self {
        Self(Place::Authorization(scheme.into().into_boxed_str()))
    }

    /// Reads the cookie of this name.
    ///
    /// A cookie without a value is refused with 400. So is a cookie whose name differs only in case or
    /// by percent-encoding, because other software may treat it as equal.
    ///
    /// Browsers send cookies with requests that other sites make. Give the cookie `SameSite` and a name
    /// that begins with `__Host-`, and protect requests that change state from forgery, such as with
    /// `tower_http`'s CSRF layer.
    #[must_use]
    pub fn cookie(name: impl Into<String>) -> Self {
        Self(Place::Cookie(name.into().into_boxed_str()))
    }

    /// Reads a header whose value is the token alone, as proxies that log users in add it:
    ///
    /// | proxy | header |
    /// | --- | --- |
    /// | Cloudflare Access | `Cf-Access-Jwt-Assertion` |
    /// | Google IAP | `X-Goog-IAP-JWT-Assertion` |
    /// | Pomerium | `X-Pomerium-Jwt-Assertion` |
    /// | oauth2-proxy | `X-Forwarded-Access-Token`, `X-Auth-Request-Access-Token` |
    ///
    /// The token is verified, so the sender of the header need not be trusted. The header is removed
    /// unless its token identified the request, so that an inner service does not decode a token that
    /// nobody has verified. Headers that a CGI-style upstream treats as equal
    /// (`cf_access_jwt_assertion`) are removed and reported too. A value that is not one word of
    /// visible ASCII is refused with 400. `Authorization`, `Cookie`, and headers that HTTP itself
    /// needs are errors of `build()`.
    ///
    /// Two strategies can't share such a header, because the one that did not identify the request
    /// removes it. For tokens of several issuers in one header, use
    /// [`Jwt::of_issuers`](crate::jwt::Jwt::of_issuers).
    ///
    /// ```
    /// use tower_user_scope::{jwt::{Jwt, RemoteKeys}, token::TokenSource};
    ///
    /// let team = "https://team.cloudflareaccess.com";
    /// let keys = RemoteKeys::from_url(format!("{team}/cdn-cgi/access/certs"));
    /// let strategy = Jwt::new(keys)
    ///     .issuer(team)
    ///     .audience("the application's AUD tag")
    ///     .token_source(TokenSource::header("cf-access-jwt-assertion"));
    /// # let _ = strategy;
    /// ```
    #[must_use]
    pub fn header(name: impl AsRef<str>) -> Self {
        let name = name.as_ref();
        Self(Place::Header(
            HeaderName::try_from(name).map_err(|_| Box::from(name)),
        ))
    }

    /// Reads `Sec-WebSocket-Protocol` of a WebSocket handshake (RFC 6455 section 11.3.4), the only
    /// header of it that a browser lets a script set.
    ///
    /// With `bearer` as the marker, the token is read from each of these:
    ///
    /// | client | protocol that the service can choose |
    /// | --- | --- |
    /// | `new WebSocket(url, ["bearer", token])` | `bearer` |
    /// | `new WebSocket(url, ["bearer", "bearer." + token])` | `bearer` |
    /// | `new WebSocket(url, ["chat", "bearer." + token])` | `chat` |
    /// | `new WebSocket(url, ["bearer." + token])` | the same, by [`OfferedProtocol`](super::OfferedProtocol) |
    ///
    /// A browser closes the connection unless the response names one of the offered protocols, so
    /// the service has to choose one, such as with axum's `WebSocketUpgrade::protocols(["bearer"])`.
    /// The token is removed from the header, so that the service can't choose the token by accident
    /// and send it back. A header with an element that can't be read is refused with 400.
    #[must_use]
    pub fn websocket_protocol(marker: impl Into<String>) -> Self {
        Self(Place::Protocol(Protocol {
            marker: marker.into().into_boxed_str(),
            encoded: false,
        }))
    }

    /// Reads `Sec-WebSocket-Protocol` as [`websocket_protocol`](Self::websocket_protocol) does, from
    /// an element that is the marker, a dot, and the token in base64url without padding.
    ///
    /// Kubernetes clients send tokens in this form, with the marker
    /// `base64url.bearer.authorization.k8s.io`. The client has to offer another protocol too.
    #[must_use]
    pub fn websocket_protocol_base64url(marker: impl Into<String>) -> Self {
        Self(Place::Protocol(Protocol {
            marker: marker.into().into_boxed_str(),
            encoded: true,
        }))
    }

    /// Reads the query parameter of this name.
    ///
    /// URLs appear in logs, in histories and in `Referer`. RFC 6750 section 2.3 discourages tokens in
    /// them unless nothing else is possible, and RFC 9700 section 4.3.2 forbids them. Use tokens that
    /// live for seconds, and respond with `Cache-Control: no-store`. The parameter is removed before
    /// the inner service sees the URI.
    #[must_use]
    pub fn query(name: impl Into<String>) -> Self {
        Self(Place::Query(name.into().into_boxed_str()))
    }

    /// Returns the scheme of a token in `Authorization`.
    pub(super) fn scheme(&self) -> Option<&str> {
        match &self.0 {
            Place::Authorization(scheme) => Some(scheme),
            _ => None,
        }
    }

    /// Checks the configured name.
    ///
    /// # Errors
    /// [`ConfigError::TokenSource`] if it can't be one of a scheme, a cookie, a header, a parameter or
    /// a sub-protocol.
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let (name, fits) = match &self.0 {
            Place::Header(Ok(name)) => (name.as_str(), !is_reserved(name)),
            Place::Header(Err(name)) => (&**name, false),
            Place::Query(name) => (&**name, !name.is_empty()),
            // Schemes, cookie names and sub-protocols are tokens, as header names are.
            Place::Authorization(name) | Place::Cookie(name) => (&**name, is_token(name)),
            Place::Protocol(form) => (&*form.marker, is_token(&form.marker)),
        };
        if fits {
            return Ok(());
        }
        Err(ConfigError::TokenSource {
            name: name.to_owned(),
        })
    }

    /// Calls `found` with each token in this place.
    pub(super) fn find<'a>(
        &self,
        head: &'a Parts,
        found: &mut dyn FnMut(Cow<'a, str>) -> Result<(), InvalidError>,
    ) -> Result<(), InvalidError> {
        match &self.0 {
            Place::Authorization(scheme) => match authorization::token(&head.headers, scheme)? {
                Some(token) => found(Cow::Borrowed(token)),
                None => Ok(()),
            },
            Place::Cookie(name) => {
                cookies::try_for_each(&head.headers, |sent, value| match value {
                    _ if !is_alike(sent, name) => Ok(()),
                    Some(value) if sent == &**name => found(value),
                    _ => Err(InvalidErrorKind::Malformed.into()),
                })
            }
            Place::Header(Ok(name)) => {
                let mut lines = head.headers.get_all(name).iter();
                lines.try_for_each(|line| found(Cow::Borrowed(word(line)?)))
            }
            Place::Header(Err(_)) => Ok(()),
            Place::Protocol(form) => websocket::find(&head.headers, form, found),
            Place::Query(name) => {
                let query = head.uri.query().unwrap_or_default();
                form_urlencoded::parse(query.as_bytes())
                    .filter(|(key, _)| *key == **name)
                    .try_for_each(|(_, value)| found(value))
            }
        }
    }

    /// Returns the header that this place is in; `None` for the query.
    pub(super) fn header_name(&self) -> Option<HeaderName> {
        match &self.0 {
            Place::Authorization(_) => Some(header::AUTHORIZATION),
            Place::Cookie(_) => Some(header::COOKIE),
            Place::Header(name) => name.clone().ok(),
            Place::Protocol(_) => Some(header::SEC_WEBSOCKET_PROTOCOL),
            Place::Query(_) => None,
        }
    }

    /// Returns whether there is a token in this place, valid or not.
    pub(super) fn is_present(&self, head: &Parts) -> bool {
        match &self.0 {
            Place::Authorization(scheme) => {
                return authorization::is_present(&head.headers, scheme);
            }
            Place::Header(Ok(name)) => {
                return head.headers.keys().any(|sent| fold_alike(name, sent));
            }
            _ => {}
        }
        let mut present = false;
        let refused = self.find(head, &mut |_| {
            present = true;
            Ok(())
        });
        present || refused.is_err()
    }

    /// Hides the token from logs and responses of the inner service: marks its header as sensitive, or
    /// removes the token from the query or the sub-protocols. A header that has only the token is removed
    /// unless it is believed.
    pub(super) fn scrub(
        &self,
        head: &mut Parts,
        believed: bool,
        stripped: &mut dyn FnMut(Stripped<'_>),
    ) {
        match &self.0 {
            Place::Authorization(_) => mark_sensitive(head, &header::AUTHORIZATION),
            Place::Cookie(_) => mark_sensitive(head, &header::COOKIE),
            Place::Header(Ok(name)) => {
                mark_sensitive(head, name);
                // The token vouches for itself, so every sender is trusted.
                strip_alike(head, name, believed, |_| Ok(()), stripped);
            }
            Place::Header(Err(_)) => {}
            Place::Protocol(form) => websocket::scrub(head, form),
            Place::Query(name) => strip_parameter(head, name),
        }
    }
}

fn is_token(name: &str) -> bool {
    HeaderName::try_from(name).is_ok()
}

/// Returns the value of a header whose value is one word.
fn word(line: &HeaderValue) -> Result<&str, InvalidErrorKind> {
    let text = line.to_str().map_err(|_| InvalidErrorKind::Malformed)?;
    let text = text.trim_matches([' ', '\t']);
    // A proxy may have joined two lines with a comma (RFC 9110 section 5.3).
    if text.contains(',') {
        return Err(InvalidErrorKind::Repeated);
    }
    if text.is_empty() || text.contains([' ', '\t']) {
        return Err(InvalidErrorKind::Malformed);
    }
    Ok(text)
}

/// Removes the parameter from the request's URI, and from the one that a router of axum keeps.
fn strip_parameter(head: &mut Parts, name: &str) {
    strip_from(&mut head.uri, name);
    if let Some(original) = original_uri(&mut head.extensions) {
        strip_from(original, name);
    }
}

/// Removes the parameter from a URI and keeps the others as they were sent.
fn strip_from(uri: &mut Uri, name: &str) {
    let is_ours =
        |pair: &&str| form_urlencoded::parse(pair.as_bytes()).any(|(sent, _)| sent == name);
    let Some(query) = uri.query() else {
        return;
    };
    if !query.split('&').any(|pair| is_ours(&pair)) {
        return;
    }
    let kept: Vec<&str> = query.split('&').filter(|pair| !is_ours(pair)).collect();
    let (path, kept) = (uri.path(), kept.join("&"));
    let rest = if kept.is_empty() {
        path.to_owned()
    } else {
        format!("{path}?{kept}")
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = rest.parse().ok();
    // Removing a parameter leaves a valid URI.
    if let Ok(stripped) = Uri::from_parts(parts) {
        *uri = stripped;
    }
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Authorization(scheme) => f.debug_tuple("Authorization").field(scheme).finish(),
            Place::Cookie(name) => f.debug_tuple("Cookie").field(name).finish(),
            Place::Header(Ok(name)) => f.debug_tuple("Header").field(name).finish(),
            Place::Header(Err(name)) => f.debug_tuple("Header").field(name).finish(),
            Place::Protocol(form) => f
                .debug_tuple("WebSocketProtocol")
                .field(&form.marker)
                .finish(),
            Place::Query(name) => f.debug_tuple("Query").field(name).finish(),
        }
    }
}
