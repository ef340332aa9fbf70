//! Parses the cookies of a request, for strategies whose credential is in one.
//!
//! Knows nothing of what a cookie contains.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, header, request::Parts};

/// Calls `visit` with the name and the value of each cookie in all `Cookie` lines (HTTP/2 may split
/// them, RFC 9113 section 8.2.3), not decoded; the value is `None` if there is no `=`.
///
/// Malformed cookies are visited too: one with the wanted name is a credential that can't be read. A
/// byte that is not ASCII becomes U+FFFD, which no id, token or wanted name contains, so that it
/// can't hide the other cookies of its line.
#[inline]
pub(crate) fn try_for_each<'h, E>(
    headers: &'h HeaderMap,
    mut visit: impl FnMut(&str, Option<Cow<'h, str>>) -> Result<(), E>,
) -> Result<(), E> {
    for line in headers.get_all(header::COOKIE) {
        // As `HeaderValue::to_str`, which looks at one byte at a time.
        let ascii = line.as_bytes().is_ascii();
        if let (true, Ok(ascii)) = (ascii, std::str::from_utf8(line.as_bytes())) {
            for_each_pair(ascii, |name, value| visit(name, value.map(Cow::Borrowed)))?;
            continue;
        }
        let text: String = line
            .as_bytes()
            .iter()
            .map(|byte| ascii_or_replacement(*byte))
            .collect();
        for_each_pair(&text, |name, value| {
            visit(name, value.map(|value| Cow::Owned(value.to_owned())))
        })?;
    }
    Ok(())
}

fn for_each_pair<'l, E>(
    line: &'l str,
    mut visit: impl FnMut(&'l str, Option<&'l str>) -> Result<(), E>,
) -> Result<(), E> {
    let mut rest = Some(line);
    while let Some(pairs) = rest {
        let (pair, after) = split_at(b';', pairs);
        let (name, value) = split_at(b'=', pair);
        // A header's only white space is the space and the tab.
        visit(name.trim_ascii(), value.map(str::trim_ascii))?;
        rest = after;
    }
    Ok(())
}

/// Splits a text at the first such byte. Most of what a foreign cookie costs is this search.
fn split_at(separator: u8, text: &str) -> (&str, Option<&str>) {
    match memchr::memchr(separator, text.as_bytes()) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}

/// Whether other software may treat `name` as `ours`: equal, or equal once trimmed, unquoted, decoded
/// or compared without case.
///
/// Callers accept an equal name only and refuse the others: browsers don't protect them by a prefix
/// of the name (RFC 6265bis section 4.1.3), so an attacker may have set them.
pub(super) fn is_alike(name: &str, ours: &str) -> bool {
    // Nothing that is done to a name makes it longer.
    if name.len() < ours.len() {
        return false;
    }
    let is_ignored = |c| matches!(c, char::REPLACEMENT_CHARACTER | ' ' | '\t' | '"');
    let bare = name.trim_matches(is_ignored);
    bare.eq_ignore_ascii_case(ours)
        || (bare.len() > ours.len()
            && bare.contains('%')
            && percent_decoded(bare).eq_ignore_ascii_case(ours.as_bytes()))
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = after.get(..2).filter(|_| *first == b'%');
        let escaped = escaped.and_then(|digits| std::str::from_utf8(digits).ok());
        if let Some(byte) = escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            decoded.push(byte);
            rest = &after[2..];
        } else {
            decoded.push(*first);
            rest = after;
        }
    }
    decoded
}

/// Replaces a byte that is not ASCII. Decoded, it could be white space that a parser trims and a
/// browser does not, so that the cookie would pass for one with a protected prefix.
fn ascii_or_replacement(byte: u8) -> char {
    if byte.is_ascii() {
        char::from(byte)
    } else {
        char::REPLACEMENT_CHARACTER
    }
}

/// Marks all values of a header as sensitive, so that `Debug` does not show them.
pub(crate) fn mark_sensitive(head: &mut Parts, name: &HeaderName) {
    // `entry` looks up twice and may allocate.
    for (sent, line) in &mut head.headers {
        if sent == name {
            line.set_sensitive(true);
        }
    }
}
