//! The token strategy.

use http::{Request, header::AUTHORIZATION};
use tower_layer::Layer;
use tower_user_scope::{
    UserScopeLayer,
    jwt::{HasAudience, HasIssuer, Jwt, KeySet},
    strategy::Strategy,
};

use crate::{
    case::Case,
    inner::Inner,
    ours::make,
    requests,
    tokens::{AUDIENCE, Claims, ISSUER, Kind},
};

/// A strategy that remembers what it verified.
#[must_use]
pub fn jwt(kind: Kind) -> Jwt<HasIssuer, HasAudience> {
    let material = kind.material();
    let keys = match kind {
        // As a JWK set can't say it: the secret of a set has to be as long as its hash.
        Kind::Hs256 => tower_user_scope::jwt::Key::hmac(
            tower_user_scope::jwt::Algorithm::HS256,
            material.secret,
        )
        .map(|key| key.with_id(crate::tokens::KEY_ID))
        .and_then(|key| KeySet::new([key])),
        _ => KeySet::from_jwks(&material.jwk_set),
    };
    Jwt::new(keys)
        .issuer(ISSUER)
        .audience(AUDIENCE)
        .claims::<Claims>()
}

/// The strategy, for the lists.
pub fn strategy() -> impl Strategy {
    jwt(Kind::Hs256)
}

/// A request of which it knows the user.
#[must_use]
pub fn request() -> Request<()> {
    requests::with_header(
        AUTHORIZATION,
        &format!("Bearer {}", Kind::Hs256.material().token),
    )
}

fn case(jwt: Jwt<HasIssuer, HasAudience>, kind: Kind) -> Case {
    let layer = UserScopeLayer::builder()
        .strategy(jwt)
        .factory(make)
        .build()
        .expect("a valid layer");
    Case::new(
        layer.layer(Inner::<()>::new()),
        requests::same(kind.request()),
    )
}

/// A token of this kind verified for each request: a miss of the cache.
#[must_use]
pub fn verified(kind: Kind) -> Option<Case> {
    Some(case(jwt(kind).without_cache(), kind))
}

/// A token of this kind that was verified before: a hit of the cache.
#[must_use]
pub fn cached(kind: Kind) -> Option<Case> {
    Some(case(jwt(kind), kind))
}
