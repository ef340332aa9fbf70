//! The issuers and audiences that are accepted: audiences in other claims, required claims, and issuers
//! that are added and removed while the service runs.

use http::StatusCode;
use serde_json::{Value, json};
use tower_user_scope::{
    ConfigError,
    jwt::{Algorithm, Issuer, Issuers, Jwt, Key, RemoteKeys, TokenConfigError, TokenErrorKind},
    strategy::Strategy,
};

use crate::{
    issuer::{IssuerServer, jwk},
    tokens::{
        AUDIENCE, HS, ISSUER, OTHER_SECRET, Why, asking, claims, claims_with, jwt, minted, missing,
        providers::both, refused, verifying,
    },
};

const PARTNER: &str = "https://partner.example";
const ED: Algorithm = Algorithm::EdDSA;

#[expect(
    clippy::unnecessary_wraps,
    reason = "cases have it beside answers that are errors"
)]
fn alice() -> Result<String, Why> {
    Ok("alice".to_owned())
}

fn wrong(claim: &'static str) -> Result<String, Why> {
    refused(TokenErrorKind::WrongClaim(claim.into()))
}

#[tokio::test]
async fn the_audience_is_looked_for_in_the_configured_claim_alone() {
    let asked = asking(
        Jwt::new(verifying(HS))
            .crypto_provider(both())
            .issuer(ISSUER)
            .audience_claim("client_id")
            .audience("web"),
    );
    for (members, answer) in [
        (json!({"client_id": "web"}), alice()),
        (json!({"client_id": ["app", "web"]}), alice()),
        (json!({"client_id": "web", "aud": null}), alice()),
        (
            json!({"client_id": "app"}),
            refused(TokenErrorKind::WrongAudience),
        ),
        (
            json!({"client_id": "app", "aud": "web"}),
            refused(TokenErrorKind::WrongAudience),
        ),
        (json!({"aud": "web"}), refused(missing("client_id"))),
        (json!({"client_id": []}), refused(missing("client_id"))),
        (
            json!({"client_id": {"web": "web"}}),
            refused(TokenErrorKind::ClaimType("client_id".into())),
        ),
    ] {
        let token = minted(HS, None, &claims_with(members.clone()));
        assert_eq!(asked.user(&token).await, answer, "{members}");
    }
}

#[tokio::test]
async fn a_required_claim_has_one_of_the_values() {
    let asked = asking(
        jwt(verifying(HS))
            .require_claim("tid", ["tenant-a", "tenant-b"])
            .require_claim("token_use", ["access"]),
    );
    let with = |tid: Value, token_use: Value| json!({"tid": tid, "token_use": token_use});
    let access = || json!("access");
    for (members, answer) in [
        (with(json!("tenant-a"), access()), alice()),
        (with(json!(["x", "tenant-b"]), access()), alice()),
        (with(json!("tenant-c"), access()), wrong("tid")),
        (with(json!("TENANT-A"), access()), wrong("tid")),
        (with(json!("tenant-a"), json!("id")), wrong("token_use")),
        (with(Value::Null, access()), refused(missing("tid"))),
        (
            with(json!(7), access()),
            refused(TokenErrorKind::ClaimType("tid".into())),
        ),
    ] {
        let token = minted(HS, None, &claims_with(members.clone()));
        assert_eq!(asked.user(&token).await, answer, "{members}");
    }
}

#[tokio::test]
async fn what_one_issuers_tokens_need_others_need_not() {
    let asked = asking(
        Jwt::of_issuers([
            Issuer::new(ISSUER, verifying(HS))
                .audience(AUDIENCE)
                .require_claim("hd", ["example.com"]),
            Issuer::new(PARTNER, verifying(HS))
                .audience_claim("azp")
                .audience("partners"),
        ])
        .tenant_claim("iss")
        .crypto_provider(both()),
    );
    for (members, answer) in [
        (json!({"hd": "example.com"}), alice()),
        (json!({"hd": "example.org"}), wrong("hd")),
        (json!({}), refused(missing("hd"))),
        (json!({"iss": PARTNER, "azp": "partners"}), alice()),
        (
            json!({"iss": PARTNER, "aud": "partners"}),
            refused(missing("azp")),
        ),
    ] {
        let token = minted(HS, None, &claims_with(members.clone()));
        assert_eq!(asked.user(&token).await, answer, "{members}");
    }
}

#[test]
fn claims_that_cannot_be_compared_are_errors_of_build() {
    let named = |name: &str| {
        let name = name.to_owned();
        Err(ConfigError::Token(TokenConfigError::ClaimName { name }))
    };
    let valueless = |name: &str| {
        let name = name.to_owned();
        Err(ConfigError::Token(TokenConfigError::NoClaimValue { name }))
    };
    let none: [&str; 0] = [];
    for (strategy, answer) in [
        (jwt(verifying(HS)).require_claim("tid", ["a"]), Ok(())),
        (jwt(verifying(HS)).require_claim("", ["a"]), named("")),
        (jwt(verifying(HS)).require_claim("exp", ["a"]), named("exp")),
        (
            jwt(verifying(HS)).require_claim("tid", none),
            valueless("tid"),
        ),
        (
            jwt(verifying(HS)).require_claim("tid", ["a", ""]),
            valueless("tid"),
        ),
        (
            Jwt::new(verifying(HS))
                .crypto_provider(both())
                .issuer(ISSUER)
                .audience_claim("iat")
                .audience("a"),
            named("iat"),
        ),
    ] {
        assert_eq!(strategy.validate(), answer);
    }
}

