//! Which tokens are accepted, and why others are refused.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};

use http::{HeaderValue, Request, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};
use tower_user_scope::{
    Identity, Principal, UserId, UserScopeLayer,
    context::{CorrelationErrorKind, ServiceName},
    jwt::{Issuer, Jwt, Key, TokenConfigError, TokenErrorKind, VerifiedToken},
    rejection::RejectionKind,
    strategy::{InvalidErrorKind, Strategy},
    testing::TestClock,
    token::{TokenCache, TokenSource},
};

use crate::tokens::{
    ALGORITHMS, AUDIENCE, HS, ISSUER, OTHER_SECRET, Why, asking, asking_at, bearer, claims,
    claims_with, hs, jwt, minted, missing, now, providers::both, refused, signed, verifying,
};

#[tokio::test]
async fn a_good_token_of_each_algorithm_is_accepted() {
    for algorithm in ALGORITHMS {
        let asked = asking(jwt(verifying(algorithm)));
        let token = minted(algorithm, None, &claims("alice"));
        assert_eq!(
            asked.user(&token).await,
            Ok("alice".to_owned()),
            "{algorithm}"
        );
    }
}

#[tokio::test]
async fn a_tokens_identity_is_proved_and_ends_with_its_exp() {
    let expires_at = now() + 3_600;
    let token = minted(
        HS,
        None,
        &claims_with(json!({"exp": expires_at, "jti": "t-1", "sid": "s-1"})),
    );
    let context = hs().send(bearer(&token)).await.expect("a good token");

    assert_eq!(context.strategy(), "jwt");
    assert!(context.evidence().is_proved());
    let token = context
        .attributes()
        .get::<VerifiedToken>()
        .expect("always there");
    assert_eq!(context.identity().expires_at(), token.expires_at());
    assert_eq!(token.issuer(), Some(ISSUER));
    assert_eq!(token.audience(), Some(AUDIENCE));
    assert_eq!(token.subject(), Some("alice"));
    assert_eq!(token.token_id(), Some("t-1"));
    assert_eq!(token.session_id(), Some("s-1"));
}

#[tokio::test]
async fn claims_that_do_not_hold_are_refused() {
    let cases: Vec<(&str, Value, TokenErrorKind)> = vec![
        (
            "expired",
            json!({"exp": now() - 31}),
            TokenErrorKind::Expired,
        ),
        ("long expired", json!({"exp": 0}), TokenErrorKind::Expired),
        ("no exp", json!({"exp": null}), missing("exp")),
        (
            "not yet",
            json!({"nbf": now() + 90}),
            TokenErrorKind::NotYetValid,
        ),
        (
            "another issuer",
            json!({"iss": "https://evil.example"}),
            TokenErrorKind::WrongIssuer,
        ),
        (
            "nearly the issuer",
            json!({"iss": "https://id.example/"}),
            TokenErrorKind::WrongIssuer,
        ),
        ("no issuer", json!({"iss": null}), missing("iss")),
        (
            "another audience",
            json!({"aud": "other"}),
            TokenErrorKind::WrongAudience,
        ),
        (
            "other audiences",
            json!({"aud": ["other", "API"]}),
            TokenErrorKind::WrongAudience,
        ),
        ("no audience", json!({"aud": null}), missing("aud")),
        (
            "an empty list of audiences",
            json!({"aud": []}),
            missing("aud"),
        ),
        ("no subject", json!({"sub": null}), missing("sub")),
        (
            "exp in a string",
            json!({"exp": "9999999999"}),
            TokenErrorKind::NumericDate("exp"),
        ),
        (
            "negative exp",
            json!({"exp": -1}),
            TokenErrorKind::NumericDate("exp"),
        ),
        (
            "exp after the year 9999",
            json!({"exp": 253_402_300_800_u64}),
            TokenErrorKind::NumericDate("exp"),
        ),
        (
            "exp at the end of u64",
            json!({"exp": u64::MAX}),
            TokenErrorKind::NumericDate("exp"),
        ),
        (
            "exp as a list",
            json!({"exp": [9_999_999_999_u64]}),
            TokenErrorKind::NumericDate("exp"),
        ),
        (
            "exp as a bool",
            json!({"exp": true}),
            TokenErrorKind::NumericDate("exp"),
        ),
        (
            "nbf in a string",
            json!({"nbf": "0"}),
            TokenErrorKind::NumericDate("nbf"),
        ),
        (
            "a subject that is a number",
            json!({"sub": 7}),
            TokenErrorKind::NumericId("sub".into()),
        ),
        (
            "an issuer that is a list",
            json!({"iss": [ISSUER]}),
            TokenErrorKind::ClaimType("iss".into()),
        ),
        (
            "an audience that is an object",
            json!({"aud": {"api": true}}),
            TokenErrorKind::ClaimType("aud".into()),
        ),
        (
            "audiences that are numbers",
            json!({"aud": ["api", 7]}),
            TokenErrorKind::ClaimType("aud".into()),
        ),
    ];
    let asked = hs();
    for (name, members, problem) in cases {
        let token = minted(HS, None, &claims_with(members));
        assert_eq!(asked.user(&token).await, refused(problem), "{name}");
    }
}

