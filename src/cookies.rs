//! The cookies of a request, for every strategy whose credential is in one.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, header, request::Parts};

/// Shows `visit` the name and the value of all cookies of all `Cookie` lines (HTTP/2 may split
/// them, RFC 9113 section 8.2.3), as they are on the wire; the value is `None` where there is no
/// `=`.
///
/// Bytes that are not ASCII are replaced and not skipped: another cookie's can't hide ours, and
/// no id, token or name that is looked for has the replacement in it. Nor is a cookie skipped that
/// a parser would not take: one of our name is a credential that can't be read.
#[inline]
pub(crate) fn try_for_each<'h, E>(
    headers: &'h HeaderMap,
    mut visit: impl FnMut(&str, Option<Cow<'h, str>>) -> Result<(), E>,
) -> Result<(), E> {
    for line in headers.get_all(header::COOKIE) {
        if let Ok(ascii) = line.to_str() {
            each(ascii, |name, value| visit(name, value.map(Cow::Borrowed)))?;
            continue;
        }
        let text: String = line.as_bytes().iter().map(|byte| legible(*byte)).collect();
        each(&text, |name, value| {
            visit(name, value.map(|value| Cow::Owned(value.to_owned())))
        })?;
    }
    Ok(())
}

fn each<'l, E>(
    line: &'l str,
    mut visit: impl FnMut(&'l str, Option<&'l str>) -> Result<(), E>,
) -> Result<(), E> {
    const SPACE: [char; 2] = [' ', '\t'];
    for pair in line.split(';') {
        let (name, value) = match pair.split_once('=') {
            Some((name, value)) => (name, Some(value.trim_matches(SPACE))),
            None => (pair, None),
        };
        visit(name.trim_matches(SPACE), value)?;
    }
    Ok(())
}

/// Whether other software would take `name` for `ours`: it is the same, or would be if it were
/// trimmed, unquoted, decoded or folded to one case.
///
/// Only the same is ours. The others are those that no browser protects by a prefix of the name
/// (RFC 6265bis section 4.1.3): who sends one hopes that some reader takes it.
pub(super) fn is_alike(name: &str, ours: &str) -> bool {
    let bare = name.trim_matches([char::REPLACEMENT_CHARACTER, ' ', '\t', '"']);
    bare.eq_ignore_ascii_case(ours)
        || (bare.contains('%') && percent_decoded(bare).eq_ignore_ascii_case(ours.as_bytes()))
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
