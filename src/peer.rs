//! The address at the other end of the connection, as the server in front says it.

use std::net::{IpAddr, SocketAddr};

use http::{Extensions, HeaderName, header, request::Parts};

use crate::integration;

/// The peer's address, put into the request's extensions by a server that knows it.
///
/// axum's `ConnectInfo` and tonic's `TcpConnectInfo` are understood without it. A plain hyper
/// server inserts one for each connection:
///
/// ```
/// use std::net::SocketAddr;
/// use tower_user_scope::PeerAddr;
///
/// # let remote: SocketAddr = "10.0.0.7:4711".parse()?;
/// # let mut request = http::Request::new(());
/// request.extensions_mut().insert(PeerAddr(remote));
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerAddr(pub SocketAddr);

/// Where no server said it there is no address, and what asks for one is untrusted.
pub(crate) fn peer_ip(extensions: &Extensions) -> Option<IpAddr> {
    let address = match extensions.get::<PeerAddr>() {
        Some(PeerAddr(address)) => Some(*address),
        None => integration::peer_addr(extensions),
    };
    // An IPv4 peer of a dual-stack listener comes as `::ffff:10.0.0.1`.
    address.map(|address| address.ip().to_canonical())
}

const FORWARDED: [HeaderName; 4] = [
    header::FORWARDED,
    header::VIA,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-real-ip"),
];

/// Whether a request comes from this very machine: its peer is a loopback address, and it
/// carries no sign (`Forwarded`, `Via`, `X-Forwarded-For`, `X-Real-IP`) that a proxy on this
/// machine passed it on for somebody else.
///
/// A proxy that adds none of them makes its clients look local: don't rely on this behind one.
#[must_use]
pub fn is_loopback(head: &Parts) -> bool {
    peer_ip(&head.extensions).is_some_and(|ip| ip.is_loopback())
        && !FORWARDED.iter().any(|name| head.headers.contains_key(name))
}