#[tokio::test]
async fn claims_that_hold_are_accepted() {
    let asked = hs();
    for (name, members) in [
        ("within the leeway of exp", json!({"exp": now() - 10})),
        ("within the leeway of nbf", json!({"nbf": now() + 10})),
        (
            "one of several audiences",
            json!({"aud": ["other", AUDIENCE]}),
        ),
        (
            "claims of other kinds",
            json!({"roles": ["a"], "n": 1.5, "nested": {"exp": "x"}}),
        ),
    ] {
        let token = minted(HS, None, &claims_with(members));
        assert_eq!(asked.user(&token).await, Ok("alice".to_owned()), "{name}");
    }
}

#[tokio::test]
async fn only_tokens_of_the_type_that_is_asked_for_are_accepted() {
    let asked = asking(jwt(verifying(HS)).token_type("at+jwt"));
    for (typ, accepted) in [
        (Some("at+jwt"), true),
        (Some("AT+JWT"), true),
        (Some("application/at+jwt"), true),
        (Some("Application/AT+jwt"), true),
        (Some("JWT"), false),
        (Some("xat+jwt"), false),
        (Some(""), false),
        (None, false),
    ] {
        let head = match typ {
            Some(typ) => json!({"alg": "HS256", "typ": typ}),
            None => json!({"alg": "HS256"}),
        };
        let token = signed(HS, &head.to_string(), &claims("alice").to_string());
        let answer = asked.user(&token).await;
        let expected = if accepted {
            Ok("alice".to_owned())
        } else {
            refused(TokenErrorKind::WrongType)
        };
        assert_eq!(answer, expected, "typ {typ:?}");
    }
}

#[tokio::test]
async fn each_issuers_tokens_are_verified_with_its_own_keys_only() {
    let other = Key::hmac(HS, OTHER_SECRET).expect("long enough");
    let asked = asking(
        Jwt::of_issuers([
            Issuer::new(ISSUER, verifying(HS)).audience(AUDIENCE),
            Issuer::new("https://partner.example", other).audience("partners"),
        ])
        .issuers_share_users()
        .crypto_provider(both()),
    );
    let partner = json!({"iss": "https://partner.example", "aud": "partners"});
    let ours = minted(HS, None, &claims("alice"));
    assert_eq!(asked.user(&ours).await, Ok("alice".to_owned()));
    // It is signed with our key and names the partner as its issuer.
    let token = minted(HS, None, &claims_with(partner));
    assert_eq!(asked.user(&token).await, refused(TokenErrorKind::Signature));
    let token = minted(HS, None, &claims_with(json!({"aud": "partners"})));
    assert_eq!(
        asked.user(&token).await,
        refused(TokenErrorKind::WrongAudience)
    );
    let token = minted(
        HS,
        None,
        &claims_with(json!({"iss": "https://third.example"})),
    );
    assert_eq!(
        asked.user(&token).await,
        refused(TokenErrorKind::WrongIssuer)
    );
    let token = minted(HS, None, &claims_with(json!({"iss": null})));
    assert_eq!(asked.user(&token).await, refused(missing("iss")));
}

