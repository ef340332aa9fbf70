//! The cookies of a request, for every strategy whose credential is in one.

use std::borrow::Cow;

use cookie::Cookie;
use http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts};

/// Shows `visit` all cookies of all `Cookie` lines (HTTP/2 may split them, RFC 9113 section 8.2.3).
///
/// Bytes that are not ASCII are replaced and not skipped: another cookie's can't hide ours, and
/// no id, token or name that is looked for has the replacement in it.
///
/// They are shown and not moved: a cookie is large.
#[inline]
pub(crate) fn try_for_each<'h, E>(
    headers: &'h HeaderMap,
    mut visit: impl FnMut(&Cookie<'h>) -> Result<(), E>,
) -> Result<(), E> {
    for line in headers.get_all(header::COOKIE) {
        for cookie in Cookie::split_parse(text(line)) {
            if let Ok(cookie) = &cookie {
                visit(cookie)?;
            }
        }
    }
    Ok(())
}

#[inline]
fn text(line: &HeaderValue) -> Cow<'_, str> {
    match line.to_str() {
        Ok(ascii) => Cow::Borrowed(ascii),
        Err(_) => line.as_bytes().iter().map(|byte| legible(*byte)).collect(),
    }
}

/// What is no ASCII is no letter either: decoded it could be white space, which a parser takes off
/// a name and no browser knows, so that anybody's cookie could pass for one with a prefix.
fn legible(byte: u8) -> char {
    if byte.is_ascii() {
        char::from(byte)
    } else {
        char::REPLACEMENT_CHARACTER
    }
}

/// Keeps a credential out of what the inner service may print of the headers.
pub(crate) fn keep_out_of_debug(head: &mut Parts, name: &HeaderName) {
    // Quicker than the two look-ups that an entry takes, which makes room where there is none.
    for (sent, line) in &mut head.headers {
        if sent == name {
            line.set_sensitive(true);
        }
    }
}
