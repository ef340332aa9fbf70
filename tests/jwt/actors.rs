//! B71: who acts for the user, as RFC 8693 section 4.1 writes it in a token.

use serde_json::{Value, json};
use tower_user_scope::{
    ConfigError, Principal, UserId,
    jwt::{TokenConfigError, TokenErrorKind},
    strategy::Strategy,
};

use crate::tokens::{HS, Why, asking, bearer, claims_with, jwt, minted, refused, verifying};

/// The actor of alice's token with these claims.
async fn actor(members: Value) -> Result<Option<Principal>, Why> {
    let asked = asking(jwt(verifying(HS)).actor_claim("act"));
    let token = minted(HS, None, &claims_with(members));
    let context = asked.send(bearer(&token)).await?;
    assert_eq!(context.user_id().map(UserId::as_str), Some("alice"));
    Ok(context.actor().cloned())
}

#[tokio::test]
async fn the_actor_is_the_subject_of_the_claim() {
    let found = |id: &str| Ok(Some(Principal::User(id.parse().expect("an id"))));
    let wrong = || Err(Why::Token(TokenErrorKind::ClaimType("act".into())));
    for (members, answer) in [
        (json!({}), Ok(None)),
        (json!({"act": null}), Ok(None)),
        (json!({"act": {"sub": "admin"}}), found("admin")),
        (
            json!({"act": {"sub": "admin", "iss": "https://id.example"}}),
            found("admin"),
        ),
        // An earlier actor is not read, whatever it is.
        (
            json!({"act": {"sub": "b", "act": {"sub": "a"}}}),
            found("b"),
        ),
        (json!({"act": {"sub": "b", "act": 7}}), found("b")),
        // Somebody acts, and it can't be read who.
        (json!({"act": {}}), wrong()),
        (json!({"act": {"sub": null}}), wrong()),
        (json!({"act": {"sub": 7}}), wrong()),
        (json!({"act": "admin"}), wrong()),
        (json!({"act": [{"sub": "admin"}]}), wrong()),
        (json!({"act": false}), wrong()),
    ] {
        assert_eq!(actor(members.clone()).await, answer, "{members}");
    }
}

#[tokio::test]
async fn an_actor_with_a_bad_id_is_refused() {
    for id in ["", "null", "a\u{202e}b"] {
        let answer = actor(json!({"act": {"sub": id}})).await;
        assert!(
            matches!(answer, Err(Why::Token(TokenErrorKind::Id(_)))),
            "{id:?}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn a_remembered_token_keeps_its_actor() {
    let asked = asking(jwt(verifying(HS)).actor_claim("act"));
    let token = minted(HS, None, &claims_with(json!({"act": {"sub": "admin"}})));
    for time in ["verified", "remembered"] {
        let context = asked.send(bearer(&token)).await.expect("alice");
        let admin = Principal::User("admin".parse().expect("an id"));
        assert_eq!(context.actor(), Some(&admin), "{time}");
    }
}

#[tokio::test]
async fn an_actor_that_nobody_asked_for_is_not_read() {
    let asked = asking(jwt(verifying(HS)));
    for act in [json!({"sub": "admin"}), json!(7)] {
        let token = minted(HS, None, &claims_with(json!({"act": act})));
        let context = asked.send(bearer(&token)).await.expect("alice");
        assert_eq!(context.actor(), None);
    }
    let token = minted(HS, None, &claims_with(json!({"sub": null})));
    let missing = refused(TokenErrorKind::MissingClaim("sub".into()));
    assert_eq!(asked.user(&token).await, missing);
}

#[test]
fn a_claim_that_can_not_name_an_actor_is_an_error_of_build() {
    for name in ["", "exp", "aud", "cnf"] {
        let name = name.to_owned();
        let error = TokenConfigError::ClaimName { name: name.clone() };
        let jwt = jwt(verifying(HS)).actor_claim(name);
        assert_eq!(jwt.validate(), Err(ConfigError::Token(error)));
    }
}
