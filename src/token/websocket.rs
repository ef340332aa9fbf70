//! Tokens in a WebSocket handshake's `Sec-WebSocket-Protocol` (RFC 6455 section 11.3.4), the only
//! header that a browser lets a script set.

use std::{borrow::Cow, fmt};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue, header, request::Parts};

use super::authorization::{is_token_byte, looks_like_jwt};
use crate::strategy::{InvalidError, InvalidErrorKind};

/// How a token is written into a sub-protocol.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Protocol {
    pub(super) marker: Box<str>,
    /// Whether the token is base64url-encoded, which needs the form `marker.token`.
    pub(super) encoded: bool,
}

/// The sub-protocol that a client offered beside none other, with its token in it; in the
/// extensions of a request whose token was found by
/// [`TokenSource::websocket_protocol`](super::TokenSource::websocket_protocol).
///
/// Clients close a connection whose answer names no protocol that they offered. Where they offer
/// the one with the token alone, the answer has to repeat it, token included. The layer takes it
/// out of the request's header so that it isn't repeated by accident; a service that wants such
/// clients puts it into the response by itself.
///
/// ```
/// use http::{Extensions, Response, header::SEC_WEBSOCKET_PROTOCOL};
/// use tower_user_scope::token::OfferedProtocol;
///
/// /// Goes on with the response of the upgrade: `request` is what the request had.
/// fn answer<B>(request: &Extensions, mut upgrade: Response<B>) -> Response<B> {
///     if let Some(offered) = request.get::<OfferedProtocol>() {
///         let headers = upgrade.headers_mut();
///         headers.insert(SEC_WEBSOCKET_PROTOCOL, offered.header_value());
///     }
///     upgrade
/// }
/// # let _ = answer::<()>;
/// ```
#[derive(Clone)]
pub struct OfferedProtocol {
    value: HeaderValue,
}

impl OfferedProtocol {
    /// The value for `Sec-WebSocket-Protocol` of the response. It has the token in it, and is
    /// marked as [sensitive](HeaderValue::is_sensitive).
    #[must_use]
    pub fn header_value(&self) -> HeaderValue {
        self.value.clone()
    }
}

impl fmt::Debug for OfferedProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OfferedProtocol(..)")
    }
}

/// The elements of the header, sorted.
#[derive(Default)]
struct Offer<'h> {
    /// Protocols that the service may choose, the marker included.
    protocols: Vec<&'h [u8]>,
    /// Elements that have a token in them, and the token as it is written there.
    tokens: Vec<(&'h [u8], &'h [u8])>,
    /// Whether an element is not visible ASCII, or begins with the marker and does not have its form.
    malformed: bool,
}

/// Sorts the elements of all lines (RFC 9110 section 5.6.1). Finding the token and scrubbing the
/// header both use this, so that they agree.
///
/// With `bearer` as the marker, clients send `bearer, TOKEN`; `bearer.TOKEN`, alone or beside
/// protocols of the application; and `bearer, bearer.TOKEN`, where the service selects
/// the first in its answer.
fn read<'h>(headers: &'h HeaderMap, form: &Protocol) -> Offer<'h> {
    let lines = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let elements: Vec<&[u8]> = lines
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|element| !element.is_empty())
        .collect();
    let after_marker = |element: &'h [u8]| after(element, form.marker.as_bytes());
    let has_prefixed = elements
        .iter()
        .any(|element| after_marker(element).is_some_and(|rest| rest.starts_with(b".")));
    let mut offer = Offer::default();
    let mut elements = elements.into_iter().peekable();
    while let Some(element) = elements.next() {
        if !element.iter().all(u8::is_ascii_graphic) {
            offer.malformed = true;
            continue;
        }
        let Some(rest) = after_marker(element) else {
            offer.protocols.push(element);
            continue;
        };
        // Protocol names are compared exactly, so a client that sends another spelling is wrong.
        let is_exact = element.starts_with(form.marker.as_bytes());
        match rest.first() {
            None => {
                offer.protocols.push(element);
                let is_token =
                    |next: &&[u8]| !form.encoded && (!has_prefixed || looks_like_jwt(next));
                match elements.next_if(is_token) {
                    Some(token) => offer.tokens.push((token, token)),
                    None => offer.malformed |= !has_prefixed,
                }
                offer.malformed |= !is_exact;
            }
            Some(b'.') => {
                offer.tokens.push((element, &rest[1..]));
                offer.malformed |= !is_exact;
            }
            Some(byte) if is_token_byte(*byte) => offer.protocols.push(element),
            Some(_) => offer.malformed = true,
        }
    }
    offer
}

/// Returns what follows the marker, which is compared without case.
fn after<'h>(element: &'h [u8], marker: &[u8]) -> Option<&'h [u8]> {
    let (start, rest) = element.split_at_checked(marker.len())?;
    start.eq_ignore_ascii_case(marker).then_some(rest)
}

/// Calls `found` with each token.
pub(super) fn find<'h>(
    headers: &'h HeaderMap,
    form: &Protocol,
    found: &mut dyn FnMut(Cow<'h, str>) -> Result<(), InvalidError>,
) -> Result<(), InvalidError> {
    let offer = read(headers, form);
    if offer.malformed {
        return Err(InvalidErrorKind::Malformed.into());
    }
    for (_, token) in offer.tokens {
        let token = if form.encoded {
            let decoded = URL_SAFE_NO_PAD.decode(token).ok();
            decoded
                .and_then(|token| String::from_utf8(token).ok())
                .map(Cow::Owned)
        } else {
            std::str::from_utf8(token).ok().map(Cow::Borrowed)
        };
        found(token.ok_or(InvalidErrorKind::Malformed)?)?;
    }
    Ok(())
}

/// Removes tokens from the header, so that the service can't select one and send it back.
pub(super) fn scrub(head: &mut Parts, form: &Protocol) {
    let offer = read(&head.headers, form);
    if offer.tokens.is_empty() && !offer.malformed {
        return;
    }
    let rest = HeaderValue::from_bytes(&offer.protocols.join(&b", "[..])).ok();
    let rest = rest.filter(|rest| !rest.is_empty());
    let alone = match (&*offer.tokens, &rest) {
        ([(element, _)], None) => HeaderValue::from_bytes(element).ok(),
        _ => None,
    };
    match rest {
        Some(rest) => {
            head.headers.insert(header::SEC_WEBSOCKET_PROTOCOL, rest);
        }
        None => {
            head.headers.remove(header::SEC_WEBSOCKET_PROTOCOL);
        }
    }
    if let Some(mut value) = alone {
        value.set_sensitive(true);
        head.extensions.insert(OfferedProtocol { value });
    }
}
