//! The requests: a few headers that every client sends, the peer's address as a server puts it
//! there, and one credential.

use std::net::SocketAddr;

use http::{HeaderName, HeaderValue, Request};
use tower_user_scope::PeerAddr;

/// The header of the proxy in front.
pub const USER: HeaderName = HeaderName::from_static("x-user-id");

/// A request without any credential.
#[must_use]
pub fn bare() -> Request<()> {
    let mut request = Request::new(());
    for (name, value) in [
        ("host", "example.com"),
        ("user-agent", "bench/1"),
        ("accept", "*/*"),
    ] {
        let value = HeaderValue::from_static(value);
        request.headers_mut().insert(name, value);
    }
    request
        .extensions_mut()
        .insert(PeerAddr(SocketAddr::from(([10, 0, 0, 1], 4711))));
    request
}

/// A request with one more header.
///
/// # Panics
/// Where the value is none.
#[must_use]
pub fn with_header(name: HeaderName, value: &str) -> Request<()> {
    let mut request = bare();
    let value = HeaderValue::from_str(value).expect("a header value");
    request.headers_mut().insert(name, value);
    request
}

/// A request with the proxy's header.
#[must_use]
pub fn with_user() -> Request<()> {
    with_header(USER, "alice")
}

/// The same request each time.
pub fn same(template: Request<()>) -> impl FnMut() -> Request<()> {
    move || template.clone()
}

/// Requests of so many users in turn, in an order that no cache guesses.
pub fn of_users(users: u32) -> impl FnMut() -> Request<()> {
    let template = bare();
    let mut turn = 0_u32;
    move || {
        turn = turn.wrapping_add(1);
        let user = turn.wrapping_mul(2_654_435_761) % users;
        let mut request = template.clone();
        if let Ok(value) = HeaderValue::try_from(format!("user-{user:07}")) {
            request.headers_mut().insert(USER, value);
        }
        request
    }
}
