//! Which headers a request has, roughly: who wants none of them need not look.
//!
//! A bit for each header, found from its name; several names share one. So a set may seem to have
//! a header that it has not, and never the other way.

use http::{HeaderMap, HeaderName};

/// Some headers, by their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HeaderSet(u64);

impl HeaderSet {
    pub(crate) const NONE: Self = Self(0);
    /// Of who looks at more than headers.
    pub(crate) const ANYTHING: Self = Self(u64::MAX);
    /// The field that announces trailers.
    pub(crate) const TRAILER: Self = Self(bit(b"trailer"));

    /// What was sent. Never nothing, so that it meets `ANYTHING`.
    pub(crate) fn sent(headers: &HeaderMap) -> Self {
        headers.keys().fold(Self(1), Self::and)
    }

    /// The set with one more in it.
    #[inline]
    #[must_use]
    pub(crate) fn and(self, name: &HeaderName) -> Self {
        Self(self.0 | bit(name.as_str().as_bytes()))
    }

    /// Whether the header may be in it.
    #[inline]
    pub(crate) fn may_have(self, name: &HeaderName) -> bool {
        self.0 & bit(name.as_str().as_bytes()) != 0
    }

    /// Whether something may be in both.
    #[inline]
    pub(crate) fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// The same for all names that a CGI-style upstream would take for one another: they differ in
/// what is no letter and no digit.
#[inline]
const fn bit(name: &[u8]) -> u64 {
    let mix = folded(name.first()) * 2 + folded(name.last()) * 31 + name.len() * 3;
    1 << (mix % 64)
}

#[inline]
const fn folded(byte: Option<&u8>) -> usize {
    match byte {
        Some(byte) => FOLDED[*byte as usize] as usize,
        None => 0,
    }
}

/// Whether a CGI-style upstream would take the two names for one: it makes everything that is
/// no letter and no digit an underscore (RFC 3875 section 4.1.18, and Apache's `http2env`).
#[inline]
pub(crate) fn fold_alike(ours: &[u8], sent: &[u8]) -> bool {
    let mut pairs = ours.iter().zip(sent);
    ours.len() == sent.len() && pairs.all(|(a, b)| folded(Some(a)) == folded(Some(b)))
}

/// What is no letter and no digit is all the same.
const FOLDED: [u8; 256] = {
    let mut folded = [b'_'; 256];
    let mut byte = 0;
    while byte < 128_u8 {
        if byte.is_ascii_alphanumeric() {
            folded[byte as usize] = byte;
        }
        byte += 1;
    }
    folded
};

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::HeaderSet;

    fn name(text: &str) -> HeaderName {
        HeaderName::try_from(text).expect("a header name")
    }

    fn sent<'a>(names: impl IntoIterator<Item = &'a str>) -> HeaderSet {
        let mut headers = HeaderMap::new();
        for text in names {
            headers.append(name(text), HeaderValue::from_static("x"));
        }
        HeaderSet::sent(&headers)
    }

    proptest! {
        #[test]
        fn whatever_was_sent_is_in_the_set(
            names in proptest::collection::vec("[a-z0-9_.~-]{1,20}", 1..30),
            which in any::<prop::sample::Index>(),
        ) {
            let wanted = HeaderSet::NONE.and(&name(which.get(&names).as_str()));
            prop_assert!(wanted.meets(sent(names.iter().map(String::as_str))));
        }

        #[test]
        fn a_name_that_folds_into_another_is_in_its_place(
            ours in "[a-z0-9_.~-]{1,20}",
            instead in "[_.~-]{20}",
        ) {
            let folded = |(c, other): (char, char)| if c.is_ascii_alphanumeric() { c } else { other };
            let sent_as: String = ours.chars().zip(instead.chars()).map(folded).collect();
            let wanted = HeaderSet::NONE.and(&name(&ours));
            prop_assert!(wanted.meets(sent([sent_as.as_str()])), "{sent_as}");
        }
    }

    #[test]
    fn who_looks_at_more_than_headers_is_asked_about_a_request_without_any() {
        assert!(HeaderSet::ANYTHING.meets(sent([])));
        assert!(!HeaderSet::NONE.and(&name("cookie")).meets(sent([])));
    }

    #[test]
    fn credentials_are_not_taken_for_what_every_client_sends() {
        let usual = sent([
            "host",
            "user-agent",
            "accept",
            "accept-encoding",
            "accept-language",
            "connection",
            "content-length",
            "content-type",
        ]);
        for credential in ["authorization", "cookie", "x-api-key", "x-user-id"] {
            let wanted = HeaderSet::NONE.and(&name(credential));
            assert!(!wanted.meets(usual), "{credential}");
        }
    }
}