#[tokio::test]
async fn users_of_several_issuers_are_the_same_only_where_that_is_configured() {
    const PARTNER: &str = "https://partner.example";
    let several = || {
        Jwt::of_issuers([
            Issuer::new(ISSUER, verifying(HS)).audience(AUDIENCE),
            Issuer::new(PARTNER, verifying(HS)).audience(AUDIENCE),
        ])
        .crypto_provider(both())
    };
    assert_eq!(
        several().validate(),
        Err(TokenConfigError::SameUsers.into()),
        "silently"
    );
    let ours = minted(HS, None, &claims("alice"));
    let partners = minted(HS, None, &claims_with(json!({"iss": PARTNER})));
    let by_subject = |token: &VerifiedToken, _: &Value| {
        let id = format!("{}#{}", token.issuer().unwrap_or_default(), "alice");
        Ok(Identity::proved(UserId::try_from(id)?))
    };
    for (what, strategy, one) in [
        ("tenant", several().tenant_claim("iss"), false),
        ("identity", several().identity(by_subject), false),
        ("shared", several().issuers_share_users(), true),
    ] {
        let asked = asking(strategy);
        let one_of = async |token: &str| asked.send(bearer(token)).await.expect("a good token");
        let (a, b) = (one_of(&ours).await, one_of(&partners).await);
        assert_eq!(a.subject() == b.subject(), one, "{what}");
    }
}

