//! B55: log-out tokens and the event `session-revoked` are verified, and say who and when.

use std::{
    convert::Infallible,
    time::{Duration, UNIX_EPOCH},
};

use http::{Request, Response};
use serde_json::{Value, json};
use tower::{ServiceExt, service_fn};
use tower_layer::Layer;
use tower_user_scope::{
    UserScopeLayer,
    jwt::{
        EndedSessions, EventTokenError, HasAudience, HasIssuer, Issuer, Jwt, Key, LogoutTokens,
        RemoteKeys, SessionRevokedEvents, TokenErrorKind,
    },
    open_scopes::OpenScopes,
    testing::TestClock,
};

use crate::tokens::{
    AUDIENCE, HS, ISSUER, OTHER_SECRET, SECRET, bearer, claims_with, jwt, minted, now, providers,
    signed, verifying,
};

const LOG_OUT: &str = "http://schemas.openid.net/event/backchannel-logout";
const REVOKED: &str = "https://schemas.openid.net/secevent/caep/event-type/session-revoked";

fn here() -> Jwt<HasIssuer, HasAudience> {
    jwt(verifying(HS))
}

fn log_outs() -> LogoutTokens {
    LogoutTokens::new(here()).expect("a valid configuration")
}

fn events() -> SessionRevokedEvents {
    SessionRevokedEvents::new(here()).expect("a valid configuration")
}

fn token_of_type(media_type: &str, claims: &Value) -> String {
    let header = json!({"alg": "HS256", "typ": media_type}).to_string();
    signed(HS, &header, &claims.to_string())
}

/// The claims of a log-out with these members replaced; `null` removes a member.
fn log_out(members: Value) -> Value {
    let mut claims = json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "sid": "s", "jti": "1",
        "iat": now(), "exp": now() + 120, "events": {LOG_OUT: {}},
    });
    replace(&mut claims, members);
    claims
}

/// Those of the event `session-revoked`.
fn revoked(members: Value) -> Value {
    let mut claims = json!({
        "iss": ISSUER, "aud": AUDIENCE, "jti": "1", "iat": now(),
        "sub_id": {"format": "iss_sub", "iss": ISSUER, "sub": "alice"},
        "events": {REVOKED: {"event_timestamp": now() - 60, "initiating_entity": "admin"}},
    });
    replace(&mut claims, members);
    claims
}

fn replace(claims: &mut Value, members: Value) {
    let (Value::Object(all), Value::Object(members)) = (claims, members) else {
        panic!("claims are objects");
    };
    for (name, value) in members {
        if value.is_null() {
            all.remove(&name);
        } else {
            all.insert(name, value);
        }
    }
}

async fn log_out_of(members: Value) -> Result<EndedSessions, EventTokenError> {
    let token = token_of_type("logout+jwt", &log_out(members));
    log_outs().verify(&token).await
}

async fn event_of(members: Value) -> Result<EndedSessions, EventTokenError> {
    let token = token_of_type("secevent+jwt", &revoked(members));
    events().verify(&token).await
}

fn named(ended: &EndedSessions) -> (Option<&str>, Option<&str>) {
    (ended.subject(), ended.session_id())
}

#[tokio::test]
async fn a_log_out_token_says_who_and_when() {
    let issued = now() - 30;
    let cases = [
        (json!({"iat": issued}), (Some("alice"), Some("s"))),
        (json!({"iat": issued, "sub": null}), (None, Some("s"))),
        (json!({"iat": issued, "sid": null}), (Some("alice"), None)),
        // Other members of `events` and an event that is not empty are no mistakes (section 2.4).
        (
            json!({"iat": issued, "events": {LOG_OUT: {"a": 1}, "urn:other": {}}}),
            (Some("alice"), Some("s")),
        ),
    ];
    for (members, expected) in cases {
        let ended = log_out_of(members.clone()).await;
        let ended = ended.unwrap_or_else(|error| panic!("{members}: {error}"));
        assert_eq!(named(&ended), expected, "{members}");
        assert_eq!(ended.issuer(), ISSUER);
        assert_eq!(ended.ended_at(), UNIX_EPOCH + Duration::from_secs(issued));
        let text = format!("{ended:?}");
        assert!(!text.contains("alice") && !text.contains("\"s\""), "{text}");
    }
}

