//! Only the claims that are needed are read, as RFC 7519 defines them. A refusal names the compared
//! values.

use std::{
    convert::Infallible,
    error::Error as _,
    time::{Duration, UNIX_EPOCH},
};

use http::{Request, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use tower::{ServiceExt, service_fn};
use tower_layer::Layer;
use tower_user_scope::{
    Identity, UserId, UserScopeLayer,
    audit::AuditEvent,
    jwt::{Issuer, Jwt, TokenError, TokenErrorKind, VerifiedToken},
    rejection::RejectionKind,
    testing::{Recorder, TestClock},
};

use crate::tokens::{
    AUDIENCE, HS, ISSUER, Why, asking, asking_at, base64url, bearer, claims, claims_with, hs, jwt,
    minted, missing, now, providers::both, refused, signed, signed_bytes, verifying,
};

const HEAD: &str = r#"{"alg":"HS256"}"#;

/// The valid claims of alice as JSON text, with these members written literally.
fn text_with(members: &[(&str, &str)]) -> String {
    let mut text = claims_with(
        members
            .iter()
            .map(|(name, _)| (*name, Value::Null))
            .collect(),
    )
    .to_string();
    for (name, value) in members {
        text.insert_str(1, &format!("\"{name}\":{value},"));
    }
    text
}

#[tokio::test]
async fn times_are_any_json_number_and_are_cut_towards_refusal() {
    let exact = asking(jwt(verifying(HS)).leeway(Duration::ZERO));
    let soon = now() + 600;
    let ok = || Ok("alice".to_owned());
    let cases = [
        ("exp", format!("{soon}.0"), ok()),
        ("exp", format!("{soon}.99999999999999999999"), ok()),
        ("exp", format!("{soon}000e-3"), ok()),
        ("exp", "4.102444800e9".to_owned(), ok()),
        ("exp", "41024448E+2".to_owned(), ok()),
        ("exp", "1.5e9".to_owned(), refused(TokenErrorKind::Expired)),
        ("exp", "0.5".to_owned(), refused(TokenErrorKind::Expired)),
        ("nbf", "1500000000.5".to_owned(), ok()),
        ("nbf", "-0.0".to_owned(), ok()),
        (
            "nbf",
            format!("{soon}.5"),
            refused(TokenErrorKind::NotYetValid),
        ),
        ("iat", "1795564283.5".to_owned(), ok()),
    ];
    for (name, value, expected) in cases {
        let token = signed(HS, HEAD, &text_with(&[(name, &value)]));
        assert_eq!(exact.user(&token).await, expected, "{name}: {value}");
    }
    for value in [
        "1e400",
        "1e30",
        "1795564283000",
        "-1",
        "-0.5",
        "-1e400",
        "\"1795564283\"",
        "true",
        "{}",
    ] {
        for name in ["exp", "nbf"] {
            let token = signed(HS, HEAD, &text_with(&[(name, value)]));
            assert_eq!(
                exact.user(&token).await,
                refused(TokenErrorKind::NumericDate(name)),
                "{name}: {value}"
            );
        }
    }
    for value in ["NaN", "Infinity", "01", "1.", ".5", "+1", "0x10"] {
        let token = signed(HS, HEAD, &text_with(&[("exp", value)]));
        let answer = exact.user(&token).await;
        assert_eq!(answer, refused(TokenErrorKind::Claims), "{value}");
    }
}

#[tokio::test]
async fn a_fraction_of_a_second_counts_against_the_token() {
    let now = now();
    let clock = TestClock::at(UNIX_EPOCH + Duration::from_secs(now));
    let asked = asking_at(jwt(verifying(HS)).leeway(Duration::ZERO), clock);
    let ok = || Ok("alice".to_owned());
    for (name, value, expected) in [
        ("exp", format!("{now}.9"), refused(TokenErrorKind::Expired)),
        ("exp", format!("{}", now + 1), ok()),
        (
            "nbf",
            format!("{now}.1"),
            refused(TokenErrorKind::NotYetValid),
        ),
        ("nbf", format!("{now}.0"), ok()),
    ] {
        let token = signed(HS, HEAD, &text_with(&[(name, &value)]));
        assert_eq!(asked.user(&token).await, expected, "{name}: {value}");
    }
}

#[tokio::test]
async fn a_fraction_of_a_second_is_cut_and_not_rounded() {
    let token = signed(
        HS,
        HEAD,
        &text_with(&[("exp", "4102444800.9"), ("iat", "7.9")]),
    );
    let asked = asking(jwt(verifying(HS)).leeway(Duration::ZERO));
    let context = asked.send(bearer(&token)).await.expect("a good token");
    let token = context.attributes().get::<VerifiedToken>();
    let token = token.expect("always there");
    let since = |time: std::time::SystemTime| {
        let since = time.duration_since(UNIX_EPOCH);
        since.expect("after 1970").as_secs_f64()
    };
    assert_eq!(
        format!("{}", since(token.expires_at().expect("it has an end"))),
        "4102444800"
    );
    assert_eq!(token.issued_at().map(since), Some(7.0));
}

#[tokio::test]
async fn a_claim_that_nobody_asked_for_may_be_anything() {
    let asked = hs();
    let odd = [
        "null",
        "7",
        "1e999",
        "true",
        "\"x\"",
        "[]",
        "[7]",
        "{\"a\":[null]}",
    ];
    for name in [
        "sid",
        "jti",
        "iat",
        "azp",
        "scope",
        "auth_time",
        "tenant",
        "x",
    ] {
        for value in odd {
            let token = signed(HS, HEAD, &text_with(&[(name, value)]));
            let answer = asked.user(&token).await;
            assert_eq!(answer, Ok("alice".to_owned()), "{name}: {value}");
        }
    }
    for name in ["nbf", "cnf"] {
        let token = signed(HS, HEAD, &text_with(&[(name, "null")]));
        assert_eq!(asked.user(&token).await, Ok("alice".to_owned()), "{name}");
    }
    let waived = asking(
        Jwt::new(verifying(HS))
            .crypto_provider(both())
            .dangerously_accept_any_issuer()
            .dangerously_accept_any_audience()
            .user_id_claim("uid"),
    );
    for value in odd {
        let members = [
            ("iss", value),
            ("aud", value),
            ("sub", value),
            ("uid", "\"bob\""),
        ];
        let token = signed(HS, HEAD, &text_with(&members));
        assert_eq!(waived.user(&token).await, Ok("bob".to_owned()), "{value}");
    }
    let head = r#"{"alg":"HS256","typ":7,"cty":null,"x5t":7,"jku":["x"]}"#;
    let token = signed(HS, head, &claims("alice").to_string());
    assert_eq!(asked.user(&token).await, Ok("alice".to_owned()));
}

#[tokio::test]
async fn a_claim_of_another_type_is_missing_for_the_application() {
    let members = [("sid", "7"), ("jti", "[]"), ("iat", "\"x\"")];
    let token = signed(HS, HEAD, &text_with(&members));
    let context = hs().send(bearer(&token)).await.expect("a good token");
    let token = context.attributes().get::<VerifiedToken>();
    let token = token.expect("always there");
    assert_eq!(token.session_id(), None);
    assert_eq!(token.token_id(), None);
    assert_eq!(token.issued_at(), None);
}

#[tokio::test]
async fn a_revocation_check_asks_for_ids_that_can_be_compared() {
    let asked = asking(jwt(verifying(HS)).revoked_if(|token| token.token_id() == Some("7")));
    for (name, value, expected) in [
        ("jti", "\"6\"", Ok("alice".to_owned())),
        ("jti", "\"7\"", refused(TokenErrorKind::Revoked)),
        ("jti", "7", refused(TokenErrorKind::ClaimType("jti".into()))),
        ("sid", "7", refused(TokenErrorKind::ClaimType("sid".into()))),
        ("sid", "null", Ok("alice".to_owned())),
        ("iat", "\"x\"", refused(TokenErrorKind::NumericDate("iat"))),
    ] {
        let token = signed(HS, HEAD, &text_with(&[(name, value)]));
        assert_eq!(asked.user(&token).await, expected, "{name}: {value}");
    }
}

#[tokio::test]
async fn the_application_reads_the_user_before_any_rule_on_sub() {
    #[derive(Clone, Deserialize)]
    struct Account {
        sub: Value,
    }
    let by_application = asking(jwt(verifying(HS)).identity(|token, account: &Account| {
        assert!(token.subject().is_none_or(|sub| account.sub == sub));
        Ok(Identity::proved(UserId::try_from(account.sub.to_string())?))
    }));
    for (sub, user, problem) in [
        ("7", "7", TokenErrorKind::NumericId("sub".into())),
        ("-7.5", "-7.5", TokenErrorKind::NumericId("sub".into())),
        ("true", "true", TokenErrorKind::ClaimType("sub".into())),
        ("[7]", "[7]", TokenErrorKind::ClaimType("sub".into())),
    ] {
        let token = signed(HS, HEAD, &text_with(&[("sub", sub)]));
        assert_eq!(
            by_application.user(&token).await,
            Ok(user.to_owned()),
            "{sub}"
        );
        assert_eq!(hs().user(&token).await, refused(problem), "{sub}");
    }
    let shown = TokenErrorKind::NumericId("sub".into()).to_string();
    assert!(
        shown.contains("`sub`") && shown.contains("Jwt::identity"),
        "{shown}"
    );
}

#[tokio::test]
async fn what_is_not_unicode_is_refused_wherever_it_is() {
    let asked = hs();
    let odd = [
        ("an octet that begins nothing", &b"\xff"[..]),
        ("half a character", b"\xc3"),
        ("an overlong one", b"\xc0\xaf"),
        ("a surrogate in bytes", b"\xed\xa0\x80"),
        ("half a pair, escaped", br"\ud800"),
        ("the other half", br"\udc00 x"),
    ];
    let good = claims("alice").to_string();
    for (what, bytes) in odd {
        for wrap in ["\"x\":\"@\",", "\"@\":1,", "\"x\":{\"y\":[\"@\"]},"] {
            let with = |json: &str| {
                let (before, after) = wrap.split_once('@').expect("a place");
                let begin = [b"{", before.as_bytes(), bytes, after.as_bytes()].concat();
                [&begin, &json.as_bytes()[1..]].concat()
            };
            let token = signed_bytes(HS, HEAD.as_bytes(), &with(&good));
            let answer = asked.user(&token).await;
            assert_eq!(answer, refused(TokenErrorKind::Claims), "{what} in {wrap}");
            let token = signed_bytes(HS, &with(HEAD), good.as_bytes());
            let answer = asked.user(&token).await;
            assert_eq!(
                answer,
                refused(TokenErrorKind::Malformed),
                "{what} in {wrap}"
            );
        }
    }
    let fine = good.replacen('{', r#"{"x":"ü \ud83d\ude00 \\ud800","#, 1);
    let token = signed(HS, HEAD, &fine);
    assert_eq!(asked.user(&token).await, Ok("alice".to_owned()));
}

#[tokio::test]
async fn a_claim_that_is_missing_is_named() {
    let asked = asking(jwt(verifying(HS)).user_id_claim("https://id.example/uid"));
    let token = minted(HS, None, &claims("alice"));
    let answer = asked.user(&token).await;
    assert_eq!(answer, refused(missing("https://id.example/uid")));
    let Err(Why::Token(problem)) = answer else {
        panic!("it was refused");
    };
    let shown = problem.to_string();
    assert_eq!(shown, "the token has no claim `https://id.example/uid`");
}

async fn explained(
    strategy: Jwt<tower_user_scope::jwt::HasIssuer, tower_user_scope::jwt::HasAudience>,
    token: &str,
) -> (String, TokenError, Option<String>) {
    let layer = UserScopeLayer::builder()
        .strategy(strategy)
        .context_only()
        .build()
        .expect("the configuration is good");
    let (head, ()): (_, ()) = bearer(token).into_parts();
    let why = layer.explain(&head).await;
    let rejection = why.answer().expect_err("it is refused");
    let RejectionKind::Invalid { invalid, .. } = rejection.kind() else {
        panic!("{rejection:?}");
    };
    let source = invalid.source().and_then(|source| source.downcast_ref());
    let error: &TokenError = source.expect("a token's error");
    let user = invalid.user().map(str::to_owned);
    assert!(
        !format!("{rejection:?} {rejection}").contains("alice"),
        "{rejection:?}"
    );
    (why.to_string(), error.clone(), user)
}

#[tokio::test]
async fn an_explanation_shows_what_was_compared_and_whose_it_was() {
    let token = minted(HS, None, &claims_with(json!({"aud": ["other", "third"]})));
    let (shown, error, user) = explained(jwt(verifying(HS)), &token).await;
    assert!(
        shown.ends_with(
            "the token is for another audience: wanted \"api\", found \"other\", \
             \"third\"; it is the credential of \"alice\""
        ),
        "{shown}"
    );
    assert_eq!(error.wanted(), [AUDIENCE]);
    assert_eq!(error.found(), ["other", "third"]);
    assert!(error.is_verified());
    assert_eq!(user.as_deref(), Some("alice"));

    let token = minted(
        HS,
        None,
        &claims_with(json!({"iss": "https://evil.example"})),
    );
    let (shown, ..) = explained(jwt(verifying(HS)), &token).await;
    let expected = format!("wanted \"{ISSUER}\", found \"https://evil.example\"; it is");
    assert!(shown.contains(&expected), "{shown}");

    let token = minted(HS, None, &claims_with(json!({"exp": 1_000_000_000})));
    let (shown, error, _) = explained(jwt(verifying(HS)), &token).await;
    assert!(
        shown.contains("the token has expired at 2001-09-09T01:47:10Z; now is 2"),
        "with the leeway: {shown}"
    );
    assert_eq!(error.kind(), &TokenErrorKind::Expired);

    let token = minted(HS, None, &claims_with(json!({"nbf": 4_102_444_800_u64})));
    let (shown, ..) = explained(jwt(verifying(HS)), &token).await;
    assert!(
        shown.contains("before 2100-01-01T00:00:00Z; now is 2"),
        "{shown}"
    );

    let token = minted(HS, None, &claims("alice"));
    let (shown, ..) = explained(jwt(verifying(HS)).token_type("at+jwt"), &token).await;
    assert!(
        shown.contains("wanted \"at+jwt\", found \"JWT\""),
        "{shown}"
    );
}

#[tokio::test]
async fn the_audit_event_of_a_refusal_says_whose_genuine_token_it_was() {
    let stale = minted(HS, None, &claims_with(json!({"exp": 1_000_000_000})));
    let (unsigned, _) = stale.rsplit_once('.').expect("it has a signature");
    // A token with a bad signature has no user, whatever it claims.
    let forged = format!("{unsigned}.{}", base64url([0; 32]));
    for (token, whose) in [(stale, Some("alice")), (forged, None)] {
        let recorder = Recorder::new();
        let layer = UserScopeLayer::builder()
            .strategy(jwt(verifying(HS)))
            .observer(recorder.clone())
            .context_only()
            .build()
            .expect("the configuration is good");
        let inner = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(())));
        let answered = layer.layer(inner).oneshot(bearer(&token)).await;
        assert_eq!(answered.expect("infallible").status(), 401);
        let refusal = recorder.take().pop();
        let Some(AuditEvent::Refused {
            rejection, subject, ..
        }) = &refusal
        else {
            panic!("{refusal:?}");
        };
        let RejectionKind::Invalid { invalid, .. } = rejection.kind() else {
            panic!("{rejection:?}");
        };
        assert_eq!(invalid.user(), whose);
        // The user of a refused token is not a validated id.
        assert!(subject.is_none());
    }
}

