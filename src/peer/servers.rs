//! The peer's address in the extensions of axum and tonic.

use std::net::SocketAddr;

use http::Extensions;

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
