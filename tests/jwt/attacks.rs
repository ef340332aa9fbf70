//! No token of an attacker is accepted, and each one is refused quickly.

use http::{HeaderValue, Request, StatusCode, header};
use serde_json::json;
use tower_user_scope::{
    jwt::{Algorithm, Jwt, Key, KeySet, TokenErrorKind},
    strategy::InvalidErrorKind,
    token::TokenSource,
};

use crate::tokens::{
    AUDIENCE, Asked, HS, ISSUER, OTHER_SECRET, Why, asking, base64url, bearer, claims, claims_with,
    hs, is_before_claims, jwt, minted, public_pem, refused, signed, verifying,
};

#[tokio::test]
async fn an_id_in_a_token_is_an_id() {
    let asked = hs();
    for sub in [
        "",
        "undefined",
        "null",
        "[object Object]",
        " alice",
        "a\u{202e}b",
        "a\nb",
    ] {
        let token = minted(HS, None, &claims(sub));
        let why = asked.user(&token).await.expect_err("no id");
        assert!(
            matches!(why, Why::Token(TokenErrorKind::Id(_))),
            "{sub:?} was refused as {why:?}"
        );
    }
}

#[tokio::test]
async fn duplicate_members_are_refused() {
    let asked = hs();
    let good = claims("alice").to_string();
    let twice = good.replacen('{', "{\"sub\":\"mallory\",", 1);
    let escaped = good.replacen('{', "{\"\\u0073ub\":\"mallory\",", 1);
    let other = good.replacen('{', "{\"x\":1,\"x\":2,", 1);
    for payload in [&twice, &escaped, &other] {
        let token = signed(HS, r#"{"alg":"HS256"}"#, payload);
        assert_eq!(
            asked.user(&token).await,
            refused(TokenErrorKind::Claims),
            "{payload}"
        );
    }
    for head in [
        r#"{"alg":"HS256","alg":"HS256"}"#,
        r#"{"alg":"none","alg":"HS256"}"#,
        r#"{"alg":"HS256","\u0061lg":"none"}"#,
        r#"{"alg":"HS256","x":1,"x":1}"#,
    ] {
        let token = signed(HS, head, &good);
        assert_eq!(
            asked.user(&token).await,
            refused(TokenErrorKind::Malformed),
            "{head}"
        );
    }
}

#[tokio::test]
async fn a_header_is_read_strictly() {
    let asked = hs();
    let good = claims("alice").to_string();
    for (head, problem) in [
        (
            r#"{"alg":"HS256","crit":["exp"],"exp":1}"#,
            TokenErrorKind::CriticalHeader,
        ),
        (
            r#"{"alg":"HS256","crit":[]}"#,
            TokenErrorKind::CriticalHeader,
        ),
        (
            r#"{"alg":"HS256","b64":false,"crit":["b64"]}"#,
            TokenErrorKind::CriticalHeader,
        ),
        (
            r#"{"alg":"HS256","b64":true}"#,
            TokenErrorKind::CriticalHeader,
        ),
        (r#"{"typ":"JWT"}"#, TokenErrorKind::Malformed),
        (r#"{"alg":null}"#, TokenErrorKind::Malformed),
        (r#"{"alg":["HS256"]}"#, TokenErrorKind::Malformed),
        (r#"{"alg":"HS256","kid":7}"#, TokenErrorKind::Malformed),
        (r#"["HS256"]"#, TokenErrorKind::Malformed),
        (r#""HS256""#, TokenErrorKind::Malformed),
        (r#"{"alg":"HS256"} {}"#, TokenErrorKind::Malformed),
        ("{\"alg\":\"HS256\"", TokenErrorKind::Malformed),
        ("", TokenErrorKind::Malformed),
        (r#"{"alg":"HS256 "}"#, TokenErrorKind::UnsupportedAlgorithm),
        (r#"{"alg":"hs256"}"#, TokenErrorKind::UnsupportedAlgorithm),
        (r#"{"alg":""}"#, TokenErrorKind::UnsupportedAlgorithm),
    ] {
        let token = signed(HS, head, &good);
        assert_eq!(asked.user(&token).await, refused(problem), "{head}");
    }
}

#[tokio::test]
async fn a_text_that_is_not_a_signed_jwt_is_refused() {
    let asked = hs();
    let good = minted(HS, None, &claims("alice"));
    let parts: Vec<&str> = good.split('.').collect();
    let (head, payload, signature) = (parts[0], parts[1], parts[2]);
    for token in [
        "a".to_owned(),
        ".".to_owned(),
        "..".to_owned(),
        "...".to_owned(),
        head.to_owned(),
        format!("{head}.{payload}"),
        format!("{head}.{payload}."),
        format!(".{payload}.{signature}"),
        format!("{head}..{signature}"),
        format!("{good}."),
        format!("{good}.{signature}"),
        format!("{good}.x.y"),
        format!("{good}="),
        format!("{head}=.{payload}.{signature}"),
        format!("{head}.{payload}~.{signature}"),
        format!("{head}.{payload}.{signature}+"),
        format!("{}/{payload}.{signature}", &head[1..]),
    ] {
        let why = asked.user(&token).await.expect_err("no token");
        assert!(is_before_claims(&why), "{token} was refused as {why:?}");
    }
}

#[tokio::test]
async fn base64url_has_one_spelling() {
    let asked = hs();
    let good = minted(HS, None, &claims("alice"));
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    // 32 bytes are 43 characters, and two bits of the last one are unused.
    let (rest, last) = good.split_at(good.len() - 1);
    let mut accepted = Vec::new();
    for other in alphabet.chars() {
        if asked.user(&format!("{rest}{other}")).await.is_ok() {
            accepted.push(other.to_string());
        }
    }
    assert_eq!(accepted, [last], "only the spelling that was signed");
}

#[tokio::test]
async fn any_changed_byte_is_refused() {
    for algorithm in [Algorithm::HS256, Algorithm::ES256, Algorithm::EdDSA] {
        let asked = asking(jwt(verifying(algorithm)));
        let good = minted(algorithm, None, &claims("alice"));
        for at in 0..good.len() {
            let mut token = good.clone().into_bytes();
            token[at] = if token[at] == b'A' { b'B' } else { b'A' };
            let token = String::from_utf8(token).expect("still ASCII");
            assert!(
                asked.user(&token).await.is_err(),
                "{algorithm}: byte {at} was changed and nobody noticed"
            );
        }
    }
}

#[tokio::test]
async fn no_spelling_of_none_is_an_algorithm() {
    for key in [HS, Algorithm::RS256, Algorithm::EdDSA] {
        let asked = asking(jwt(verifying(key)));
        for none in [
            "none",
            "None",
            "NONE",
            "nOnE",
            "none ",
            " none",
            "",
            "null",
            "NONE\\u0000",
        ] {
            for signature in ["", "AAAA", "."] {
                let head = base64url(format!(r#"{{"alg":"{none}","typ":"JWT"}}"#));
                let token = format!(
                    "{head}.{}.{signature}",
                    base64url(claims("alice").to_string())
                );
                let why = asked.user(&token).await.expect_err("not signed");
                assert!(is_before_claims(&why), "alg {none:?}: {why:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_public_key_is_not_used_as_an_hmac_secret() {
    for key in [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA] {
        let asked = asking(jwt(verifying(key)));
        let pem = public_pem(key);
        for secret in [
            pem.to_owned(),
            pem.trim_end().to_owned(),
            pem.replace('\n', "\r\n"),
        ] {
            crate::tokens::install_provider();
            let token = jsonwebtoken::encode(
                &jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256),
                &claims("alice"),
                &jsonwebtoken::EncodingKey::from_secret(secret.as_bytes()),
            )
            .expect("it can be signed");
            assert_eq!(
                asked.user(&token).await,
                refused(TokenErrorKind::WrongAlgorithm),
                "{key}"
            );
        }
    }
}

#[tokio::test]
async fn keys_and_links_to_keys_in_the_header_are_never_used() {
    // It is signed with the attacker's key, which is in the token.
    let asked = asking(jwt(verifying(Algorithm::ES384)));
    let jwk = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    for member in [
        format!(r#""jwk":{jwk}"#),
        r#""jku":"https://evil.example/keys""#.to_owned(),
        r#""x5u":"https://evil.example/cert""#.to_owned(),
        r#""x5c":["MIIB"]"#.to_owned(),
    ] {
        let head = format!(r#"{{"alg":"EdDSA",{member}}}"#);
        let token = signed(Algorithm::EdDSA, &head, &claims("alice").to_string());
        assert_eq!(
            asked.user(&token).await,
            refused(TokenErrorKind::WrongAlgorithm),
            "{member}"
        );
    }
}

#[tokio::test]
async fn a_key_id_is_only_compared() {
    let set = KeySet::new([verifying(HS).with_id("a")]).expect("a set");
    let asked = asking(jwt(set));
    for kid in [
        "../../../../dev/null",
        "/proc/self/environ",
        "a' OR '1'='1",
        "a\" UNION SELECT 'x",
        "| sleep 5",
        "http://evil.example/",
        "A",
        "a ",
        "a\\u0000",
        "",
    ] {
        let head = format!(r#"{{"alg":"HS256","kid":"{}"}}"#, kid.replace('"', "\\\""));
        let token = signed(HS, &head, &claims("alice").to_string());
        assert_eq!(
            asked.user(&token).await,
            refused(TokenErrorKind::UnknownKey),
            "{kid}"
        );
    }
    // A long name with every character that JSON has to escape.
    let token = signed(
        HS,
        &json!({"alg": "HS256", "kid": "\u{0}\"\\\n".repeat(200)}).to_string(),
        &claims("alice").to_string(),
    );
    assert_eq!(
        asked.user(&token).await,
        refused(TokenErrorKind::UnknownKey)
    );
}

/// Browsers do not treat such a name as prefixed, so any host of the domain may set it.
#[tokio::test]
async fn a_cookie_whose_name_only_unicode_white_space_sets_apart_holds_no_token() {
    let source = TokenSource::cookie("__Host-token");
    let asked = asking(jwt(verifying(HS)).token_source(source));
    let token = minted(HS, None, &claims("mallory"));
    for space in ["\u{85}", "\u{a0}", "\u{2000}", "\u{3000}"] {
        let request = Request::builder()
            .header("cookie", format!("{space}__Host-token={token}").as_bytes())
            .body(())
            .expect("bytes that a header may have");
        let answered = asked.send(request).await;
        assert!(answered.is_err(), "{space:?}: {answered:?}");
    }
}

#[tokio::test]
async fn more_than_one_token_is_refused_wherever_they_are() {
    let asked = asking(
        jwt(verifying(HS))
            .also_token_source(TokenSource::cookie("__Host-token"))
            .also_token_source(TokenSource::websocket_protocol("bearer"))
            .also_token_source(TokenSource::query("access_token")),
    );
    let token = minted(HS, None, &claims("alice"));
    let places: [(&str, Option<(&str, String)>); 4] = [
        ("authorization", None),
        ("cookie", None),
        ("sec-websocket-protocol", None),
        ("query", None),
    ];
    let value = |place: &str| match place {
        "authorization" => format!("Bearer {token}"),
        "cookie" => format!("a=b; __Host-token={token}; c=d"),
        _ => format!("chat, bearer, {token}"),
    };
    let request = |used: &[&str]| {
        let mut request = Request::builder().uri("/");
        for place in used {
            request = if *place == "query" {
                request.uri(format!("/?x=1&access_token={token}"))
            } else {
                request.header(*place, value(place))
            };
        }
        request.body(()).expect("a request")
    };
    for (place, _) in &places {
        let context = asked.send(request(&[place])).await;
        assert!(context.is_ok(), "a token in {place} alone: {context:?}");
        for (other, _) in &places {
            if place == other && *place == "query" {
                continue;
            }
            let rejection = asked
                .send(request(&[place, other]))
                .await
                .map(|_| panic!("{place} and {other}"));
            let rejection = rejection.expect_err("two tokens");
            if place == other {
                assert_eq!(rejection.status(), StatusCode::BAD_REQUEST, "{place} twice");
                continue;
            }
            assert_eq!(
                Why::from(rejection),
                Why::Credential(InvalidErrorKind::Repeated),
                "{place} and {other}"
            );
        }
    }
    let twice = Request::builder()
        .uri(format!("/?access_token={token}&access_token={token}"))
        .body(())
        .expect("a request");
    let why: Why = asked.send(twice).await.expect_err("two tokens").into();
    assert_eq!(why, Why::Credential(InvalidErrorKind::Repeated));
}

#[tokio::test]
async fn tokens_above_the_limit_are_refused_unread() {
    let asked = hs();
    let long = minted(HS, None, &claims_with(json!({"x": "x".repeat(9_000)})));
    let limit =
        Jwt::<tower_user_scope::jwt::HasIssuer, tower_user_scope::jwt::HasAudience>::MAX_LEN;
    let why = asked.user(&long).await.expect_err("too long");
    assert!(
        matches!(why, Why::Token(TokenErrorKind::TooLong { .. })),
        "{why:?}, of {limit}"
    );
    let megabyte = "a".repeat(1 << 20);
    let why = asked.user(&megabyte).await.expect_err("too long");
    assert!(
        matches!(why, Why::Token(TokenErrorKind::TooLong { .. })),
        "{why:?}"
    );

    let wider = asking(jwt(verifying(HS)).max_len(16_384));
    assert_eq!(wider.user(&long).await, Ok("alice".to_owned()));
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    fn ask(request: Request<()>) -> Result<String, Why> {
        static ASKED: std::sync::OnceLock<(Asked, tokio::runtime::Runtime)> =
            std::sync::OnceLock::new();
        let (asked, runtime) = ASKED.get_or_init(|| {
            let strategy = jwt([
                verifying(HS).with_id("a"),
                Key::hmac(HS, OTHER_SECRET).expect("a key"),
            ])
            .also_token_source(TokenSource::cookie("token"))
            .also_token_source(TokenSource::websocket_protocol("bearer"))
            .also_token_source(TokenSource::query("access_token"));
            let runtime = tokio::runtime::Builder::new_current_thread().build();
            (asking(strategy), runtime.expect("a runtime"))
        });
        let answer = runtime.block_on(asked.send(request));
        answer
            .map(|context| context.user_id().expect("a user").to_string())
            .map_err(Why::from)
    }

    fn with(name: &str, value: &[u8]) -> Option<Request<()>> {
        let value = HeaderValue::from_bytes(value).ok()?;
        let mut request = Request::new(());
        request.headers_mut().insert(
            header::HeaderName::try_from(name).expect("a header name"),
            value,
        );
        Some(request)
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_in_any_place_are_nobody(
            place in prop::sample::select(vec!["authorization", "cookie", "sec-websocket-protocol"]),
            prefix in prop::sample::select(vec!["", "Bearer ", "token=", "bearer, ", "bearer."]),
            bytes in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let value = [prefix.as_bytes(), &bytes].concat();
            if let Some(request) = with(place, &value) {
                prop_assert!(ask(request).is_err());
            }
        }

        #[test]
        fn arbitrary_headers_and_payloads_that_nobody_signed_are_nobody(
            head in "\\PC{0,60}", payload in "\\PC{0,60}", signature in prop::collection::vec(any::<u8>(), 0..80),
        ) {
            let token = format!("{}.{}.{}", base64url(head), base64url(payload), base64url(signature));
            prop_assert!(ask(bearer(&token)).is_err());
        }

        #[test]
        fn arbitrary_claims_that_are_signed_are_only_whom_they_say(
            sub in "\\PC{0,40}", exp in any::<i64>(), extra in "\\PC{0,20}", value in any::<f64>(),
        ) {
            let claims = json!({"iss": ISSUER, "aud": AUDIENCE, "sub": sub, "exp": exp, "x": {extra: value}});
            if let Ok(user) = ask(bearer(&minted(HS, Some("a"), &claims))) {
                prop_assert_eq!(user, sub);
            }
        }

        #[test]
        fn arbitrary_queries_are_nobody(query in "[ -~]{0,80}") {
            let uri = format!("/?access_token={}", query.replace([' ', '"', '<', '>', '\\', '^', '`', '{', '|', '}', '#'], "+"));
            if let Ok(request) = Request::builder().uri(uri).body(()) {
                prop_assert!(ask(request).is_err());
            }
        }
    }
}