#[tokio::test]
async fn a_token_that_is_bound_to_a_key_is_refused() {
    let bound = json!({"cnf": {"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}});
    let token = minted(HS, None, &claims_with(bound));
    let asked = hs();
    assert_eq!(
        asked.user(&token).await,
        refused(TokenErrorKind::SenderConstrained)
    );
    let asked = asking(jwt(verifying(HS)).dangerously_accept_sender_constrained());
    assert_eq!(asked.user(&token).await, Ok("alice".to_owned()));
}

#[tokio::test]
async fn each_revocation_check_is_asked_however_many_there_are() {
    let by_id =
        |revoked: &'static str| move |token: &VerifiedToken| token.token_id() == Some(revoked);
    let later = |revoked: &'static str| {
        move |token: VerifiedToken| async move {
            tokio::task::yield_now().await;
            Ok::<_, std::io::Error>(token.token_id() == Some(revoked))
        }
    };
    let strategy = || jwt(verifying(HS));
    for (what, strategy) in [
        (
            "at once",
            strategy().revoked_if(by_id("a")).revoked_if(by_id("b")),
        ),
        (
            "at once, later",
            strategy()
                .revoked_if(by_id("a"))
                .revoked_if_async(later("b")),
        ),
        (
            "later, at once",
            strategy()
                .revoked_if_async(later("a"))
                .revoked_if(by_id("b")),
        ),
        (
            "later",
            strategy()
                .revoked_if_async(later("a"))
                .revoked_if_async(later("b")),
        ),
    ] {
        let asked = asking(strategy);
        for (id, expected) in [
            ("a", refused(TokenErrorKind::Revoked)),
            ("b", refused(TokenErrorKind::Revoked)),
            ("c", Ok("alice".to_owned())),
        ] {
            let token = minted(HS, None, &claims_with(json!({"jti": id})));
            assert_eq!(asked.user(&token).await, expected, "{what}, {id}");
        }
    }
}

#[tokio::test]
async fn claims_of_several_types_are_all_asked_for() {
    #[derive(Clone, Deserialize)]
    struct Roles {
        roles: Vec<String>,
    }
    #[derive(Clone, Deserialize)]
    struct Plan {
        plan: String,
    }
    let asked = asking(jwt(verifying(HS)).claims::<Roles>().claims::<Plan>());
    let token = minted(
        HS,
        None,
        &claims_with(json!({"roles": ["editor"], "plan": "free"})),
    );
    let context = asked.send(bearer(&token)).await.expect("a good token");
    let roles = context.attributes().get::<Roles>().map(|it| it.roles.len());
    let plan = context.attributes().get::<Plan>().map(|it| it.plan.clone());
    assert_eq!((roles, plan), (Some(1), Some("free".to_owned())));
    let token = minted(HS, None, &claims_with(json!({"plan": "free"})));
    assert_eq!(
        asked.user(&token).await,
        refused(TokenErrorKind::ApplicationClaims),
        "without what the first asks for"
    );
}

#[tokio::test]
async fn an_identity_that_ends_before_its_token_is_found_again() {
    let made = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&made);
    let asked = asking(jwt(verifying(HS)).identity(move |token, _: &Value| {
        // The first identity ends at once, the next one with the token.
        let identity = Identity::proved("alice".parse::<UserId>()?);
        Ok(match count.fetch_add(1, Ordering::Relaxed) {
            0 => identity.with_expires_at(UNIX_EPOCH),
            _ => identity.with_expires_at(token.expires_at().expect("it has an end")),
        })
    }));
    let token = minted(HS, None, &claims("alice"));
    assert_eq!(asked.user(&token).await.ok(), None, "it has ended");
    for _ in 0..2 {
        assert_eq!(asked.user(&token).await, Ok("alice".to_owned()));
    }
    assert_eq!(made.load(Ordering::Relaxed), 2, "and is remembered then");
}

#[tokio::test]
async fn an_invalid_id_from_the_applications_closure_makes_a_bad_token() {
    let asked = asking(jwt(verifying(HS)).identity(|_, claims: &Value| {
        let email = claims["email"].as_str().unwrap_or_default();
        Ok(Identity::proved(email.parse::<UserId>()?))
    }));
    let token = minted(HS, None, &claims_with(json!({"email": ""})));
    let Err(Why::Token(TokenErrorKind::Id(error))) = asked.user(&token).await else {
        panic!("the token is what is bad");
    };
    assert_eq!(error.field(), "user_id");
}

#[tokio::test]
async fn issuer_and_audience_checks_are_waived_by_explicit_methods_only() {
    let asked = asking(
        Jwt::new(verifying(HS))
            .crypto_provider(both())
            .dangerously_accept_any_issuer()
            .dangerously_accept_any_audience(),
    );
    let token = minted(HS, None, &claims_with(json!({"iss": null, "aud": null})));
    assert_eq!(asked.user(&token).await, Ok("alice".to_owned()));
    let token = minted(HS, None, &claims_with(json!({"exp": null})));
    assert_eq!(asked.user(&token).await, refused(missing("exp")));
}

#[tokio::test]
async fn the_scheme_is_read_as_rfc_6750_says() {
    let asked = hs();
    let token = minted(HS, None, &claims("alice"));
    let malformed = || Some(InvalidErrorKind::Malformed);
    let cases: Vec<(String, Result<bool, Option<InvalidErrorKind>>)> = vec![
        (format!("Bearer {token}"), Ok(true)),
        (format!("bearer {token}"), Ok(true)),
        (format!("BEARER   {token}"), Ok(true)),
        (format!("Bearer {token} "), Ok(true)),
        ("Basic YWxpY2U6eA==".to_owned(), Ok(false)),
        (format!("Bearerx {token}"), Ok(false)),
        (format!("DPoP {token}"), Ok(false)),
        ("Bearer".to_owned(), Err(malformed())),
        ("Bearer ".to_owned(), Err(malformed())),
        (format!("Bearer {token}, Bearer {token}"), Err(malformed())),
        (format!("Bearer {token} {token}"), Err(malformed())),
        (format!("Bearer \"{token}\""), Err(malformed())),
        (format!("Bearer\t{token}"), Err(malformed())),
        ("Bearer =".to_owned(), Err(malformed())),
    ];
    for (value, expected) in cases {
        let request = Request::builder()
            .header(header::AUTHORIZATION, &value)
            .body(())
            .expect("a request");
        let got = match asked.send(request).await {
            Ok(_) => Ok(true),
            Err(rejection) => match rejection.kind() {
                RejectionKind::NoCredential => Ok(false),
                RejectionKind::Invalid { invalid, .. } => Err(Some(invalid.kind())),
                _ => Err(None),
            },
        };
        assert_eq!(got, expected, "{value}");
    }
}

#[tokio::test]
async fn a_token_in_a_sub_protocol_does_not_reach_the_inner_service() {
    let asked = asking(jwt(verifying(HS)).token_source(TokenSource::websocket_protocol("bearer")));
    let token = minted(HS, None, &claims("alice"));
    for (sent, left) in [
        (format!("chat, bearer, {token}"), Some("chat, bearer")),
        (format!("bearer, {token}, chat"), Some("bearer, chat")),
        (format!("chat,bearer.{token}"), Some("chat")),
        (format!("bearer.{token}"), None),
    ] {
        let request = Request::builder()
            .header(header::SEC_WEBSOCKET_PROTOCOL, &sent)
            .body(())
            .expect("a request");
        let response = asked.response(request).await;
        let headers = response.extensions().get::<http::HeaderMap>();
        let headers = headers.expect("the inner service saw the request");
        let seen = headers.get(header::SEC_WEBSOCKET_PROTOCOL);
        assert_eq!(seen.and_then(|value| value.to_str().ok()), left, "{sent}");
    }
    for lonely in ["bearer", "chat, bearer"] {
        let request = Request::builder()
            .header(header::SEC_WEBSOCKET_PROTOCOL, lonely)
            .body(())
            .expect("a request");
        let why: Why = asked.send(request).await.expect_err("no token").into();
        assert_eq!(
            why,
            Why::Credential(InvalidErrorKind::Malformed),
            "{lonely}"
        );
    }
}

#[tokio::test]
async fn the_token_is_kept_out_of_what_debug_prints_of_the_headers() {
    let asked = asking(jwt(verifying(HS)).also_token_source(TokenSource::cookie("token")));
    let token = minted(HS, None, &claims("alice"));
    for request in [
        bearer(&token),
        Request::builder()
            .header(header::COOKIE, format!("token={token}"))
            .body(())
            .expect("a request"),
    ] {
        let response = asked.response(request).await;
        let headers = response.extensions().get::<http::HeaderMap>();
        let shown = format!("{:?}", headers.expect("the inner service saw the request"));
        assert!(!shown.contains(&token), "{shown}");
    }
}

#[tokio::test]
async fn challenges_say_no_more_than_rfc_6750_does() {
    let asked = hs();
    for (request, status, challenge) in [
        (Request::new(()), StatusCode::UNAUTHORIZED, "Bearer"),
        (
            bearer("a.b.c"),
            StatusCode::UNAUTHORIZED,
            "Bearer error=\"invalid_token\"",
        ),
        (
            bearer(&minted(HS, None, &claims_with(json!({"exp": 1})))),
            StatusCode::UNAUTHORIZED,
            "Bearer error=\"invalid_token\"",
        ),
        (
            bearer("a b"),
            StatusCode::BAD_REQUEST,
            "Bearer error=\"invalid_request\"",
        ),
    ] {
        let response = asked.response(request).await;
        assert_eq!(response.status(), status);
        let challenges: Vec<_> = response
            .headers()
            .get_all(header::WWW_AUTHENTICATE)
            .iter()
            .collect();
        assert_eq!(challenges, [&HeaderValue::from_static(challenge)]);
    }
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
struct Roles {
    roles: Vec<String>,
}

#[tokio::test]
async fn claims_reach_the_application_as_its_own_type() {
    for asked in [
        asking(jwt(verifying(HS)).claims::<Roles>()),
        asking(jwt(verifying(HS)).claims::<Roles>().without_cache()),
    ] {
        let token = minted(HS, None, &claims_with(json!({"roles": ["editor"]})));
        for _ in 0..2 {
            let context = asked.send(bearer(&token)).await.expect("a good token");
            let roles = context.attributes().get::<Roles>();
            assert_eq!(roles.expect("claims").roles, ["editor"]);
        }
        let token = minted(HS, None, &claims_with(json!({"roles": "editor"})));
        assert_eq!(
            asked.user(&token).await,
            refused(TokenErrorKind::ApplicationClaims)
        );
    }
}

#[tokio::test]
async fn the_application_can_make_the_identity() {
    #[derive(Clone, Deserialize)]
    struct Client {
        client_id: String,
    }
    let asked = asking(jwt(verifying(HS)).identity(|_, claims: &Client| {
        Ok(Identity::proved(claims.client_id.parse::<ServiceName>()?))
    }));
    let token = minted(HS, None, &claims_with(json!({"client_id": "billing"})));
    let context = asked.send(bearer(&token)).await.expect("a good token");
    let billing = ServiceName::try_from("billing").expect("a name");
    assert_eq!(context.principal(), &Principal::Service(billing));
    assert!(
        context.identity().expires_at().is_some(),
        "it ends with its token"
    );
}

#[tokio::test]
async fn named_claims_set_user_tenant_thread_and_run() {
    let asked = asking(
        jwt(verifying(HS))
            .user_id_claim("uid")
            .tenant_claim("org")
            .thread_id_claim("thread")
            .run_id_claim("run"),
    );
    let members = json!({"uid": "alice", "org": "acme", "thread": "t-1", "run": "r-1", "sub": "x"});
    let token = minted(HS, None, &claims_with(members));
    let context = asked.send(bearer(&token)).await.expect("a good token");
    assert_eq!(
        context.user_id(),
        Some(&UserId::try_from("alice").expect("an id"))
    );
    assert_eq!(
        context.subject().tenant_id().map(ToString::to_string),
        Some("acme".to_owned())
    );
    assert_eq!(context.thread_id().as_str(), "t-1");
    assert_eq!(context.run_id().as_str(), "r-1");

    let mut other = bearer(&token);
    other
        .headers_mut()
        .insert("x-thread-id", HeaderValue::from_static("t-2"));
    let rejection = asked.send(other).await.expect_err("another thread");
    assert_eq!(rejection.status(), StatusCode::BAD_REQUEST);
    let RejectionKind::Correlation(error) = rejection.kind() else {
        panic!("{rejection:?}");
    };
    assert_eq!(error.kind(), CorrelationErrorKind::NotOfCredential);

    let mut same = bearer(&token);
    same.headers_mut()
        .insert("x-thread-id", HeaderValue::from_static("t-1"));
    assert!(
        asked.send(same).await.is_ok(),
        "the same thread may be named"
    );

    let token = minted(HS, None, &claims_with(json!({"uid": 7})));
    assert_eq!(
        asked.user(&token).await,
        refused(TokenErrorKind::NumericId("uid".into()))
    );
    let token = minted(HS, None, &claims("alice"));
    assert_eq!(asked.user(&token).await, refused(missing("uid")));
}

#[tokio::test]
async fn revocation_is_checked_for_cached_tokens_too() {
    let revoked: Arc<Mutex<HashSet<String>>> = Arc::default();
    let asked_about = Arc::new(AtomicUsize::new(0));
    let (list, count) = (Arc::clone(&revoked), Arc::clone(&asked_about));
    let asked = asking(jwt(verifying(HS)).revoked_if(move |token| {
        count.fetch_add(1, Ordering::Relaxed);
        let list = list.lock().unwrap_or_else(PoisonError::into_inner);
        token.token_id().is_none_or(|id| list.contains(id))
    }));
    let token = minted(HS, None, &claims_with(json!({"jti": "t-1"})));
    assert_eq!(asked.user(&token).await, Ok("alice".to_owned()));
    assert_eq!(asked.user(&token).await, Ok("alice".to_owned()));
    revoked
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert("t-1".to_owned());
    assert_eq!(asked.user(&token).await, refused(TokenErrorKind::Revoked));
    assert_eq!(asked_about.load(Ordering::Relaxed), 3, "once a request");
}

#[tokio::test]
async fn revocation_can_wait_and_can_fail() {
    let asked = asking(
        jwt(verifying(HS)).revoked_if_async(|token: VerifiedToken| async move {
            tokio::task::yield_now().await;
            match token.token_id() {
                Some("good") => Ok(false),
                Some("bad") => Ok(true),
                _ => Err(std::io::Error::other("the list is not to be had")),
            }
        }),
    );
    for (id, answer) in [
        ("good", Ok("alice".to_owned())),
        ("bad", refused(TokenErrorKind::Revoked)),
        ("other", Err(Why::Unavailable)),
    ] {
        let token = minted(HS, None, &claims_with(json!({"jti": id})));
        for round in ["first", "again"] {
            assert_eq!(asked.user(&token).await, answer, "{id}, {round}");
        }
    }
}

#[tokio::test]
async fn a_cached_token_ends_when_it_expires() {
    let clock = TestClock::now();
    let strategy = jwt(verifying(HS)).leeway(Duration::ZERO);
    let asked = asking_at(strategy, clock.clone());
    let token = minted(HS, None, &claims_with(json!({"exp": now() + 60})));
    for second in [0, 1, 57] {
        clock.advance(Duration::from_secs(second));
        assert_eq!(asked.user(&token).await, Ok("alice".to_owned()));
    }
    clock.advance(Duration::from_secs(3));
    for round in ["remembered", "forgotten"] {
        assert_eq!(
            asked.user(&token).await,
            refused(TokenErrorKind::Expired),
            "{round}"
        );
    }
}

#[tokio::test]
async fn a_full_cache_evicts_entries() {
    let asked = asking(jwt(verifying(HS)).cache(TokenCache::new().max_entries(8)));
    for round in 0..3 {
        for user in 0..50 {
            let name = format!("user-{user}");
            let token = minted(HS, None, &claims(&name));
            assert_eq!(asked.user(&token).await, Ok(name), "round {round}");
        }
    }
}

/// The closure runs when a token is verified, and not when it is found in the cache.
#[tokio::test]
async fn a_cache_keeps_its_maximum_number_of_tokens_and_no_more() {
    const TOKENS: usize = 64;
    for (entries, fits) in [(8, false), (0, false), (16 * TOKENS, true)] {
        let verified = Arc::new(AtomicUsize::new(0));
        let counts = Arc::clone(&verified);
        let strategy = jwt(verifying(HS))
            .identity(move |_, claims: &Value| {
                counts.fetch_add(1, Ordering::SeqCst);
                let user = claims["sub"].as_str().unwrap_or_default();
                Ok(Identity::proved(UserId::try_from(user)?))
            })
            .cache(TokenCache::new().max_entries(entries));
        let asked = asking(strategy);
        let tokens: Vec<_> = (0..TOKENS)
            .map(|user| minted(HS, None, &claims(&format!("user-{user}"))))
            .collect();
        for token in &tokens {
            assert!(asked.user(token).await.is_ok());
        }
        verified.store(0, Ordering::SeqCst);
        for token in &tokens {
            assert!(asked.user(token).await.is_ok());
        }
        let again = verified.load(Ordering::SeqCst);
        if fits {
            assert_eq!(again, 0, "each of {TOKENS} is remembered");
        } else {
            let forgotten = TOKENS - entries.max(1);
            assert!(
                again >= forgotten,
                "{again} of {TOKENS} with room for {entries}"
            );
        }
    }
}

#[tokio::test]
async fn a_clone_in_a_new_layer_keeps_the_tokens_that_were_verified() {
    let verified = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&verified);
    let strategy = jwt(verifying(HS)).identity(move |_, claims: &Value| {
        counts.fetch_add(1, Ordering::SeqCst);
        let user = claims["sub"].as_str().unwrap_or_default();
        Ok(Identity::proved(UserId::try_from(user)?))
    });
    let layer = || {
        UserScopeLayer::builder()
            .strategy(strategy.clone())
            .context_only()
            .build()
            .expect("good")
    };
    let token = minted(HS, None, &claims("alice"));
    let (head, ()) = bearer(&token).into_parts();
    for _ in 0..3 {
        let found = layer().explain(&head).await;
        assert!(found.answer().is_ok(), "{found}");
    }
    assert_eq!(verified.load(Ordering::SeqCst), 1);
}
