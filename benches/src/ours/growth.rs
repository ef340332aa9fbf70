//! The layer with one thing more and more of: headers, cookies, networks, keys, strategies, issuers.
//!
//! Each thing but a header has nothing to do with the request, so what it costs is what it costs to
//! find that out.

use http::{HeaderName, HeaderValue, Request, header::COOKIE};
use tower_layer::Layer;
use tower_user_scope::{
    CredentialSource, Outcome, TrustedHeader, UserScopeLayer, from_fn,
    jwt::{Algorithm, Issuer, Jwt, Key, KeySet},
    strategy::Strategy,
};

use crate::{
    case::Case,
    counting::held,
    inner::Inner,
    ours::{header, make, session},
    requests::{USER, same, with_header, with_user},
    tokens::{AUDIENCE, ISSUER, KEY_ID, Kind},
};

fn case(strategy: impl Strategy + 'static, request: Request<()>) -> Case {
    let layer = UserScopeLayer::builder()
        .strategy(strategy)
        .factory(make)
        .build()
        .expect("a valid layer");
    Case::new(layer.layer(Inner::<()>::new()), same(request))
}

fn name(prefix: &str, number: usize) -> HeaderName {
    format!("{prefix}-{number}").parse().expect("a header name")
}

fn with_headers(headers: usize) -> Request<()> {
    let mut request = with_user();
    for number in 0..headers {
        let value = HeaderValue::from_static("a value");
        request
            .headers_mut()
            .insert(name("x-foreign", number), value);
    }
    request
}

/// A request with so many headers more, without the layer.
#[must_use]
pub fn headers_without_layer(headers: usize) -> Case {
    Case::new(Inner::<()>::new(), same(with_headers(headers)))
}

/// The header strategy, and so many headers more.
#[must_use]
pub fn headers(headers: usize) -> Case {
    case(header(), with_headers(headers))
}

/// The session strategy, and so many cookies of others before its own.
#[must_use]
pub fn cookies(foreign: usize) -> Case {
    let others: String = (0..foreign)
        .map(|number| format!("_ga_{number}=GA1.2.1234567890.1700000000; "))
        .collect();
    let own = session::request();
    let own = own.headers()[COOKIE].to_str().expect("ASCII");
    case(session::strategy(), with_header(COOKIE, &(others + own)))
}

/// The header strategy with so many trusted networks, none of which is next to another.
///
/// # Panics
/// Where there are more than 32,768.
#[must_use]
pub fn networks(networks: usize) -> Case {
    let others =
        (1..networks).map(|number| format!("11.{}.{}.0/24", number / 128, number % 128 * 2));
    let all = others.chain(["10.0.0.0/8".to_owned()]);
    let strategy = TrustedHeader::new(USER).from_proxies(all);
    case(strategy.expect("networks"), with_user())
}

fn key(secret: &str, id: &str) -> Key {
    let key = Key::hmac(Algorithm::HS256, secret).expect("a secret");
    key.with_id(id)
}

fn own_key() -> Key {
    key(Kind::Hs256.material().secret, KEY_ID)
}

/// A token that is verified with the last of so many keys.
///
/// # Panics
/// Where a set can't have so many.
#[must_use]
pub fn keys(keys: usize) -> Case {
    let others = (1..keys).map(|number| {
        let secret = format!("another secret of more than thirty-two bytes, {number}");
        key(&secret, &format!("key-of-another-{number}"))
    });
    let set = KeySet::new(others.chain([own_key()])).expect("keys");
    let jwt = Jwt::new(set).issuer(ISSUER).audience(AUDIENCE);
    case(jwt.without_cache(), Kind::Hs256.request())
}

/// A token of one of so many issuers.
///
/// # Panics
/// Where there can't be so many.
#[must_use]
pub fn issuers(issuers: usize) -> Case {
    let set = || KeySet::new([own_key()]).expect("a key");
    let others = (1..issuers).map(|number| format!("https://id-{number}.example"));
    let all: Vec<_> = others
        .chain([ISSUER.to_owned()])
        .map(|name| Issuer::new(name, set()).audience(AUDIENCE))
        .collect();
    let jwt = Jwt::of_issuers(all).issuers_share_users();
    case(jwt.without_cache(), Kind::Hs256.request())
}

/// The header strategy after so many from configuration, each of which looks for a header that is
/// not sent.
///
/// # Panics
/// Where a list can't have so many.
#[must_use]
pub fn strategies(absent: usize) -> Case {
    let others = (0..absent).map(|number| {
        let name = name("x-absent-credential", number);
        let source = CredentialSource::only_header(name);
        from_fn(source, |_| Outcome::Absent).boxed()
    });
    let layer = UserScopeLayer::builder()
        .strategies(others)
        .strategy(header())
        .factory(make)
        .build()
        .expect("a valid layer");
    Case::new(layer.layer(Inner::<()>::new()), same(with_user()))
}

/// Returns how many bytes of the heap one of so many scopes, with its response's body, takes while
/// they are open.
#[must_use]
pub fn bytes_of_open_scope(scopes: usize) -> u64 {
    let mut open = open_scope();
    let mut all = Vec::with_capacity(scopes);
    drop(open());
    held(|| all.extend((0..scopes).map(|_| open()))) / scopes as u64
}

/// Opens a scope that lasts as long as what this returns.
fn open_scope() -> impl FnMut() -> Box<dyn Send> {
    let layer = UserScopeLayer::builder()
        .strategy(header())
        .factory(make)
        .build()
        .expect("a valid layer");
    let mut service = layer.layer(Inner::<()>::new());
    move || Box::new(crate::case::respond(&mut service, with_user()).into_body())
}
