//! The servers' own words: what each calls a peer, an extractor, a status.
//!
//! The core asks here for the peer's address and knows no server otherwise.

use std::net::SocketAddr;

use http::Extensions;

#[cfg(feature = "axum")]
mod axum;
#[cfg(feature = "tonic")]
mod tonic;

#[cfg(feature = "axum")]
pub use self::axum::ScopeRejection;

/// The peer's address as a server that is known by feature put it into the extensions.
pub(crate) fn peer_addr(extensions: &Extensions) -> Option<SocketAddr> {
    let _ = extensions;
    #[cfg(feature = "axum")]
    if let Some(address) = axum::peer_addr(extensions) {
        return Some(address);
    }
    #[cfg(feature = "tonic")]
    if let Some(address) = tonic::peer_addr(extensions) {
        return Some(address);
    }
    None
}
