//! A [`Jwt`](tower_user_scope::jwt::Jwt) without a crypto provider is an error of `build()`, and
//! never a panic while a request waits.
//!
//! Each other binary is compiled with a provider, and a provider that is compiled in can't be left
//! out at run time. `.ci/no-provider` compiles this one without.
#![cfg(not(any(feature = "aws-lc-rs", feature = "rust-crypto")))]

use tower_user_scope::{
    ConfigError, UserScopeLayer,
    jwt::{Algorithm, Jwt, Key, TokenConfigError},
};

#[test]
fn a_jwt_without_a_crypto_provider_is_an_error_of_build() {
    let key = Key::hmac(Algorithm::HS256, b"5bLk0ukr1SgGyg4oJxSLHk9ooSPN7DdJ").expect("a key");
    let layer = UserScopeLayer::builder()
        .strategy(Jwt::new(key).issuer("https://id.example").audience("api"))
        .context_only()
        .build();
    assert!(matches!(
        layer.map(|_| "a layer"),
        Err(ConfigError::Token(TokenConfigError::NoCryptoProvider))
    ));
}
