//! `Authorization: <scheme> <token>` (RFC 9110 section 11.6.2), such as `Bearer` (RFC 6750 section 2.1).

use http::{HeaderMap, header};

use crate::strategy::InvalidErrorKind;

/// One `Authorization` line, as seen by one scheme.
#[derive(Debug, PartialEq, Eq)]
enum Line<'h> {
    /// Another scheme's credentials, or nothing.
    Other,
    Token(&'h str),
    /// Malformed credentials of the scheme, or credentials whose scheme can't be read.
    Malformed,
    /// The scheme after another scheme's credentials: a proxy may have joined two lines.
    Joined,
}

/// Returns the token of this scheme; `None` if the request has none.
pub(super) fn token<'h>(
    headers: &'h HeaderMap,
    scheme: &str,
) -> Result<Option<&'h str>, InvalidErrorKind> {
    let mut lines = headers.get_all(header::AUTHORIZATION).iter();
    let Some(first) = lines.next() else {
        return Ok(None);
    };
    if lines.next().is_some() {
        // `Authorization` is not a list field, and a proxy may have checked either of the two: they
        // are refused if one of them has the scheme.
        return if is_present(headers, scheme) {
            Err(InvalidErrorKind::Repeated)
        } else {
            Ok(None)
        };
    }
    match read(first.as_bytes(), scheme.as_bytes()) {
        Line::Other => Ok(None),
        Line::Token(token) => Ok(Some(token)),
        Line::Malformed => Err(InvalidErrorKind::Malformed),
        Line::Joined => Err(InvalidErrorKind::Repeated),
    }
}

/// Whether there are credentials of this scheme, good or bad.
pub(super) fn is_present(headers: &HeaderMap, scheme: &str) -> bool {
    let mut lines = headers.get_all(header::AUTHORIZATION).iter();
    lines.any(|line| read(line.as_bytes(), scheme.as_bytes()) != Line::Other)
}

/// Classifies a line. A scheme is a token that a space follows (RFC 9110 section 11.4); a line
/// without a readable scheme is malformed, as another parser may read it as the wanted one.
fn read<'l>(line: &'l [u8], wanted: &[u8]) -> Line<'l> {
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
    if scheme.eq_ignore_ascii_case(wanted) {
        return match rest.split_first() {
            Some((b' ', rest)) => token68(rest).map_or(Line::Malformed, Line::Token),
            _ => Line::Malformed,
        };
    }
    let is_ascii = rest.first().is_none_or(u8::is_ascii);
    if !is_ascii || (rest.is_empty() && is_token_alone(scheme)) {
        return Line::Malformed;
    }
    if rest
        .split(|byte| *byte == b',')
        .skip(1)
        .any(|element| begins_with(element, wanted))
    {
        return Line::Joined;
    }
    Line::Other
}

fn begins_with(element: &[u8], wanted: &[u8]) -> bool {
    let element = element.trim_ascii_start();
    element
        .split_at_checked(wanted.len())
        .is_some_and(|(scheme, rest)| {
            scheme.eq_ignore_ascii_case(wanted) && rest.first().is_none_or(u8::is_ascii_whitespace)
        })
}

/// Whether a byte is a `tchar` (RFC 9110 section 5.6.2).
pub(super) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Whether a word is rather a token without a scheme than a scheme without credentials. The longest
/// registered schemes have 13 bytes, that of AWS has 16.
fn is_token_alone(word: &[u8]) -> bool {
    word.len() > 32 || looks_like_jwt(word)
}

/// Whether a text looks like a JWT in compact form: three parts, and a first byte `e`, the base64url
/// of `{`.
pub(crate) fn looks_like_jwt(text: &[u8]) -> bool {
    text.starts_with(b"e") && text.split(|byte| *byte == b'.').count() == 3
}

/// Returns the `b64token` (RFC 6750 section 2.1) after the spaces.
fn token68(text: &[u8]) -> Option<&str> {
    let spaces = text.iter().take_while(|byte| **byte == b' ').count();
    let text = &text[spaces..];
    let padding = text.iter().rev().take_while(|byte| **byte == b'=').count();
    let body = &text[..text.len() - padding];
    let is_allowed = |byte: u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/')
    };
    // No early exit, so that the compiler vectorizes the loop.
    let fits = !body.is_empty() && body.iter().fold(true, |fit, byte| fit & is_allowed(*byte));
    std::str::from_utf8(text).ok().filter(|_| fits)
}
