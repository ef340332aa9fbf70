//! Keys that an issuer publishes late, rotates, breaks, removes and publishes again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::StatusCode;
use serde_json::{Value, json};
use tokio_rustls::rustls::{self, pki_types::PrivateKeyDer};
use tower_user_scope::{
    ConfigError,
    jwt::{
        Algorithm, CryptoProvider, FetchDocument, FetchError, HttpsFetch, Issuer, Jwt, RemoteKeys,
        TokenConfigError, TokenErrorKind, UrlProblem,
    },
    strategy::Strategy,
    testing::TestClock,
};

use crate::{
    issuer::{IssuerServer, eventually, jwk},
    tokens::{
        AUDIENCE, Asked, ISSUER, Why, asking, asking_at, claims, claims_with, jwk::others, jwt,
        jwt_on, minted,
    },
};

const ED: Algorithm = Algorithm::EdDSA;
const ES: Algorithm = Algorithm::ES256;
const MINUTE: Duration = Duration::from_secs(60);
const AGES: Duration = Duration::from_secs(3_600);

/// Keys that are fetched on demand, and never in the background while a test runs.
fn keys(server: &IssuerServer) -> RemoteKeys {
    RemoteKeys::from_url(server.url("/keys"))
        .refresh_every(AGES)
        .keep_for(AGES)
}

/// The same, without a limit on the rate of fetches.
fn eager(server: &IssuerServer) -> RemoteKeys {
    keys(server).refetch_at_most_every(Duration::from_millis(1))
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "it is an answer, to compare answers with"
)]
fn alice() -> Result<String, Why> {
    Ok("alice".to_owned())
}

fn unknown() -> Result<String, Why> {
    Err(Why::Token(TokenErrorKind::UnknownKey))
}

fn without_id(mut key: Value) -> Value {
    key.as_object_mut().expect("an object").remove("kid");
    key
}

fn token(algorithm: Algorithm, id: &str) -> String {
    minted(algorithm, Some(id), &claims("alice"))
}

/// Sends requests until the result is this one.
async fn until(asked: &Asked, token: &str, wanted: &Result<String, Why>) {
    eventually(&format!("{wanted:?}"), async || {
        asked.user(token).await == *wanted
    })
    .await;
}

#[tokio::test]
async fn a_request_waits_for_keys_that_arrive_late() {
    let server = IssuerServer::start().await;
    server.publish([jwk(ED, "a")]);
    server.hold();
    let asked = asking(jwt(keys(&server)));
    let waiting: Vec<_> = (0..20)
        .map(|_| {
            let asked = asked.clone();
            tokio::spawn(async move { asked.user(&token(ED, "a")).await })
        })
        .collect();
    server.is_asked(1).await;
    server.open();
    for answer in waiting {
        assert_eq!(answer.await.expect("it ends"), alice());
    }
    assert_eq!(server.asked(), 1, "twenty requests need one fetch");
}

#[tokio::test]
async fn ready_waits_for_the_keys_and_returns_why_there_are_none() {
    let server = IssuerServer::start().await;
    let none = keys(&server);
    let error = none.ready().await.expect_err("404");
    assert!(format!("{error:?}").contains("404"), "{error:?}");
    server.publish([jwk(ED, "a")]);
    let some = keys(&server);
    some.ready().await.expect("they are published");
    assert_eq!(server.asked(), 2);
    assert_eq!(asking(jwt(some)).user(&token(ED, "a")).await, alice());
    assert_eq!(server.asked(), 2, "what is ready is not fetched again");
}

#[tokio::test]
async fn an_unknown_key_id_has_them_fetched_once_for_a_while() {
    let server = IssuerServer::start().await;
    server.publish([jwk(ED, "a")]);
    let asked = asking(jwt(keys(&server).refetch_at_most_every(AGES)));
    assert_eq!(asked.user(&token(ED, "a")).await, alice());
    server.publish([jwk(ED, "a"), jwk(ES, "b")]);
    for _ in 0..50 {
        assert_eq!(asked.user(&token(ES, "b")).await, unknown(), "not so soon");
    }
    assert_eq!(
        server.asked(),
        1,
        "an attacker's key ids are no way to make load"
    );

    let asked = asking(jwt(eager(&server)));
    assert_eq!(asked.user(&token(ED, "a")).await, alice());
    until(&asked, &token(ES, "b"), &alice()).await;
}

