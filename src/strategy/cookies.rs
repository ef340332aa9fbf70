//! The cookies of a request, for every strategy whose credential is in one.

use std::borrow::Cow;

use cookie::Cookie;
use http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts};

/// All cookies of all `Cookie` lines (HTTP/2 may split them, RFC 9113 section 8.2.3).
///
/// Bytes that are not ASCII are replaced and not skipped: another cookie's can't hide ours, and
/// no id, token or name that is looked for has the replacement in it.
pub(super) fn cookies(headers: &HeaderMap) -> impl Iterator<Item = Cookie<'_>> {
    let lines = headers.get_all(header::COOKIE).iter();
    lines.flat_map(of_line)
}

/// The cookies of one `Cookie` line, as [`cookies`] has them.
#[inline]
pub(super) fn of_line(line: &HeaderValue) -> impl Iterator<Item = Cookie<'_>> {
    let text = match line.to_str() {
        Ok(ascii) => Cow::Borrowed(ascii),
        Err(_) => line.as_bytes().iter().map(|byte| legible(*byte)).collect(),
    };
    Cookie::split_parse(text).filter_map(Result::ok)
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
pub(super) fn keep_out_of_debug(head: &mut Parts, name: HeaderName) {
    // An entry makes room for a header that is not there.
    if !head.headers.contains_key(&name) {
        return;
    }
    if let header::Entry::Occupied(mut lines) = head.headers.entry(name) {
        for line in lines.iter_mut() {
            line.set_sensitive(true);
        }
    }
}
