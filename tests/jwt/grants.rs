//! Scopes and roles of a token, as issuers write them.

use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};
use tower_user_scope::{
    ConfigError,
    authorize::Grants,
    jwt::{TokenConfigError, TokenErrorKind},
    strategy::Strategy,
};

use crate::tokens::{HS, Why, asking, bearer, claims_with, jwt, minted, refused, verifying};

/// The scopes and the roles of alice's token with these claims.
async fn granted(members: Value) -> Result<(Vec<String>, Vec<String>), Why> {
    let asked = asking(
        jwt(verifying(HS))
            .scope_claim("scope")
            .scope_claim("scp")
            .role_claim("roles")
            .role_claim_at("realm_access", ["roles"])
            .role_claim_at("resource_access", ["api", "roles"]),
    );
    let token = minted(HS, None, &claims_with(members));
    let context = asked.send(bearer(&token)).await?;
    let grants = Grants::of(&context).expect("there, also where there are none");
    let owned = str::to_owned;
    Ok((
        grants.scopes().map(owned).collect(),
        grants.roles().map(owned).collect(),
    ))
}

#[tokio::test]
async fn grants_are_read_in_each_form() {
    let texts = |texts: &[&str]| {
        texts
            .iter()
            .map(|text| (*text).to_owned())
            .collect::<Vec<_>>()
    };
    let wrong = |claim: &'static str| Err(TokenErrorKind::ClaimType(claim.into()));
    for (members, answer) in [
        (json!({}), Ok((texts(&[]), texts(&[])))),
        (
            json!({"scope": "a  b a"}),
            Ok((texts(&["a", "b"]), texts(&[]))),
        ),
        (json!({"scope": ""}), Ok((texts(&[]), texts(&[])))),
        (
            json!({"scp": ["a", "b c"]}),
            Ok((texts(&["a", "b c"]), texts(&[]))),
        ),
        (
            json!({"scope": "a", "scp": "b", "roles": ["x"]}),
            Ok((texts(&["a", "b"]), texts(&["x"]))),
        ),
        (
            json!({"roles": "one role"}),
            Ok((texts(&[]), texts(&["one role"]))),
        ),
        (
            json!({"realm_access": {"roles": ["x"]}, "resource_access": {"api": {"roles": ["y"]}}}),
            Ok((texts(&[]), texts(&["x", "y"]))),
        ),
        (
            json!({"resource_access": {"other": {"roles": ["y"]}}}),
            Ok((texts(&[]), texts(&[]))),
        ),
        (json!({"scope": 7}), wrong("scope")),
        (json!({"scp": ["a", 7]}), wrong("scp")),
        (json!({"roles": {"a": 1}}), wrong("roles")),
        (json!({"realm_access": ["roles"]}), wrong("realm_access")),
        (
            json!({"resource_access": {"api": "roles"}}),
            wrong("resource_access"),
        ),
    ] {
        let answer = answer.map_err(Why::Token);
        assert_eq!(granted(members.clone()).await, answer, "{members}");
    }
}

#[tokio::test]
async fn how_the_user_logged_in_is_read_along() {
    let asked = asking(jwt(verifying(HS)).scope_claim("scope"));
    let members = json!({"acr": "mfa", "auth_time": 1_700_000_000.5});
    let token = minted(HS, None, &claims_with(members));
    let context = asked.send(bearer(&token)).await.expect("alice");
    let grants = Grants::of(&context).expect("read");
    assert_eq!(grants.acr(), Some("mfa"));
    let at = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    assert_eq!(grants.authenticated_at(), Some(at));
}

#[tokio::test]
async fn what_was_not_asked_for_is_not_read() {
    let asked = asking(jwt(verifying(HS)));
    let token = minted(HS, None, &claims_with(json!({"scope": 7, "roles": 7})));
    let context = asked.send(bearer(&token)).await.expect("alice");
    assert!(Grants::of(&context).is_none());
}

#[test]
fn claims_that_can_not_have_grants_are_an_error_of_build() {
    for name in ["", "exp", "aud"] {
        let error = || {
            let name = name.to_owned();
            Err(ConfigError::Token(TokenConfigError::ClaimName { name }))
        };
        assert_eq!(jwt(verifying(HS)).scope_claim(name).validate(), error());
        assert_eq!(jwt(verifying(HS)).role_claim(name).validate(), error());
    }
}

#[tokio::test]
async fn a_claim_of_deep_nesting_is_refused_where_it_is_read() {
    let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
    let members = format!("{{\"scope\": {deep}}}");
    let parsed: Result<Value, _> = serde_json::from_str(&members);
    assert!(parsed.is_err(), "deeper than the reader goes");
    let payload = serde_json::to_string(&claims_with(json!({}))).expect("JSON");
    let payload = payload.replacen('{', &format!("{{\"scope\":{deep},"), 1);
    let token = crate::tokens::signed(HS, r#"{"alg":"HS256"}"#, &payload);
    let asked = asking(jwt(verifying(HS)).scope_claim("scope"));
    let wrong = refused(TokenErrorKind::ClaimType("scope".into()));
    assert_eq!(asked.user(&token).await, wrong);
}