#[tokio::test]
async fn issuers_come_and_go_while_the_service_runs() {
    let issuers = Issuers::new();
    let asked = asking(
        Jwt::of_issuers(issuers.clone())
            .tenant_claim("iss")
            .crypto_provider(both()),
    );
    let ours = minted(HS, None, &claims("alice"));
    let other = refused(TokenErrorKind::WrongIssuer);
    assert_eq!(asked.user(&ours).await, other);

    issuers
        .insert(Issuer::new(ISSUER, verifying(HS)).audience(AUDIENCE))
        .expect("good");
    assert!(issuers.contains(ISSUER));
    assert_eq!(asked.user(&ours).await, alice());

    // The issuer is replaced by one with another key, which clears its cached tokens.
    let key = Key::hmac(HS, OTHER_SECRET).expect("long enough");
    issuers
        .insert(Issuer::new(ISSUER, key).audience(AUDIENCE))
        .expect("good");
    let signature = refused(TokenErrorKind::Signature);
    assert_eq!(asked.user(&ours).await, signature);

    issuers
        .insert(Issuer::new(ISSUER, verifying(HS)).audience("others"))
        .expect("good");
    let audience = refused(TokenErrorKind::WrongAudience);
    assert_eq!(asked.user(&ours).await, audience);

    assert!(issuers.remove(ISSUER));
    assert!(!issuers.remove(ISSUER));
    assert_eq!(asked.user(&ours).await, other);

    let unusable = Issuer::new("", verifying(HS)).audience(AUDIENCE);
    assert_eq!(issuers.insert(unusable), Err(TokenConfigError::EmptyName));
}

#[tokio::test]
async fn a_change_of_issuers_keeps_the_keys_of_the_others() {
    let server = IssuerServer::start().await;
    server.publish([jwk(ED, "a")]);
    let issuers = Issuers::new();
    let keys = || RemoteKeys::from_url(server.url("/keys"));
    issuers
        .insert(Issuer::new(ISSUER, keys()).audience(AUDIENCE))
        .expect("good");
    let asked = asking(
        Jwt::of_issuers(issuers.clone())
            .tenant_claim("iss")
            .crypto_provider(both()),
    );
    let token = minted(ED, Some("a"), &claims("alice"));
    assert_eq!(asked.user(&token).await, alice());
    assert_eq!(server.asked(), 1);
    for tenant in 0..100 {
        let name = format!("https://tenant-{tenant}.example");
        let issuer = Issuer::new(&name, verifying(HS)).audience(AUDIENCE);
        issuers.insert(issuer).expect("good");
        assert_eq!(asked.user(&token).await, alice());
        let theirs = minted(HS, None, &claims_with(json!({"iss": name})));
        assert_eq!(asked.user(&theirs).await, alice());
    }
    assert_eq!(server.asked(), 1, "the keys stay");
}

#[tokio::test]
async fn tenants_of_one_provider_share_its_keys() {
    // Microsoft Entra ID has one key set and an issuer for each tenant.
    let server = IssuerServer::start().await;
    server.publish([jwk(ED, "a")]);
    let keys = RemoteKeys::from_url(server.url("/common/discovery/v2.0/keys"));
    let set = json!({"keys": [jwk(ED, "a")]}).to_string();
    server.answer("/common/discovery/v2.0/keys", StatusCode::OK, set);
    let issuer = |tenant: &str| format!("https://login.microsoftonline.com/{tenant}/v2.0");
    let allowed = ["tenant-a", "tenant-b"].map(|tenant| {
        Issuer::new(issuer(tenant), keys.clone())
            .audience(AUDIENCE)
            .require_claim("tid", [tenant])
    });
    let asked = asking(
        Jwt::of_issuers(allowed)
            .tenant_claim("tid")
            .crypto_provider(both()),
    );
    for (iss, tid, answer) in [
        ("tenant-a", "tenant-a", alice()),
        ("tenant-b", "tenant-b", alice()),
        ("tenant-a", "tenant-b", wrong("tid")),
        ("tenant-c", "tenant-c", refused(TokenErrorKind::WrongIssuer)),
    ] {
        let members = json!({"iss": issuer(iss), "tid": tid});
        let token = minted(ED, Some("a"), &claims_with(members));
        assert_eq!(asked.user(&token).await, answer, "{iss} {tid}");
    }
    assert_eq!(server.asked(), 1, "the keys are fetched once");
}
