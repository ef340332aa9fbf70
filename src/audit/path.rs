//! Formats a request's path and method for logs.

use std::{borrow::Cow, fmt::Write};

use http::Method;

const MAX_PATH_LEN: usize = 256;
const MAX_METHOD_LEN: usize = 32;
const ELLIPSIS: &str = "...";

/// Returns the path in visible ASCII, other bytes percent-encoded, truncated to 256 bytes. Clients
/// choose it, and control characters could rewrite a line on a terminal.
pub(crate) fn loggable(path: &str) -> Cow<'_, str> {
    if path.len() <= MAX_PATH_LEN && path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Cow::Borrowed(path);
    }
    let mut text = String::with_capacity(MAX_PATH_LEN);
    for byte in path.bytes() {
        let len = if byte.is_ascii_graphic() { 1 } else { 3 };
        if text.len() + len + ELLIPSIS.len() > MAX_PATH_LEN {
            text.push_str(ELLIPSIS);
            break;
        }
        if byte.is_ascii_graphic() {
            text.push(char::from(byte));
        } else {
            // Writing to a string can't fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    Cow::Owned(text)
}

/// Returns the method, an arbitrary ASCII token, truncated to 32 bytes.
pub(super) fn method(method: &Method) -> &str {
    let name = method.as_str();
    name.get(..MAX_METHOD_LEN).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_bounded_and_visible_ascii() {
        let plain = format!("/{}", "a".repeat(255));
        let long = format!("/{}", "a".repeat(256));
        let wide = "\u{202e}".repeat(100);
        for (path, logged) in [
            ("/admin", "/admin"),
            ("/a%20b\"{}", "/a%20b\"{}"),
            ("/\u{202e}x", "/%E2%80%AEx"),
            ("/\u{7f}\u{9b}31m", "/%7F%C2%9B31m"),
            ("", ""),
            (&plain, &plain),
            (&long, &format!("/{}...", "a".repeat(252))),
            (&wide, &format!("{}...", "%E2%80%AE".repeat(28))),
        ] {
            let got = loggable(path);
            assert!(got.len() <= MAX_PATH_LEN, "{path}");
            assert_eq!(got, logged);
        }
        let word = Method::from_bytes(&[b'X'; 99]).expect("a token");
        assert_eq!(method(&word).len(), 32);
    }
}
