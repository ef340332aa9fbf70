//! What axum and tonic put into the extensions of a request.

use std::net::SocketAddr;

#[cfg(any(feature = "api-keys", feature = "jwt"))]
use http::Uri;
use http::{Extensions, request::Parts};

/// Returns the peer's address from axum's `ConnectInfo` or tonic's `TcpConnectInfo`.
pub(super) fn peer_addr(extensions: &Extensions) -> Option<SocketAddr> {
    let _ = extensions;
    #[cfg(feature = "axum")]
    if let Some(axum::extract::ConnectInfo(address)) = extensions.get() {
        return Some(*address);
    }
    #[cfg(feature = "tonic")]
    if let Some(info) = extensions.get::<tonic::transport::server::TcpConnectInfo>() {
        return info.remote_addr();
    }
    None
}

/// Returns the path that the client has sent. A nested router of axum removes its prefix from the URI.
pub(crate) fn original_path(head: &Parts) -> &str {
    #[cfg(feature = "axum")]
    if let Some(axum::extract::OriginalUri(uri)) = head.extensions.get() {
        return uri.path();
    }
    head.uri.path()
}

/// Returns the URI that a router of axum keeps as the client has sent it.
#[cfg(any(feature = "api-keys", feature = "jwt"))]
pub(crate) fn original_uri(extensions: &mut Extensions) -> Option<&mut Uri> {
    #[cfg(feature = "axum")]
    return extensions
        .get_mut()
        .map(|axum::extract::OriginalUri(uri)| uri);
    #[cfg(not(feature = "axum"))]
    {
        let _ = extensions;
        None
    }
}
