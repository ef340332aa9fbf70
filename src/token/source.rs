//! Where in a request the token is.

use std::{borrow::Cow, fmt};

use http::{HeaderName, HeaderValue, header, request::Parts};

use crate::{
    cookies::{self, keep_out_of_debug},
    jwt::TokenConfigError,
    outcome::{Invalid, InvalidReason},
};

/// Where in a request a token is looked for.
///
/// All places of a [`Jwt`](crate::jwt::Jwt) are looked at, and a token in more than one of them, or
/// more than one in one of them, is refused (RFC 6750 section 2).
#[derive(Clone, PartialEq, Eq)]
pub struct TokenSource(Place);

#[derive(Clone, PartialEq, Eq)]
enum Place {
    Bearer,
    Cookie(Box<str>),
    Protocol(Box<str>),
    #[cfg(feature = "query")]
    Query(Box<str>),
}

impl TokenSource {
    /// `Authorization: Bearer <token>` (RFC 6750 section 2.1), the scheme in any case. Requests
    /// with another scheme have no token for it.
    #[must_use]
    pub fn bearer() -> Self {
        Self(Place::Bearer)
    }

    /// The cookie of this name.
    ///
    /// Browsers send cookies with requests that other sites make: give it `SameSite`, a name
    /// that begins with `__Host-`, and check for forgery (`tower_http`'s CSRF layer) whatever
    /// changes state.
    #[must_use]
    pub fn cookie(name: impl Into<String>) -> Self {
        Self(Place::Cookie(name.into().into_boxed_str()))
    }

    /// A WebSocket handshake's `Sec-WebSocket-Protocol` (RFC 6455 section 11.3.4), which is all
    /// that a browser lets a script set: the element that follows `marker`
    /// (`new WebSocket(url, ["bearer", token])`), or the rest of one that begins with `marker`
    /// and a dot (`["bearer." + token]`).
    ///
    /// The token is removed from the header before the inner service can choose it as the
    /// protocol and send it back; `marker` stays for that.
    #[must_use]
    pub fn websocket_protocol(marker: impl Into<String>) -> Self {
        Self(Place::Protocol(marker.into().into_boxed_str()))
    }

    /// The query parameter of this name.
    ///
    /// URLs are logged, kept in histories and sent on in `Referer`: RFC 6750 section 2.3 says
    /// not to do this unless nothing else is possible, and RFC 9700 section 4.3.2 says not to do it at
    /// all. Use tokens that live for seconds, and answer with `Cache-Control: no-store`.
    #[cfg(feature = "query")]
    #[cfg_attr(docsrs, doc(cfg(feature = "query")))]
    #[must_use]
    pub fn query(name: impl Into<String>) -> Self {
        Self(Place::Query(name.into().into_boxed_str()))
    }

    pub(crate) fn is_bearer(&self) -> bool {
        self.0 == Place::Bearer
    }

    pub(crate) fn validate(&self) -> Result<(), TokenConfigError> {
        let name = match &self.0 {
            Place::Bearer => return Ok(()),
            #[cfg(feature = "query")]
            Place::Query(name) if !name.is_empty() => return Ok(()),
            #[cfg(feature = "query")]
            Place::Query(name) => name,
            Place::Cookie(name) | Place::Protocol(name) => name,
        };
        // Cookie names and sub-protocols are tokens, as header names are.
        match HeaderName::try_from(&**name) {
            Ok(_) => Ok(()),
            Err(_) => Err(TokenConfigError::SourceName {
                name: name.to_string(),
            }),
        }
    }

    /// Tells `found` of each token in this place.
    pub(crate) fn find<'a>(
        &self,
        head: &'a Parts,
        found: &mut dyn FnMut(Cow<'a, str>) -> Result<(), Invalid>,
    ) -> Result<(), Invalid> {
        match &self.0 {
            Place::Bearer => bearer(head, found),
            Place::Cookie(name) => cookies::try_for_each(&head.headers, |cookie| {
                if cookie.name() != &**name {
                    return Ok(());
                }
                found(match cookie.value_raw() {
                    Some(value) => Cow::Borrowed(value),
                    None => Cow::Owned(cookie.value().to_owned()),
                })
            }),
            Place::Protocol(marker) => protocols(head, marker, found),
            #[cfg(feature = "query")]
            Place::Query(name) => {
                let query = head.uri.query().unwrap_or_default();
                form_urlencoded::parse(query.as_bytes())
                    .filter(|(key, _)| *key == **name)
                    .try_for_each(|(_, value)| found(value))
            }
        }
    }

    /// The header that has this place, where one has.
    pub(crate) fn header(&self) -> Option<HeaderName> {
        match &self.0 {
            Place::Bearer => Some(header::AUTHORIZATION),
            Place::Cookie(_) => Some(header::COOKIE),
            Place::Protocol(_) => Some(header::SEC_WEBSOCKET_PROTOCOL),
            #[cfg(feature = "query")]
            Place::Query(_) => None,
        }
    }

    /// Whether something is in this place, good or bad.
    pub(crate) fn is_present(&self, head: &Parts) -> bool {
        if self.is_bearer() {
            let fields = head.headers.get_all(header::AUTHORIZATION);
            return fields
                .iter()
                .any(|field| bearer_credentials(field).is_some());
        }
        let mut present = false;
        let refused = self.find(head, &mut |_| {
            present = true;
            Ok(())
        });
        present || refused.is_err()
    }