#[tokio::test]
async fn a_log_out_token_that_breaks_a_rule_is_refused() {
    use TokenErrorKind as Kind;
    let cases: [(Value, Kind); 19] = [
        (
            json!({"sub": null, "sid": null}),
            Kind::MissingClaim("sub".into()),
        ),
        (json!({"nonce": "n"}), Kind::ForbiddenClaim("nonce")),
        (json!({"iat": null}), Kind::MissingClaim("iat".into())),
        (json!({"exp": null}), Kind::MissingClaim("exp".into())),
        (json!({"jti": null}), Kind::MissingClaim("jti".into())),
        (json!({"jti": ""}), Kind::ClaimType("jti".into())),
        (json!({"jti": 7}), Kind::ClaimType("jti".into())),
        (json!({"sid": 7}), Kind::ClaimType("sid".into())),
        (json!({"sid": ""}), Kind::ClaimType("sid".into())),
        (json!({"exp": now() - 60}), Kind::Expired),
        (json!({"iat": now() + 60}), Kind::NotYetValid),
        (json!({"iss": "https://other.example"}), Kind::WrongIssuer),
        (json!({"aud": "another"}), Kind::WrongAudience),
        (json!({"events": null}), Kind::MissingClaim("events".into())),
        (json!({"events": LOG_OUT}), Kind::ClaimType("events".into())),
        (
            json!({"events": [LOG_OUT]}),
            Kind::ClaimType("events".into()),
        ),
        (
            json!({"events": {LOG_OUT: null}}),
            Kind::ClaimType("events".into()),
        ),
        (
            json!({"events": {LOG_OUT: "x"}}),
            Kind::ClaimType("events".into()),
        ),
        (
            json!({"events": {"https://schemas.openid.net/event/backchannel-logout": {}}}),
            Kind::OtherEvent,
        ),
    ];
    for (members, expected) in cases {
        let error = log_out_of(members.clone())
            .await
            .expect_err("it breaks a rule");
        assert_eq!(error.kind(), Some(&expected), "{members}: {error}");
    }
    // `null` is a nonce too, and a member that is there twice is none of them.
    let raw = |middle: &str| {
        format!(
            r#"{{"iss":"{ISSUER}","aud":"{AUDIENCE}","sub":"alice","jti":"1","iat":{},"exp":{},{middle}}}"#,
            now(),
            now() + 120
        )
    };
    let event = format!(r#""events":{{"{LOG_OUT}":{{}}}}"#);
    let twice = format!(r#""events":{{"{LOG_OUT}":{{}},"{LOG_OUT}":{{}}}}"#);
    let header = r#"{"alg":"HS256","typ":"logout+jwt"}"#;
    for (middle, expected) in [
        (
            format!(r#"{event},"nonce":null"#),
            Kind::ForbiddenClaim("nonce"),
        ),
        (twice, Kind::ClaimType("events".into())),
    ] {
        let error = log_outs().verify(&signed(HS, header, &raw(&middle))).await;
        assert_eq!(
            error.expect_err("a rule").kind(),
            Some(&expected),
            "{middle}"
        );
    }
    assert!(
        log_outs()
            .verify(&signed(HS, header, &raw(&event)))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn no_other_kind_of_token_ends_a_session() {
    let wrong = Some(&TokenErrorKind::WrongType);
    for media_type in ["JWT", "at+jwt", "secevent+jwt", "logout", ""] {
        let token = token_of_type(media_type, &log_out(json!({})));
        let error = log_outs().verify(&token).await.expect_err("another type");
        assert_eq!(error.kind(), wrong, "{media_type}");
    }
    for media_type in ["JWT", "logout+jwt"] {
        let token = token_of_type(media_type, &revoked(json!({})));
        let error = events().verify(&token).await.expect_err("another type");
        assert_eq!(error.kind(), wrong, "{media_type}");
    }
    for media_type in ["LOGOUT+JWT", "application/logout+jwt"] {
        let token = token_of_type(media_type, &log_out(json!({})));
        assert!(log_outs().verify(&token).await.is_ok(), "{media_type}");
    }
    // A provider without the type, where the application says so: an ID token is still refused.
    let untyped = LogoutTokens::new(here().token_type("JWT")).expect("a valid configuration");
    let token = minted(HS, None, &log_out(json!({})));
    assert!(untyped.verify(&token).await.is_ok());
    let id_token = minted(HS, None, &claims_with(json!({"jti": "2", "sid": "s"})));
    let error = untyped.verify(&id_token).await.expect_err("an ID token");
    assert_eq!(
        error.kind(),
        Some(&TokenErrorKind::MissingClaim("events".into()))
    );
}

#[tokio::test]
async fn a_wrong_signature_and_no_signature_are_refused() {
    let token = token_of_type("logout+jwt", &log_out(json!({})));
    let other = Key::hmac(HS, OTHER_SECRET).expect("long enough");
    let tokens = LogoutTokens::new(jwt(other)).expect("a valid configuration");
    let error = tokens.verify(&token).await.expect_err("another key");
    assert_eq!(error.kind(), Some(&TokenErrorKind::Signature));
    let none = signed(
        HS,
        r#"{"alg":"none","typ":"logout+jwt"}"#,
        &log_out(json!({})).to_string(),
    );
    let (message, _) = none.rsplit_once('.').expect("three parts");
    let error = log_outs().verify(&format!("{message}.")).await;
    let kind = error.expect_err("not signed");
    assert_eq!(kind.kind(), Some(&TokenErrorKind::UnsupportedAlgorithm));
    let long = log_outs().verify(&"e".repeat(9_000)).await;
    let kind = long.expect_err("too long");
    assert!(matches!(
        kind.kind(),
        Some(TokenErrorKind::TooLong { limit: 8_192, .. })
    ));
}

#[tokio::test]
async fn where_the_keys_cant_be_fetched_nothing_is_said_of_the_token() {
    // The port of the discard protocol, which nobody serves here.
    let issuer = "http://127.0.0.1:9";
    let jwt = Jwt::new(RemoteKeys::discover(issuer))
        .crypto_provider(providers::both())
        .issuer(issuer)
        .audience(AUDIENCE);
    let tokens = LogoutTokens::new(jwt).expect("a valid configuration");
    let token = token_of_type("logout+jwt", &log_out(json!({"iss": issuer})));
    let error = tokens.verify(&token).await.expect_err("nobody answers");
    assert!(matches!(error, EventTokenError::Unavailable(_)), "{error}");
    assert_eq!(error.kind(), None);
}

#[tokio::test]
async fn a_token_is_used_once_and_a_refused_one_may_come_again() {
    let clock = TestClock::now();
    let tokens = log_outs().clock(clock.clone());
    let early = token_of_type("logout+jwt", &log_out(json!({"iat": now() + 60})));
    assert!(tokens.verify(&early).await.is_err());
    clock.advance(Duration::from_secs(60));
    assert!(tokens.verify(&early).await.is_ok());
    let again = tokens.verify(&early).await.expect_err("used");
    assert_eq!(again.kind(), Some(&TokenErrorKind::Replayed));
    // Another token with the same id, and one with another id.
    let same_id = token_of_type("logout+jwt", &log_out(json!({"sub": "bob"})));
    let error = tokens.verify(&same_id).await.expect_err("used");
    assert_eq!(error.kind(), Some(&TokenErrorKind::Replayed));
    let other_id = token_of_type("logout+jwt", &log_out(json!({"jti": "2"})));
    assert!(tokens.verify(&other_id).await.is_ok());
}

#[tokio::test]
async fn an_event_names_a_user_a_session_or_both() {
    let user = json!({"format": "iss_sub", "iss": ISSUER, "sub": "alice"});
    let session = json!({"format": "opaque", "id": "s"});
    let cases = [
        (user.clone(), (Some("alice"), None)),
        (session.clone(), (None, Some("s"))),
        (
            json!({"format": "complex", "user": user}),
            (Some("alice"), None),
        ),
        (
            json!({"format": "complex", "session": session}),
            (None, Some("s")),
        ),
        (
            json!({"format": "complex", "user": user, "session": session}),
            (Some("alice"), Some("s")),
        ),
    ];
    for (subject, expected) in cases {
        let ended = event_of(json!({"sub_id": subject})).await;
        let ended = ended.unwrap_or_else(|error| panic!("{subject}: {error}"));
        assert_eq!(named(&ended), expected, "{subject}");
    }
    // When it happened, or else when it was said.
    for (payload, before) in [
        (json!({"event_timestamp": now() - 60}), 60),
        (json!({}), 10),
    ] {
        let at = now() - before;
        let ended = event_of(json!({"iat": now() - 10, "events": {REVOKED: payload}})).await;
        let since = ended.expect("valid").ended_at().duration_since(UNIX_EPOCH);
        assert!(since.expect("after 1970").as_secs().abs_diff(at) <= 1);
    }
}

#[tokio::test]
async fn an_event_that_breaks_a_rule_is_refused() {
    use TokenErrorKind as Kind;
    let subject = || Kind::ClaimType("sub_id".into());
    let user = json!({"format": "iss_sub", "iss": ISSUER, "sub": "alice"});
    let cases = [
        (json!({"sub_id": null}), Kind::MissingClaim("sub_id".into())),
        (json!({"sub_id": "alice"}), subject()),
        (
            json!({"sub_id": {"iss": ISSUER, "sub": "alice"}}),
            subject(),
        ),
        (
            json!({"sub_id": {"format": "email", "email": "a@b.example"}}),
            subject(),
        ),
        // A user of somebody else's.
        (
            json!({"sub_id": {"format": "iss_sub", "iss": "https://b.example", "sub": "alice"}}),
            subject(),
        ),
        (json!({"sub_id": {"format": "complex"}}), subject()),
        // More than the named user's sessions on that device would end.
        (
            json!({"sub_id": {"format": "complex", "user": user, "device": {"format": "opaque", "id": "d"}}}),
            subject(),
        ),
        (json!({"sub": "alice"}), Kind::ForbiddenClaim("sub")),
        (json!({"iat": null}), Kind::MissingClaim("iat".into())),
        (json!({"iat": now() + 60}), Kind::NotYetValid),
        (json!({"exp": now() - 60}), Kind::Expired),
        (json!({"jti": null}), Kind::MissingClaim("jti".into())),
        (json!({"aud": "another"}), Kind::WrongAudience),
        (
            json!({"events": {"https://schemas.openid.net/secevent/caep/event-type/credential-change": {}}}),
            Kind::OtherEvent,
        ),
        (
            json!({"events": {REVOKED: {}, "urn:other": {}}}),
            Kind::ClaimType("events".into()),
        ),
        // Credentials that are issued meanwhile would be refused until then.
        (
            json!({"events": {REVOKED: {"event_timestamp": now() + 3_600}}}),
            Kind::NumericDate("event_timestamp"),
        ),
        (
            json!({"events": {REVOKED: {"event_timestamp": "now"}}}),
            Kind::NumericDate("event_timestamp"),
        ),
    ];
    for (members, expected) in cases {
        let error = event_of(members.clone())
            .await
            .expect_err("it breaks a rule");
        assert_eq!(error.kind(), Some(&expected), "{members}: {error}");
    }
}

/// Returns the status of the request, sent after the revocation.
async fn status_after(
    ended: &EndedSessions,
    tokens: Jwt<HasIssuer, HasAudience>,
    request: Request<()>,
) -> u16 {
    let open = OpenScopes::new(Duration::from_secs(3_600));
    open.revoke(ended.revocation()).expect("room");
    let layer = UserScopeLayer::builder()
        .strategy(tokens)
        .open_scopes(&open)
        .context_only()
        .build()
        .expect("a valid configuration");
    let service = layer.layer(service_fn(async |_: Request<()>| {
        Ok::<_, Infallible>(Response::new(()))
    }));
    let Ok(response) = service.oneshot(request).await;
    response.status().as_u16()
}

/// Whether a token with these claims is refused after the revocation.
async fn is_refused_after(ended: &EndedSessions, members: Value) -> bool {
    let token = minted(HS, None, &claims_with(members));
    status_after(ended, here(), bearer(&token)).await == 401
}

#[tokio::test]
async fn b55_what_a_token_names_is_revoked_and_nothing_else() {
    let at = now() - 30;
    let one = log_out_of(json!({"iat": at})).await.expect("valid");
    assert!(is_refused_after(&one, json!({"sid": "s"})).await);
    assert!(!is_refused_after(&one, json!({"sid": "t"})).await);
    assert!(!is_refused_after(&one, json!({})).await);
    let all = log_out_of(json!({"iat": at, "sid": null}))
        .await
        .expect("valid");
    assert!(is_refused_after(&all, json!({"sid": "s", "iat": at - 1})).await);
    // Issued in the same second: before or after, nobody knows.
    assert!(is_refused_after(&all, json!({"iat": at})).await);
    assert!(is_refused_after(&all, json!({"iat": null})).await);
    assert!(!is_refused_after(&all, json!({"iat": at + 1})).await);
    assert!(!is_refused_after(&all, json!({"sub": "bob", "iat": at - 1})).await);
    let event = event_of(json!({})).await.expect("valid");
    assert!(is_refused_after(&event, json!({"iat": now() - 61})).await);
    assert!(!is_refused_after(&event, json!({"iat": now() - 30})).await);
}

#[tokio::test]
async fn with_several_issuers_one_of_them_ends_no_session_of_another() {
    const OTHER: &str = "https://other.example";
    let issuers = || {
        let ours = Key::hmac(HS, SECRET).expect("long enough");
        let theirs = Key::hmac(HS, OTHER_SECRET).expect("long enough");
        Jwt::of_issuers([
            Issuer::new(ISSUER, ours).audience(AUDIENCE),
            Issuer::new(OTHER, theirs).audience(AUDIENCE),
        ])
        .crypto_provider(providers::both())
        .tenant_claim("iss")
    };
    let tokens = LogoutTokens::new(issuers()).expect("a valid configuration");
    let verify = async |members| {
        let token = token_of_type("logout+jwt", &log_out(members));
        tokens.verify(&token).await
    };
    // Its own session alone: the user is of the same issuer.
    let ended = verify(json!({})).await.expect("valid");
    let ask = async |secret: &[u8], members: Value| {
        let key = jsonwebtoken::EncodingKey::from_secret(secret);
        let token = jsonwebtoken::encode(
            &jsonwebtoken::Header::default(),
            &claims_with(members),
            &key,
        );
        let request = bearer(&token.expect("it can be signed"));
        status_after(&ended, issuers(), request).await
    };
    assert_eq!(ask(SECRET, json!({"sid": "s"})).await, 401);
    assert_eq!(ask(SECRET, json!({"sid": "t"})).await, 200);
    assert_eq!(
        ask(OTHER_SECRET, json!({"sid": "s", "iss": OTHER})).await,
        200
    );
    // Without the user nobody knows whose session it is.
    let error = verify(json!({"sub": null, "jti": "2"}))
        .await
        .expect_err("whose");
    assert_eq!(
        error.kind(),
        Some(&TokenErrorKind::MissingClaim("sub".into()))
    );
}