#[tokio::test]
async fn a_removed_key_ends_the_tokens_that_it_verified() {
    let server = IssuerServer::start().await;
    server.publish([jwk(ED, "a"), jwk(ES, "b")]);
    let asked = asking(jwt(eager(&server).refresh_every(Duration::from_millis(20))));
    let (old, new) = (token(ED, "a"), token(ES, "b"));
    for _ in 0..3 {
        assert_eq!(asked.user(&old).await, alice());
        assert_eq!(asked.user(&new).await, alice());
    }
    server.publish([jwk(ES, "b")]);
    until(&asked, &old, &unknown()).await;
    assert_eq!(asked.user(&new).await, alice(), "the other key stays");
    // Another key with the same id: tokens that the old key verified are verified again.
    server.publish([jwk(ES, "b"), jwk(Algorithm::ES384, "a")]);
    until(
        &asked,
        &old,
        &Err(Why::Token(TokenErrorKind::WrongAlgorithm)),
    )
    .await;
}

#[tokio::test]
async fn an_issuer_that_withdraws_its_last_key_does_not_count_as_down() {
    let mut encryption = jwk(ED, "a");
    encryption["use"] = json!("enc");
    for (what, withdrawn) in [
        ("no key", vec![]),
        ("none for verifying", vec![encryption]),
        (
            "more without an id than are tried",
            others("x").map(without_id).to_vec(),
        ),
    ] {
        let server = IssuerServer::start().await;
        server.publish([jwk(ED, "a")]);
        let asked = asking(jwt(eager(&server).refresh_every(Duration::from_millis(20))));
        let old = token(ED, "a");
        assert_eq!(asked.user(&old).await, alice(), "{what}");
        server.publish(withdrawn);
        until(&asked, &old, &Err(Why::Unavailable)).await;
        server.publish([jwk(ED, "a")]);
        until(&asked, &old, &alice()).await;
    }
}

#[tokio::test]
async fn keys_can_be_kept_for_as_long_as_there_is_a_duration_for() {
    let server = IssuerServer::start().await;
    server.publish([jwk(ED, "a")]);
    let forever = keys(&server)
        .keep_for(Duration::MAX)
        .refresh_every(Duration::MAX)
        .fetch_time_limit(Duration::MAX);
    let asked = asking(jwt(forever));
    for _ in 0..2 {
        assert_eq!(asked.user(&token(ED, "a")).await, alice());
    }
}

#[tokio::test]
async fn keys_without_an_id_that_are_too_many_leave_the_others_alone() {
    let server = IssuerServer::start().await;
    let mut published = others("x").map(without_id).to_vec();
    published.push(jwk(ED, "a"));
    server.publish(published);
    let asked = asking(jwt(keys(&server)));
    assert_eq!(asked.user(&token(ED, "a")).await, alice());
    assert_eq!(asked.user(&token(ES, "x")).await, unknown());
}

#[tokio::test]
async fn a_bad_published_key_does_not_affect_the_others() {
    let server = IssuerServer::start().await;
    let without_id = without_id(jwk(Algorithm::ES384, "x"));
    let mut encryption = jwk(ES, "enc");
    encryption["use"] = json!("enc");
    let [another, ..] = others("twice");
    let mut short = jwk(ED, "short");
    short["x"] = json!("AAAA");
    server.publish([
        json!({"kty": "new", "kid": "n"}),
        json!({"kid": "no type"}),
        json!(7),
        json!({"kty": "oct", "kid": "secret", "alg": "HS256", "k": "A".repeat(43)}),
        encryption,
        short,
        jwk(ES, "twice"),
        another,
        without_id,
        jwk(ED, "good"),
    ]);
    let asked = asking(jwt(eager(&server)));
    assert_eq!(asked.user(&token(ED, "good")).await, alice());
    assert_eq!(
        asked
            .user(&minted(Algorithm::ES384, None, &claims("alice")))
            .await,
        alice(),
        "a key without an id, for a token without one"
    );
    for (algorithm, id) in [
        (ES, "twice"),
        (ES, "enc"),
        (ED, "short"),
        (Algorithm::HS256, "secret"),
    ] {
        assert_eq!(asked.user(&token(algorithm, id)).await, unknown(), "{id}");
    }
}

