//! Keys are bound to their algorithms, selected by their ids, and refused if they are weak.

mod forms;
mod sets;
mod weak;

use std::time::Duration;

use serde_json::{Value, json};
use tower_user_scope::{
    ConfigError,
    jwt::{Algorithm, Issuer, Jwt, Key, KeyError, TokenConfigError, TokenErrorKind},
    strategy::Strategy,
    token::TokenSource,
};

use crate::tokens::{
    ALGORITHMS, AUDIENCE, HS, ISSUER, OTHER_SECRET, SECRET, asking, claims, is_hmac, jwt, jwt_on,
    minted,
    providers::{both, each},
    public_der, public_pem, refused, verifying,
};

#[tokio::test]
async fn each_key_is_for_its_own_algorithm_only() {
    for key in ALGORITHMS {
        let asked = asking(jwt(verifying(key)));
        for token in ALGORITHMS.into_iter().filter(|token| *token != key) {
            let answer = asked.user(&minted(token, None, &claims("alice"))).await;
            assert_eq!(
                answer,
                refused(TokenErrorKind::WrongAlgorithm),
                "{token} with a key for {key}"
            );
        }
    }
}

#[tokio::test]
async fn a_key_can_be_bound_to_more_algorithms_of_its_family() {
    let key = verifying(Algorithm::RS256)
        .also_for(Algorithm::PS384)
        .expect("both are RSA");
    let asked = asking(jwt(key));
    for (algorithm, answer) in [
        (Algorithm::RS256, Ok("alice".to_owned())),
        (Algorithm::PS384, Ok("alice".to_owned())),
        (Algorithm::RS512, refused(TokenErrorKind::WrongAlgorithm)),
    ] {
        let token = minted(algorithm, None, &claims("alice"));
        assert_eq!(asked.user(&token).await, answer, "{algorithm}");
    }
    for (key, other) in [
        (Algorithm::RS256, Algorithm::ES256),
        (Algorithm::RS256, Algorithm::HS256),
        (Algorithm::HS256, Algorithm::HS512),
        (Algorithm::ES256, Algorithm::ES384),
    ] {
        let error = verifying(key)
            .also_for(other)
            .expect_err("another kind of key");
        assert_eq!(
            error,
            KeyError::OtherFamily(other),
            "{other} with a key for {key}"
        );
    }
}

#[tokio::test]
async fn a_token_without_a_key_id_means_the_only_key_for_its_algorithm() {
    let keys = || {
        [
            verifying(Algorithm::RS256).with_id("r"),
            verifying(Algorithm::ES256).with_id("e"),
        ]
    };
    let asked = asking(jwt(keys()));
    let token = minted(Algorithm::ES256, None, &claims("alice"));
    assert_eq!(asked.user(&token).await, Ok("alice".to_owned()));

    let two = asking(jwt([
        verifying(Algorithm::RS256).with_id("r1"),
        verifying(Algorithm::RS256).with_id("r2"),
    ]));
    let token = minted(Algorithm::RS256, None, &claims("alice"));
    assert_eq!(
        two.user(&token).await,
        refused(TokenErrorKind::AmbiguousKey)
    );
}

#[tokio::test]
async fn secrets_without_ids_can_be_rotated() {
    let old = Key::hmac(HS, OTHER_SECRET).expect("long enough");
    let asked = asking(jwt([old, verifying(HS)]));
    for kid in [None, Some("whatever")] {
        let token = minted(HS, kid, &claims("alice"));
        assert_eq!(
            asked.user(&token).await,
            Ok("alice".to_owned()),
            "kid {kid:?}"
        );
    }
}

#[test]
fn what_is_no_key_for_an_algorithm_is_unreadable() {
    for algorithm in ALGORITHMS.into_iter().filter(|one| !is_hmac(*one)) {
        let others = [
            Algorithm::RS256,
            Algorithm::ES256,
            Algorithm::ES384,
            Algorithm::EdDSA,
        ];
        let own = public_pem(algorithm);
        let texts = others.map(public_pem).into_iter().chain([
            "",
            "no PEM",
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        ]);
        for text in texts.filter(|text| *text != own) {
            let error = Key::from_pem(algorithm, text).map(|_| ()).expect_err(text);
            assert!(
                matches!(error, KeyError::Unreadable { .. }),
                "{algorithm}: {error:?}"
            );
        }
        assert!(Key::from_pem(HS, own).is_err(), "a public key is no secret");
    }
    assert!(
        Key::hmac(Algorithm::RS256, SECRET).is_err(),
        "a secret is no public key"
    );
}

#[tokio::test]
async fn a_key_in_der_is_the_key_in_pem() {
    for algorithm in [
        Algorithm::RS256,
        Algorithm::ES256,
        Algorithm::ES384,
        Algorithm::EdDSA,
    ] {
        let der = public_der(algorithm);
        let key = Key::from_der(algorithm, der).expect("the key is one for its algorithm");
        let token = minted(algorithm, None, &claims("alice"));
        assert_eq!(
            asking(jwt(key)).user(&token).await,
            Ok("alice".to_owned()),
            "{algorithm}"
        );
    }
}