    /// Keeps the token out of what the inner service may log or send back.
    pub(crate) fn scrub(&self, head: &mut Parts) {
        match &self.0 {
            Place::Bearer => keep_out_of_debug(head, &header::AUTHORIZATION),
            Place::Cookie(_) => keep_out_of_debug(head, &header::COOKIE),
            Place::Protocol(marker) => strip_protocols(head, marker),
            #[cfg(feature = "query")]
            Place::Query(_) => {}
        }
    }
}

type Found<'f, 'a> = &'f mut dyn FnMut(Cow<'a, str>) -> Result<(), Invalid>;

/// The credentials of the scheme `Bearer`, where the header has that scheme.
fn bearer_credentials(value: &HeaderValue) -> Option<&[u8]> {
    const SCHEME: &[u8] = b"bearer";
    let value = value.as_bytes().trim_ascii();
    let (scheme, rest) = value.split_at_checked(SCHEME.len())?;
    let separated = rest.first().is_none_or(|byte| *byte == b' ');
    (scheme.eq_ignore_ascii_case(SCHEME) && separated).then(|| rest.trim_ascii_start())
}

fn bearer<'a>(head: &'a Parts, found: Found<'_, 'a>) -> Result<(), Invalid> {
    let mut fields = head.headers.get_all(header::AUTHORIZATION).iter();
    let Some(first) = fields.next() else {
        return Ok(());
    };
    if let Some(second) = fields.next() {
        // A field that may come once came twice: whichever of them a proxy looked at, it is
        // ours to refuse where one is for us.
        let ours = [first, second].into_iter().chain(fields);
        return if ours.map(bearer_credentials).any(|sent| sent.is_some()) {
            Err(InvalidReason::Repeated.into())
        } else {
            Ok(())
        };
    }
    let Some(credentials) = bearer_credentials(first) else {
        return Ok(());
    };
    match std::str::from_utf8(credentials) {
        Ok(token) if is_token68(credentials) => found(Cow::Borrowed(token)),
        _ => Err(InvalidReason::Malformed.into()),
    }
}

/// `b64token` of RFC 6750 section 2.1.
fn is_token68(text: &[u8]) -> bool {
    let padding = text.iter().rev().take_while(|byte| **byte == b'=').count();
    let body = &text[..text.len() - padding];
    let is_fit = |byte: u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/')
    };
    // To the end whatever is found: so it is done for many bytes at once.
    !body.is_empty() && body.iter().fold(true, |fit, byte| fit & is_fit(*byte))
}

/// The elements of all `Sec-WebSocket-Protocol` lines (RFC 9110 section 5.6.1); `None` where one of
/// them is not visible ASCII, so that no marker in it could be told.
fn elements(head: &Parts) -> Option<impl Iterator<Item = &str>> {
    let fields = head.headers.get_all(header::SEC_WEBSOCKET_PROTOCOL);
    let lines: Vec<&str> = fields
        .iter()
        .map(|field| field.to_str().ok())
        .collect::<Option<_>>()?;
    Some(
        lines
            .into_iter()
            .flat_map(|line| line.split(','))
            .map(|element| element.trim_matches([' ', '\t']))
            .filter(|element| !element.is_empty()),
    )
}

fn after_marker<'e>(element: &'e str, marker: &str) -> Option<&'e str> {
    element.strip_prefix(marker)?.strip_prefix('.')
}

fn protocols<'a>(head: &'a Parts, marker: &str, found: Found<'_, 'a>) -> Result<(), Invalid> {
    let Some(mut elements) = elements(head) else {
        return Ok(());
    };
    while let Some(element) = elements.next() {
        if element == marker {
            match elements.next() {
                Some(token) => found(Cow::Borrowed(token))?,
                None => return Err(InvalidReason::Malformed.into()),
            }
        } else if let Some(token) = after_marker(element, marker) {
            found(Cow::Borrowed(token))?;
        }
    }
    Ok(())
}

fn strip_protocols(head: &mut Parts, marker: &str) {
    let Some(mut elements) = elements(head) else {
        return;
    };
    let mut kept: Vec<&str> = Vec::new();
    let mut stripped = false;
    while let Some(element) = elements.next() {
        if element == marker {
            kept.push(element);
            stripped |= elements.next().is_some();
        } else if after_marker(element, marker).is_some() {
            stripped = true;
        } else {
            kept.push(element);
        }
    }
    if !stripped {
        return;
    }
    let rest = kept.join(", ");
    drop(elements);
    head.headers.remove(header::SEC_WEBSOCKET_PROTOCOL);
    if let (false, Ok(rest)) = (rest.is_empty(), HeaderValue::try_from(rest)) {
        head.headers.insert(header::SEC_WEBSOCKET_PROTOCOL, rest);
    }
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Bearer => f.write_str("Bearer"),
            Place::Cookie(name) => f.debug_tuple("Cookie").field(name).finish(),
            Place::Protocol(marker) => f.debug_tuple("WebSocketProtocol").field(marker).finish(),
            #[cfg(feature = "query")]
            Place::Query(name) => f.debug_tuple("Query").field(name).finish(),
        }
    }
}