#[tokio::test]
async fn what_an_unverified_token_says_is_marked_and_is_nobodys() {
    let issuers = Jwt::of_issuers([
        Issuer::new(ISSUER, verifying(HS)).audience(AUDIENCE),
        Issuer::new("https://partner.example", verifying(HS)).audience(AUDIENCE),
    ])
    .issuers_share_users()
    .crypto_provider(both());
    let evil = format!("https://evil.example/\n{}", "x".repeat(1_000));
    let token = minted(HS, None, &claims_with(json!({"iss": evil})));
    let (shown, error, user) = explained(issuers, &token).await;
    assert!(shown.ends_with("…\" (unverified)"), "{shown}");
    assert!(
        shown.contains("https://evil.example/\\n") && shown.len() < 600,
        "{shown}"
    );
    assert!(!error.is_verified());
    assert_eq!(user, None);

    let good = minted(HS, None, &claims("alice"));
    let (changed, _) = good.rsplit_once('.').expect("three parts");
    let (shown, _, user) = explained(jwt(verifying(HS)), &format!("{changed}.AAAA")).await;
    assert!(
        !shown.contains("alice") && !shown.contains(changed),
        "{shown}"
    );
    assert_eq!(user, None, "nobody has signed it");
}

#[tokio::test]
async fn settings_that_change_after_a_token_was_seen_count_for_it_too() {
    use tower_user_scope::{MaybeFuture, Outcome, strategy::Strategy};
    type Ready = Jwt<tower_user_scope::jwt::HasIssuer, tower_user_scope::jwt::HasAudience>;
    type Change = (&'static str, fn(Ready) -> Ready);
    let is_found = |strategy: &Ready, request: Request<()>| {
        let (head, ()) = request.into_parts();
        matches!(
            strategy.resolve(&head),
            MaybeFuture::Ready(Outcome::Found(_))
        )
    };
    let token = minted(
        HS,
        None,
        &claims_with(json!({"exp": now() - 10, "sub": "x y"})),
    );
    let loose = || {
        jwt(verifying(HS)).identity(|_, claims: &Value| {
            let sub = claims["sub"].as_str().unwrap_or_default().replace(' ', "");
            Ok(Identity::proved(sub.parse::<UserId>()?))
        })
    };
    let changes: [Change; 6] = [
        ("token_type", |it| it.token_type("at+jwt")),
        ("leeway", |it| it.leeway(Duration::ZERO)),
        ("user_id_claim", |it| it.user_id_claim("uid")),
        ("claims", |it| it.claims::<Vec<u8>>()),
        ("revoked_if", |it| it.revoked_if(|_| true)),
        ("identity", |it| {
            it.identity(|_, _: &Value| Err(TokenErrorKind::WrongType.into()))
        }),
    ];
    for (what, change) in changes {
        let asked = loose();
        assert!(is_found(&asked, bearer(&token)), "{what}, before");
        let other = change(asked.clone());
        assert!(!is_found(&other, bearer(&token)), "{what}, of a clone");
        assert!(is_found(&asked, bearer(&token)), "{what}, of the first");
        assert!(!is_found(&change(asked), bearer(&token)), "{what}, changed");
    }
    // The other way round, a verdict of the stricter strategy is not one of the looser strategy.
    let strict = jwt(verifying(HS)).claims::<Vec<u8>>();
    assert!(!is_found(&strict, bearer(&token)));
}
