//! Headers that no strategy may claim and remove as its own.

use http::{HeaderName, header};

/// Whether a header can't be one of an identity: removing it would break the request or remove another
/// credential.
pub(crate) fn is_reserved(name: &HeaderName) -> bool {
    RESERVED.contains(name)
}

const RESERVED: &[HeaderName] = &[
    header::AUTHORIZATION,
    header::CONNECTION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::COOKIE,
    header::HOST,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];
