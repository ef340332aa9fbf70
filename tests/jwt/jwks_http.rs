//! How documents are fetched: proxies, URLs, redirects, conditional requests, and errors and logs
//! without secrets.

use std::{
    env,
    error::Error,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use tower_user_scope::{
    jwt::{
        Algorithm, FetchDocument, FetchError, HttpsFetch, RemoteKeys, TokenErrorKind, UrlProblem,
    },
    strategy::Strategy,
    testing::TestClock,
};

use crate::{
    issuer::jwk,
    raw::{RawServer, hears},
    tokens::{asking_at, claims, jwt, minted, refused},
};

const ED: Algorithm = Algorithm::EdDSA;
const SECOND: Duration = Duration::from_secs(1);

fn good() -> String {
    json!({"keys": [jwk(ED, "a")]}).to_string()
}

/// A period longer than the clocks of these tests run.
fn token() -> String {
    let mut claims = claims("alice");
    claims["exp"] = json!(crate::tokens::now() + 30 * 24 * 3_600);
    minted(ED, Some("a"), &claims)
}

/// A proxy that responds with an attacker's keys.
fn proxy() -> RawServer {
    RawServer::start(|to| to.answer("200 OK", good()))
}

/// An address without keys.
fn nothing() -> RawServer {
    RawServer::start(|to| to.answer("404 Not Found", ""))
}

const URL_OF_CHILD: &str = "TESTED_URL_BEHIND_A_PROXY";

#[test]
fn plain_http_goes_past_the_proxies_of_the_environment() {
    let (proxy, target) = (proxy(), nothing());
    for host in ["127.0.0.1", "localhost"] {
        let before = target.requests();
        let url = format!("http://{host}:{}/keys", target.address.port());
        let mut child = Command::new(env::current_exe().expect("this program"));
        child
            .args(["--exact", "jwks_http::in_a_process_with_proxies"])
            .env(URL_OF_CHILD, url);
        for name in [
            "http_proxy",
            "HTTP_PROXY",
            "https_proxy",
            "all_proxy",
            "ALL_PROXY",
        ] {
            child.env(name, format!("http://{}", proxy.address));
        }
        let ended = child.output().expect("it runs");
        assert!(ended.status.success(), "{ended:?}");
        assert_eq!(target.requests(), before + 1, "{host}: it was asked itself");
    }
    assert_eq!(proxy.requests(), 0, "and the proxy was not");
}

/// The part of the test above that needs its own environment.
#[tokio::test]
async fn in_a_process_with_proxies() {
    if let Ok(url) = env::var(URL_OF_CHILD) {
        RemoteKeys::from_url(url).ready().await.expect_err("404");
    }
}

#[tokio::test]
async fn plain_http_goes_past_the_proxy_of_the_applications_client() {
    let (proxy, target) = (proxy(), nothing());
    let client = reqwest::Client::builder()
        .proxy(reqwest::Proxy::all(format!("http://{}", proxy.address)).expect("a proxy"))
        .build()
        .expect("a client");
    let keys = target
        .keys()
        .fetch_with(HttpsFetch::with_client(client.clone()));
    keys.ready().await.expect_err("404");
    assert_eq!((proxy.requests(), target.requests()), (0, 1));
    // Encrypted requests may use the proxy.
    let keys =
        RemoteKeys::from_url("https://id.example/keys").fetch_with(HttpsFetch::with_client(client));
    keys.ready().await.expect_err("the proxy builds no tunnel");
    assert_eq!(proxy.requests(), 1);
}

#[tokio::test]
async fn plain_http_follows_no_redirect_of_the_applications_client() {
    let server = RawServer::start(|to| match to.index {
        0 => {
            let port = to.port;
            let head = format!("302 Found\r\nlocation: http://localhost:{port}/other");
            to.answer(&head, "");
        }
        _ => to.answer("200 OK", good()),
    });
    let follows = reqwest::Client::new();
    let keys = server.keys().fetch_with(HttpsFetch::with_client(follows));
    keys.ready().await.expect_err("302");
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn a_url_that_is_refused_is_refused_by_the_fetcher_too() {
    let fetch = HttpsFetch::new().expect("a client");
    for (url, wanted) in [
        ("http://id.example/keys", UrlProblem::NotHttps),
        (
            "https://s:secret@id.example/keys?a=secret",
            UrlProblem::UserInfo,
        ),
        ("file:///etc/passwd", UrlProblem::NotAUrl),
    ] {
        let error = fetch.fetch(url).await.expect_err("nothing is fetched");
        assert!(
            !format!("{error} {error:?}").contains("secret"),
            "{error:?}"
        );
        let FetchError::Url { problem, .. } = error else {
            panic!("{error:?}");
        };
        assert_eq!(problem, wanted, "{url}");
    }
}

#[tokio::test]
async fn a_query_is_sent_and_never_shown() {
    let (lines, _guard) = hears();
    let server = RawServer::start(|to| {
        assert!(to.head.starts_with("GET /keys?api_key=secret HTTP"));
        to.answer("200 OK", "{}");
    });
    let closed = {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        listener.local_addr().expect("bound")
    };
    for address in [server.address, closed] {
        let keys = RemoteKeys::from_url(format!("http://{address}/keys?api_key=secret"));
        let error = keys.ready().await.expect_err("no keys");
        let mut shown = vec![format!("{keys:?}"), format!("{error:?}"), error.to_string()];
        let mut source = error.source();
        while let Some(error) = source {
            shown.extend([format!("{error:?}"), error.to_string()]);
            source = error.source();
        }
        let strategy = jwt(keys);
        shown.push(format!("{strategy:?} {:?}", strategy.validate()));
        shown.extend(lines.take());
        for shown in shown {
            assert!(!shown.contains("secret"), "{shown}");
        }
    }
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn a_set_that_has_not_changed_is_not_sent_again() {
    let full = Arc::new(AtomicUsize::new(0));
    let sent_in_full = Arc::clone(&full);
    let server = RawServer::start(move |to| {
        if to.index < 4 && to.head.contains("if-none-match: \"v1\"\r\n") {
            to.answer("304 Not Modified\r\netag: \"v1\"", "");
        } else if to.index < 4 {
            sent_in_full.fetch_add(1, Ordering::SeqCst);
            to.answer("200 OK\r\netag: \"v1\"", good());
        } else {
            let other = json!({"keys": [jwk(Algorithm::ES256, "b")]});
            to.answer("200 OK\r\netag: \"v2\"", other.to_string());
        }
    });
    let clock = TestClock::now();
    let asked = asking_at(jwt(server.keys().keep_for(600 * SECOND)), clock.clone());
    for fetched in 1..=4 {
        assert_eq!(asked.user(&token()).await, Ok("alice".to_owned()));
        assert_eq!(server.requests(), fetched);
        // Longer than the keys are kept: the 304 renews them.
        clock.advance(400 * SECOND);
    }
    assert_eq!(full.load(Ordering::SeqCst), 1);
    assert_eq!(
        asked.user(&token()).await,
        refused(TokenErrorKind::UnknownKey),
        "and what has changed is taken"
    );
}

#[tokio::test]
async fn an_issuers_max_age_sets_the_refresh_interval() {
    // The lease is twenty seconds longer: twice what a fetch may take.
    for (headers, good_for) in [
        ("", 320),
        ("cache-control: public, max-age=60\r\n", 80),
        ("cache-control: max-age=60\r\nage: 30\r\n", 50),
        ("cache-control: max-age=1\r\n", 30),
        ("cache-control: max-age=900\r\n", 920),
        ("cache-control: max-age=31536000\r\n", 1_820),
        ("cache-control: no-store, max-age=900\r\n", 320),
    ] {
        let server = RawServer::start(move |to| {
            to.answer(&format!("200 OK\r\n{headers}x-other: 1"), good());
        });
        let clock = TestClock::now();
        let asked = asking_at(jwt(server.keys()), clock.clone());
        for seconds in [0, good_for - 1] {
            clock.advance(seconds * SECOND);
            assert_eq!(asked.user(&token()).await, Ok("alice".to_owned()));
            assert_eq!(server.requests(), 1, "{headers} {seconds}");
        }
        clock.advance(SECOND);
        assert_eq!(asked.user(&token()).await, Ok("alice".to_owned()));
        assert_eq!(server.requests(), 2, "{headers}");
    }
}