#[test]
fn jwks_that_do_not_fit_are_refused() {
    let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    let with = |members: Value| {
        let mut jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": x});
        for (name, value) in members.as_object().expect("an object") {
            jwk[name] = value.clone();
        }
        Key::from_jwk(jwk.to_string()).map(|key| key.algorithms().to_vec())
    };
    assert_eq!(with(json!({})), Ok(vec![Algorithm::EdDSA]));
    assert_eq!(
        with(json!({"use": "sig", "key_ops": ["verify"]})),
        Ok(vec![Algorithm::EdDSA])
    );
    assert_eq!(with(json!({"use": "enc"})), Err(KeyError::NotForVerifying));
    assert_eq!(
        with(json!({"key_ops": ["sign"]})),
        Err(KeyError::NotForVerifying)
    );
    assert_eq!(with(json!({"alg": "ES256"})), Err(KeyError::Mismatched));
    // A provider panics on a key of another length when it is used.
    for bad in ["", "AA", &x[..40], &format!("{x}AAAA")] {
        let error = with(json!({"x": bad})).expect_err("another length");
        assert!(
            matches!(error, KeyError::Unreadable { .. }),
            "{bad:?}: {error:?}"
        );
    }
    assert_eq!(Key::from_jwk("{}").map(|_| ()), Err(KeyError::Unsupported));
    assert_eq!(Key::from_jwk("7").map(|_| ()), Err(KeyError::NotJwk));
    assert_eq!(Key::from_jwk("[]").map(|_| ()), Err(KeyError::NotJwk));
}

#[test]
fn a_wrong_configuration_is_an_error_of_build() {
    let error = |strategy: Jwt<_, _>| match strategy.validate() {
        Err(ConfigError::Token(error)) => error,
        other => panic!("{other:?}"),
    };
    let good = || jwt(verifying(HS));
    assert_eq!(good().validate(), Ok(()));
    assert_eq!(
        error(good().leeway(Duration::from_secs(301))),
        TokenConfigError::LongLeeway
    );
    assert_eq!(
        error(jwt(Vec::new())),
        TokenConfigError::Key(KeyError::NoKey)
    );
    assert_eq!(
        error(
            Jwt::new(verifying(HS))
                .crypto_provider(both())
                .issuer("")
                .audience("a")
        ),
        TokenConfigError::EmptyName
    );
    assert_eq!(
        error(
            Jwt::new(verifying(HS))
                .crypto_provider(both())
                .issuer("i")
                .audience("")
        ),
        TokenConfigError::EmptyName
    );
    let same = || Issuer::new(ISSUER, verifying(HS)).audience(AUDIENCE);
    for issuers in [vec![], vec![same(), same()]] {
        let several = Jwt::of_issuers(issuers).crypto_provider(both());
        assert_eq!(error(several), TokenConfigError::Issuers);
    }
    for name in ["", "aud", "exp", "nbf", "iat", "cnf"] {
        for strategy in [
            good().user_id_claim(name),
            good().tenant_claim(name),
            good().thread_id_claim(name),
            good().run_id_claim(name),
        ] {
            let name = name.to_owned();
            assert_eq!(error(strategy), TokenConfigError::ClaimName { name });
        }
    }
    for source in [
        TokenSource::cookie(""),
        TokenSource::cookie("a b"),
        TokenSource::authorization("Api Key"),
        TokenSource::websocket_protocol("a,b"),
        TokenSource::query(""),
    ] {
        let checked = good().token_source(source).validate();
        assert!(
            matches!(checked, Err(ConfigError::TokenSource { .. })),
            "{checked:?}"
        );
    }
}

/// If features enable both providers, the application has to choose one.
#[test]
fn two_crypto_providers_have_to_be_chosen_from() {
    let unchosen = Jwt::new(verifying(HS)).issuer(ISSUER).audience(AUDIENCE);
    assert_eq!(
        unchosen.validate(),
        Err(ConfigError::Token(TokenConfigError::SeveralCryptoProviders))
    );
}

#[tokio::test]
async fn each_crypto_provider_verifies_each_algorithm() {
    for (name, provider) in each() {
        for algorithm in ALGORITHMS {
            let asked = asking(jwt_on(provider, verifying(algorithm)));
            let token = minted(algorithm, None, &claims("alice"));
            assert_eq!(
                asked.user(&token).await,
                Ok("alice".to_owned()),
                "{algorithm} by {name}"
            );
            let message = token.rsplit_once('.').expect("three parts").0;
            let wrong = format!("{message}.{}", crate::tokens::base64url([7; 64]));
            assert_eq!(
                asked.user(&wrong).await,
                refused(TokenErrorKind::Signature),
                "{algorithm} by {name}"
            );
        }
    }
}
