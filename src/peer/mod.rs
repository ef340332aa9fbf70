//! The address of the peer, from the extensions that servers set.
//!
//! Never from a header.

use std::net::{IpAddr, SocketAddr};

use http::{Extensions, HeaderName, Version, header, request::Parts, uri::Authority};

mod servers;

pub(crate) use self::servers::original_path;
#[cfg(any(feature = "api-keys", feature = "jwt"))]
pub(crate) use self::servers::original_uri;

/// The peer's address, which the server inserts into the request's extensions.
///
/// With the features `axum` and `tonic`, their `ConnectInfo` and `TcpConnectInfo` are read too. A
/// server on hyper inserts a `PeerAddr` for each connection:
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

/// Returns the peer's address. Callers treat a request without one as untrusted.
#[inline]
pub(crate) fn peer_ip(extensions: &Extensions) -> Option<IpAddr> {
    match extensions.get::<PeerAddr>() {
        Some(PeerAddr(address)) => Some(canonical_ip(address)),
        None => servers::peer_addr(extensions).map(|address| canonical_ip(&address)),
    }
}

/// Returns an IPv4 address for an IPv4-mapped one, as dual-stack listeners have for IPv4 peers.
#[inline]
fn canonical_ip(address: &SocketAddr) -> IpAddr {
    match address {
        SocketAddr::V4(v4) => IpAddr::V4(*v4.ip()),
        SocketAddr::V6(v6) => v6.ip().to_canonical(),
    }
}

const FORWARDING: [HeaderName; 7] = [
    header::FORWARDED,
    header::VIA,
    HeaderName::from_static("cf-connecting-ip"),
    HeaderName::from_static("client-ip"),
    HeaderName::from_static("true-client-ip"),
    HeaderName::from_static("x-client-ip"),
    HeaderName::from_static("x-real-ip"),
];

/// Whether a proxy adds this header: one of [`FORWARDING`], or `X-Forwarded-*`.
fn is_forwarding_header(name: &HeaderName) -> bool {
    let text = name.as_str();
    FORWARDING.contains(name) || text.starts_with("x-forwarded") || text.starts_with("x_forwarded")
}

/// Whether a host (RFC 3986 section 3.2.2) is `localhost` or a loopback address.
pub(crate) fn is_loopback_host(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Returns whether a request seems to come from this machine: its peer is a loopback address, and
/// nothing shows that a proxy on this machine forwarded it.
///
/// A proxy is shown by any of `Forwarded`, `Via`, `X-Forwarded-*`, `X-Real-IP` and the like, and
/// HTTP/1.0, which nginx's `proxy_pass` speaks by default before its release 1.29.7 and browsers
/// don't.
///
/// # Security
///
/// **Don't use this where a proxy, a tunnel or a port forward on the same machine can reach the
/// service.** The peer is then the proxy, so every client has a loopback address. A
/// proxy that speaks HTTP/1.1 and adds no header, as nginx does with `proxy_http_version 1.1` and
/// nothing else, can't be told from a local client: not by the `Host` either, in which nginx sends
/// the address that it connects to, such as `127.0.0.1:3000`. For a job on the same machine, give
/// it a credential of its own, such as a [`TrustedHeader`](crate::TrustedHeader) with a
/// `shared_secret`, or serve it on a listener that no proxy connects to.
///
/// It does not protect from requests that another site makes a browser on this machine send.
#[must_use]
pub fn is_loopback(head: &Parts) -> bool {
    peer_ip(&head.extensions).is_some_and(|ip| ip.is_loopback())
        && head.version > Version::HTTP_10
        && !head.headers.keys().any(is_forwarding_header)
}

/// Whether `Host`, `Origin` and `Sec-Fetch-Site` are those of this machine. They are not in a request
/// that a page of another site makes a browser send, DNS rebinding included.
pub(crate) fn is_meant_for_loopback(head: &Parts) -> bool {
    let is_local = |authority: &str| {
        let authority = authority.parse::<Authority>();
        authority.is_ok_and(|authority| is_loopback_host(authority.host()))
    };
    let all = |name: HeaderName, holds: &dyn Fn(&str) -> bool| {
        let mut values = head.headers.get_all(name).iter();
        values.all(|value| value.to_str().is_ok_and(holds))
    };
    head.uri
        .authority()
        .is_none_or(|named| is_local(named.as_str()))
        && all(header::HOST, &is_local)
        && all(header::ORIGIN, &|origin| {
            origin
                .split_once("://")
                .is_some_and(|(_, host)| is_local(host))
        })
        && all(HeaderName::from_static("sec-fetch-site"), &|site| {
            matches!(site, "same-origin" | "none")
        })
}