#[tokio::test]
async fn documents_that_are_no_key_sets_are_503_and_not_401() {
    let server = IssuerServer::start().await;
    let long = format!("{{\"keys\":[{}]}}", " ".repeat(HttpsFetch::MAX_LEN));
    for (status, body) in [
        (StatusCode::OK, String::new()),
        (StatusCode::OK, "<html>".to_owned()),
        (StatusCode::OK, "{}".to_owned()),
        (StatusCode::OK, r#"{"keys":[]}"#.to_owned()),
        (StatusCode::OK, r#"{"keys":{}}"#.to_owned()),
        (StatusCode::OK, long),
        (StatusCode::NOT_FOUND, String::new()),
        (
            StatusCode::INTERNAL_SERVER_ERROR,
            json!({"keys": [jwk(ED, "a")]}).to_string(),
        ),
        (
            StatusCode::FOUND,
            json!({"keys": [jwk(ED, "a")]}).to_string(),
        ),
    ] {
        server.answer("/keys", status, body.clone());
        let answer = asking(jwt(keys(&server))).user(&token(ED, "a")).await;
        let start: String = body.chars().take(40).collect();
        assert_eq!(answer, Err(Why::Unavailable), "{status} {start}");
    }
}

#[tokio::test]
async fn metadata_leads_to_the_keys_of_the_issuer_that_was_asked_for() {
    let server = IssuerServer::start().await;
    server.publish([jwk(ED, "a")]);
    let at = "/tenant/.well-known/openid-configuration";
    let issuer = server.url("/tenant");
    let good = json!({"issuer": issuer, "jwks_uri": server.url("/keys"), "other": 1});
    let cases: Vec<(Value, Result<String, Why>)> = vec![
        (good.clone(), alice()),
        (
            json!({"issuer": server.url("/other"), "jwks_uri": server.url("/keys")}),
            Err(Why::Unavailable),
        ),
        (
            json!({"issuer": format!("{issuer}/"), "jwks_uri": server.url("/keys")}),
            Err(Why::Unavailable),
        ),
        (
            json!({"issuer": issuer, "jwks_uri": "http://id.example/keys"}),
            Err(Why::Unavailable),
        ),
        (
            json!({"issuer": issuer, "jwks_uri": "file:///etc/passwd"}),
            Err(Why::Unavailable),
        ),
        (json!({"issuer": issuer}), Err(Why::Unavailable)),
        (json!([]), Err(Why::Unavailable)),
    ];
    for (metadata, answer) in cases {
        server.answer(at, StatusCode::OK, metadata.to_string());
        let strategy = Jwt::new(RemoteKeys::discover(&issuer))
            .crypto_provider(CryptoProvider::aws_lc_rs())
            .issuer(&issuer)
            .audience(AUDIENCE);
        let token = minted(ED, Some("a"), &claims_with(json!({"iss": issuer})));
        assert_eq!(asking(strategy).user(&token).await, answer, "{metadata}");
    }
}

#[tokio::test]
async fn metadata_may_be_elsewhere_than_the_issuers_name_says() {
    let server = IssuerServer::start().await;
    server.publish([jwk(ED, "a")]);
    // URLs in tokens, which must not be fetched.
    let issuer = "http://localhost:9/realms/main";
    let base = server.url("/realms/main");
    let at = "/realms/main/.well-known/openid-configuration";
    for (named, answer) in [
        (issuer, alice()),
        ("http://localhost:9/realms/other", Err(Why::Unavailable)),
        (&*base, Err(Why::Unavailable)),
    ] {
        let metadata = json!({"issuer": named, "jwks_uri": server.url("/keys")});
        server.answer(at, StatusCode::OK, metadata.to_string());
        let strategy = Jwt::new(RemoteKeys::discover_at(&base, issuer))
            .crypto_provider(CryptoProvider::aws_lc_rs())
            .issuer(issuer)
            .audience(AUDIENCE);
        let token = minted(ED, Some("a"), &claims_with(json!({"iss": issuer})));
        assert_eq!(asking(strategy).user(&token).await, answer, "{named}");
    }
}

#[tokio::test]
async fn metadata_of_oauth_comes_before_the_issuers_path() {
    let server = IssuerServer::start().await;
    server.publish([jwk(ED, "a")]);
    for (path, at) in [
        ("", "/.well-known/oauth-authorization-server"),
        ("/", "/.well-known/oauth-authorization-server"),
        (
            "/tenant/1",
            "/.well-known/oauth-authorization-server/tenant/1",
        ),
    ] {
        let issuer = server.url(path);
        let metadata = json!({"issuer": issuer, "jwks_uri": server.url("/keys")});
        server.answer(at, StatusCode::OK, metadata.to_string());
        let strategy = Jwt::new(RemoteKeys::discover_oauth(&issuer))
            .crypto_provider(CryptoProvider::aws_lc_rs())
            .issuer(&issuer)
            .audience(AUDIENCE);
        let token = minted(ED, Some("a"), &claims_with(json!({"iss": issuer})));
        assert_eq!(asking(strategy).user(&token).await, alice(), "{path}");
    }
}

#[tokio::test]
async fn plain_http_goes_to_other_hosts_only_where_the_application_says_so() {
    let server = IssuerServer::start().await;
    server.publish([jwk(ED, "a")]);
    // Another name of this machine that is not a loopback name.
    let url = server.url("/keys").replace("localhost", "0.0.0.0");
    let keys = RemoteKeys::from_url(&url);
    assert!(jwt(keys.clone()).validate().is_err(), "by default");
    let allowed = jwt(keys.dangerously_allow_http());
    assert_eq!(asking(allowed).user(&token(ED, "a")).await, alice());

    // The application's own fetcher decides too.
    let fetch = HttpsFetch::new().expect("a client");
    let strict = RemoteKeys::from_url(&url)
        .dangerously_allow_http()
        .fetch_with(fetch.clone());
    strict.ready().await.expect_err("refused by the fetcher");
    let lenient = RemoteKeys::from_url(&url)
        .dangerously_allow_http()
        .fetch_with(fetch.dangerously_allow_http());
    lenient.ready().await.expect("both allow it");
}

/// A certificate for `localhost`, and a server's configuration with it.
fn certificate() -> (reqwest::Certificate, rustls::ServerConfig) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("the key is the certificate's");
    let root = reqwest::Certificate::from_der(made.cert.der()).expect("a certificate");
    (root, config)
}

/// An application's client, which follows redirects as `reqwest` does by default.
fn client(root: reqwest::Certificate) -> HttpsFetch {
    let client = reqwest::Client::builder().tls_certs_only([root]).build();
    HttpsFetch::with_client(client.expect("a client"))
}

#[tokio::test]
async fn https_requires_a_valid_certificate() {
    let (root, config) = certificate();
    let server = IssuerServer::start_with_tls(config).await;
    server.publish([jwk(ED, "a")]);

    let unknown_authority = asking(jwt(keys(&server)));
    assert_eq!(
        unknown_authority.user(&token(ED, "a")).await,
        Err(Why::Unavailable)
    );
    let asked = asking(jwt(keys(&server).fetch_with(client(root))));
    assert_eq!(asked.user(&token(ED, "a")).await, alice());
}

#[tokio::test]
async fn a_redirect_of_the_applications_client_counts_at_the_same_host_only() {
    let (root, config) = certificate();
    let plain = IssuerServer::start().await;
    let other = IssuerServer::start_with_tls(config.clone()).await;
    let server = IssuerServer::start_with_tls(config).await;
    for server in [&plain, &other, &server] {
        server.publish([jwk(ED, "a")]);
    }
    server.answer("/moved", StatusCode::FOUND, "");
    for (location, answer) in [
        (server.url("/keys"), alice()),
        ("/keys".to_owned(), alice()),
        (other.url("/keys"), Err(Why::Unavailable)),
        (plain.url("/keys"), Err(Why::Unavailable)),
    ] {
        server.redirect_to(location.clone());
        let moved = RemoteKeys::from_url(server.url("/moved")).fetch_with(client(root.clone()));
        assert_eq!(
            asking(jwt(moved)).user(&token(ED, "a")).await,
            answer,
            "{location}"
        );
    }
}

#[tokio::test]
async fn an_unknown_key_id_asks_again_also_where_a_key_of_its_algorithm_has_none() {
    let server = IssuerServer::start().await;
    // RFC 8037, appendix A.2.
    let other = json!({
        "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    });
    server.publish([other.clone(), jwk(ES, "a")]);
    let clock = TestClock::now();
    let asked = asking_at(jwt(keys(&server)), clock.clone());
    assert_eq!(asked.user(&token(ES, "a")).await, alice());
    assert_eq!(asked.user(&token(ED, "new")).await, unknown());
    server.publish([other, jwk(ES, "a"), jwk(ED, "new")]);
    clock.advance(MINUTE);
    assert_eq!(asked.user(&token(ED, "new")).await, alice());
    assert_eq!(server.asked(), 2);
}

#[tokio::test]
async fn old_keys_are_kept_for_a_while_and_then_it_is_503() {
    let mut server = IssuerServer::start().await;
    server.publish([jwk(ED, "a")]);
    let clock = TestClock::now();
    let asked = asking_at(
        jwt(eager(&server).refresh_every(MINUTE).keep_for(10 * MINUTE)),
        clock.clone(),
    );
    let seen = token(ED, "a");
    assert_eq!(asked.user(&seen).await, alice());
    server.kill().await;
    for minute in 0..10 {
        // Tokens that are in the cache, and others.
        assert_eq!(asked.user(&seen).await, alice(), "{minute}");
        let other = minted(ED, Some("a"), &claims(&format!("user-{minute}")));
        assert_eq!(asked.user(&other).await, Ok(format!("user-{minute}")));
        clock.advance(MINUTE);
    }
    assert_eq!(asked.user(&seen).await, Err(Why::Unavailable));
    assert_eq!(asked.user(&token(ED, "a")).await, Err(Why::Unavailable));
    server.restart().await;
    until(&asked, &seen, &alice()).await;
}

#[tokio::test]
async fn an_unknown_key_id_while_the_issuer_is_down_could_not_be_checked() {
    let mut server = IssuerServer::start().await;
    server.publish([jwk(ED, "a")]);
    let asked = asking(jwt(eager(&server)));
    assert_eq!(asked.user(&token(ED, "a")).await, alice());
    server.kill().await;
    until(&asked, &token(ES, "b"), &Err(Why::Unavailable)).await;
    assert_eq!(
        asked.user(&token(ED, "a")).await,
        alice(),
        "what is known is known"
    );
    assert_eq!(
        asked.user("a.b.c").await,
        Err(Why::Token(TokenErrorKind::Malformed)),
        "and what is no token needs no key"
    );
}

#[tokio::test]
async fn an_issuer_that_does_not_answer_is_503_in_time() {
    let server = IssuerServer::start().await;
    server.hold();
    let asked = asking(jwt(
        keys(&server).fetch_time_limit(Duration::from_millis(50))
    ));
    assert_eq!(asked.user(&token(ED, "a")).await, Err(Why::Unavailable));
    // A request may have a shorter limit than the fetch.
    let asked = asking(jwt(keys(&server)).timeout(Duration::from_millis(20)));
    assert_eq!(asked.user(&token(ED, "a")).await, Err(Why::Unavailable));
}

#[tokio::test]
async fn a_request_that_goes_away_takes_nothing_with_it() {
    let server = IssuerServer::start().await;
    server.publish([jwk(ED, "a")]);
    server.hold();
    let asked = asking(jwt(keys(&server)));
    let first = {
        let asked = asked.clone();
        tokio::spawn(async move { asked.user(&token(ED, "a")).await })
    };
    server.is_asked(1).await;
    first.abort();
    assert!(first.await.expect_err("it was cancelled").is_cancelled());
    server.open();
    assert_eq!(asked.user(&token(ED, "a")).await, alice());
    assert_eq!(server.asked(), 1, "the fetch went on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotation_in_the_middle_of_a_burst_refuses_nobody_who_is_good() {
    let server = IssuerServer::start().await;
    server.publish([jwk(ED, "a")]);
    // One provider, because a burst has to be fast.
    let keys = eager(&server).refresh_every(Duration::from_millis(5));
    let asked = asking(jwt_on(CryptoProvider::aws_lc_rs(), keys));
    let stop = Arc::new(AtomicBool::new(false));
    let sent = Arc::new(AtomicUsize::new(0));
    let workers: Vec<_> = (0..8)
        .map(|worker| {
            let (asked, stop, sent) = (asked.clone(), Arc::clone(&stop), Arc::clone(&sent));
            tokio::spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    // `a` is published all the time.
                    let user =
                        format!("user-{worker}-{}", sent.fetch_add(1, Ordering::SeqCst) % 50);
                    let token = minted(ED, Some("a"), &claims(&user));
                    assert_eq!(asked.user(&token).await, Ok(user));
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for round in 0..40 {
        let fetched = server.asked();
        if round % 2 == 0 {
            server.publish([jwk(ED, "a"), jwk(ES, "b")]);
        } else {
            server.publish([jwk(Algorithm::ES384, "c"), jwk(ED, "a")]);
        }
        server.is_asked(fetched + 2).await;
    }
    stop.store(true, Ordering::SeqCst);
    for worker in workers {
        worker.await.expect("every answer was right");
    }
    assert!(sent.load(Ordering::SeqCst) > 100, "there was a burst");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_issuer_that_is_killed_and_restarted_under_load_gives_right_answers_or_503() {
    let mut server = IssuerServer::start().await;
    server.publish([jwk(ED, "a")]);
    let keys = eager(&server)
        .refresh_every(Duration::from_millis(10))
        .keep_for(Duration::from_millis(100));
    let asked = asking(jwt_on(CryptoProvider::aws_lc_rs(), keys));
    let stop = Arc::new(AtomicBool::new(false));
    let down = Arc::new(AtomicUsize::new(0));
    let workers: Vec<_> = (0..8)
        .map(|worker| {
            let (asked, stop, down) = (asked.clone(), Arc::clone(&stop), Arc::clone(&down));
            tokio::spawn(async move {
                let user = format!("user-{worker}");
                let token = minted(ED, Some("a"), &claims(&user));
                while !stop.load(Ordering::SeqCst) {
                    match asked.user(&token).await {
                        Ok(found) => assert_eq!(found, user),
                        Err(Why::Unavailable) => {
                            down.fetch_add(1, Ordering::SeqCst);
                        }
                        Err(other) => panic!("{other:?}"),
                    }
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for _ in 0..3 {
        let before = down.load(Ordering::SeqCst);
        server.kill().await;
        eventually("a 503", async || down.load(Ordering::SeqCst) > before).await;
        server.restart().await;
        until(&asked, &token(ED, "a"), &alice()).await;
    }
    stop.store(true, Ordering::SeqCst);
    for worker in workers {
        worker.await.expect("every answer was right, or 503");
    }
}

#[tokio::test]
async fn keys_can_come_from_anywhere() {
    struct Here(Value);

    impl FetchDocument for Here {
        async fn fetch(&self, url: &str) -> Result<bytes::Bytes, FetchError> {
            assert_eq!(url, "https://id.example/keys");
            Ok(self.0.to_string().into())
        }
    }

    let document = json!({"keys": [jwk(ED, "a")]});
    let keys = RemoteKeys::from_url("https://id.example/keys").fetch_with(Here(document));
    assert_eq!(asking(jwt(keys)).user(&token(ED, "a")).await, alice());
}

#[test]
fn wrong_addresses_and_intervals_are_errors_of_build() {
    use UrlProblem::{Fragment, NotAUrl, NotHttps, Placeholder, Query, UserInfo};

    let error = |keys: RemoteKeys| match jwt(keys).validate() {
        Err(ConfigError::Token(error)) => error,
        other => panic!("{other:?}"),
    };
    for (url, shown, problem) in [
        ("http://id.example/keys", "http://id.example/keys", NotHttps),
        ("ftp://id.example", "ftp://id.example", NotHttps),
        ("id.example", "..", NotAUrl),
        ("", "..", NotAUrl),
        (
            "https://s:secret@id.example/a?b=secret",
            "https://id.example/a..",
            UserInfo,
        ),
        ("https://id.example/#a", "https://id.example/..", Fragment),
        (
            "https://id.example/{tenantid}/v2.0",
            "https://id.example/%7Btenantid%7D/v2.0",
            Placeholder,
        ),
    ] {
        for keys in [RemoteKeys::from_url(url), RemoteKeys::discover(url)] {
            let found = error(keys);
            assert!(!found.to_string().contains("secret"), "{found}");
            let url = shown.to_owned();
            assert_eq!(found, TokenConfigError::Url { url, problem });
        }
    }
    let with_query = "https://id.example/?p=secret";
    assert_eq!(jwt(RemoteKeys::from_url(with_query)).validate(), Ok(()));
    let found = error(RemoteKeys::discover(with_query));
    assert!(
        matches!(found, TokenConfigError::Url { problem: Query, .. }),
        "{found}"
    );

    let good = || RemoteKeys::from_url("https://id.example/keys");
    assert_eq!(jwt(good()).validate(), Ok(()));
    for keys in [
        good().refresh_every(Duration::ZERO),
        good().refetch_at_most_every(Duration::ZERO),
        good().fetch_time_limit(Duration::ZERO),
        good().keep_for(Duration::from_secs(299)),
        good().refetch_at_most_every(Duration::from_secs(301)),
    ] {
        assert_eq!(error(keys), TokenConfigError::Intervals);
    }
}

#[test]
fn keys_that_are_discovered_from_another_issuer_are_an_error_of_build() {
    for (issuer, discovered, fits) in [
        (ISSUER, ISSUER, true),
        ("https://id.example/", "https://id.example/", true),
        ("https://id.example", "https://other.example", false),
        ("https://id.example", "https://id.example/", false),
        ("https://id.example/", "https://id.example", false),
    ] {
        let keys = || RemoteKeys::discover(discovered);
        let provider = CryptoProvider::aws_lc_rs();
        let one = Jwt::new(keys()).issuer(issuer).audience(AUDIENCE);
        let of_several = Jwt::of_issuers([Issuer::new(issuer, keys()).audience(AUDIENCE)]);
        for strategy in [one, of_several] {
            let told = strategy.crypto_provider(provider).validate();
            if fits {
                assert_eq!(told, Ok(()), "{issuer} {discovered}");
                continue;
            }
            let error = TokenConfigError::OtherIssuer {
                issuer: issuer.to_owned(),
                discovered: discovered.to_owned(),
            };
            let text = error.to_string();
            assert!(text.contains(&format!("`{issuer}`")), "{text}");
            assert!(text.contains(&format!("`{discovered}`")), "{text}");
            assert_eq!(told, Err(ConfigError::Token(error)));
        }
    }
    let any = Jwt::new(RemoteKeys::discover("https://other.example"))
        .crypto_provider(CryptoProvider::aws_lc_rs())
        .dangerously_accept_any_issuer()
        .audience(AUDIENCE);
    assert_eq!(any.validate(), Ok(()));
}

#[tokio::test]
async fn each_mistake_in_metadata_has_its_own_error() {
    let server = IssuerServer::start().await;
    let issuer = server.url("/tenant");
    let at = "/tenant/.well-known/openid-configuration";
    let why = async || {
        let error = RemoteKeys::discover(&issuer).ready().await;
        let error = error.expect_err("nothing of it is good");
        let source = std::error::Error::source(&error).expect("a reason");
        source.to_string()
    };
    assert_eq!(
        why().await,
        "the issuer's metadata could not be fetched: the server answered with status 404"
    );
    for (metadata, told) in [
        (
            json!({"issuer": format!("{issuer}/"), "jwks_uri": server.url("/keys")}),
            format!("the metadata is that of the issuer `{issuer}/`, not of `{issuer}`"),
        ),
        (
            json!({"issuer": issuer}),
            "the issuer's metadata has no `jwks_uri`".to_owned(),
        ),
        (
            json!({"issuer": issuer, "jwks_uri": [server.url("/keys")]}),
            "the issuer's metadata has no `jwks_uri`".to_owned(),
        ),
        (
            json!({"jwks_uri": server.url("/keys")}),
            "the issuer's metadata is not an object that names an issuer".to_owned(),
        ),
        (
            json!({"issuer": issuer, "jwks_uri": "http://s:secret@id.example/k?a=secret"}),
            "the URL `http://id.example/k..` is not fetched: it is not an https URL; \
             plain http is for loopback only"
                .to_owned(),
        ),
        (
            json!({"issuer": issuer, "jwks_uri": server.url("/none")}),
            "the server answered with status 404".to_owned(),
        ),
    ] {
        server.answer(at, StatusCode::OK, metadata.to_string());
        assert_eq!(why().await, told, "{metadata}");
    }
}
