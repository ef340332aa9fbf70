//! `Authorization: Bearer <token>` (RFC 6750 section 2.1).

use http::{HeaderMap, header};

use crate::strategy::InvalidErrorKind;

/// What one `Authorization` line has for the scheme `Bearer`.
#[derive(Debug, PartialEq, Eq)]
enum Line<'h> {
    /// Another scheme's credentials, or nothing.
    Other,
    Token(&'h str),
    /// Credentials that are `Bearer`'s, or could be anybody's, and have not its form.
    Malformed,
    /// `Bearer` after another scheme's credentials, as where a proxy joins two lines.
    Joined,
}

/// The token, where the request has one.
pub(super) fn token(headers: &HeaderMap) -> Result<Option<&str>, InvalidErrorKind> {
    let mut lines = headers.get_all(header::AUTHORIZATION).iter();
    let Some(first) = lines.next() else {
        return Ok(None);
    };
    if lines.next().is_some() {
        // A field that may come once came twice: whichever of them a proxy looked at, it is
        // ours to refuse where one is for us.
        return if is_present(headers) {
            Err(InvalidErrorKind::Repeated)
        } else {
            Ok(None)
        };
    }
    match read(first.as_bytes()) {
        Line::Other => Ok(None),
        Line::Token(token) => Ok(Some(token)),
        Line::Malformed => Err(InvalidErrorKind::Malformed),
        Line::Joined => Err(InvalidErrorKind::Repeated),
    }
}

/// Whether a line has something for us, good or bad.
pub(super) fn is_present(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(header::AUTHORIZATION).iter();
    lines.any(|line| read(line.as_bytes()) != Line::Other)
}

/// A scheme is a token, with a space after it (RFC 9110 section 11.4). What is another scheme is
/// not ours. What is none, whatever stands where the space should be, could be ours to some other
/// reader, and is not passed over.
fn read(line: &[u8]) -> Line<'_> {
    let line = line.trim_ascii();
    let end = line.iter().position(|byte| !is_token_byte(*byte));
    let (scheme, rest) = line.split_at(end.unwrap_or(line.len()));
    if scheme.is_empty() {
        return if line.is_empty() {
            Line::Other
        } else {
            Line::Malformed
        };
    }
    if scheme.eq_ignore_ascii_case(SCHEME) {
        return match rest.split_first() {
            Some((b' ', rest)) => token68(rest).map_or(Line::Malformed, Line::Token),
            _ => Line::Malformed,
        };
    }
    let is_legible = rest.first().is_none_or(u8::is_ascii);
    if !is_legible || (rest.is_empty() && is_like_a_token(scheme)) {
        return Line::Malformed;
    }
    if rest
        .split(|byte| *byte == b',')
        .skip(1)
        .any(begins_with_scheme)
    {
        return Line::Joined;
    }
    Line::Other
}

const SCHEME: &[u8] = b"bearer";

fn begins_with_scheme(element: &[u8]) -> bool {
    let element = element.trim_ascii_start();
    element
        .split_at_checked(SCHEME.len())
        .is_some_and(|(scheme, rest)| {
            scheme.eq_ignore_ascii_case(SCHEME) && rest.first().is_none_or(u8::is_ascii_whitespace)
        })
}

/// `tchar` of RFC 9110 section 5.6.2.
pub(super) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Whether it looks like a JWT in compact form: three parts, the first of which is the base64url
/// of what begins with `{`.
pub(super) fn is_like_a_token(text: &[u8]) -> bool {
    text.starts_with(b"e") && text.split(|byte| *byte == b'.').count() == 3
}

/// `b64token` of RFC 6750 section 2.1, after the spaces.
fn token68(text: &[u8]) -> Option<&str> {
    let spaces = text.iter().take_while(|byte| **byte == b' ').count();
    let text = &text[spaces..];
    let padding = text.iter().rev().take_while(|byte| **byte == b'=').count();
    let body = &text[..text.len() - padding];
    let is_fit = |byte: u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/')
    };
    // To the end whatever is found: so it is done for many bytes at once.
    let fits = !body.is_empty() && body.iter().fold(true, |fit, byte| fit & is_fit(*byte));
    std::str::from_utf8(text).ok().filter(|_| fits)
}
