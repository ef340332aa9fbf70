//! The introspection endpoint is where the issuer's metadata says (OpenID Connect Discovery 1.0 and
//! RFC 8414).

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::future::join_all;
use serde_json::{Value, json};
use tower_user_scope::{
    ConfigError,
    introspection::{ClientAuthentication, Introspection, IntrospectionError},
    jwt::{FetchDocument, FetchError, HasAudience, TokenConfigError, UrlProblem, WantsAudience},
    rejection::RejectionKind,
    strategy::Strategy,
    testing::TestClock,
};

use crate::{
    introspection::{answer_with, bearer, http_client},
    support::{
        Answer, Asked, Came, Setup,
        endpoint::{Call, Endpoint, Reply},
    },
};

const OPEN_ID: &str = "/.well-known/openid-configuration";

fn client() -> ClientAuthentication {
    ClientAuthentication::none()
}

fn with_client(strategy: Introspection<WantsAudience>) -> Introspection<HasAudience> {
    let strategy = strategy.post_with(http_client()).fetch_with(http_client());
    strategy.audience("api")
}

/// An issuer that publishes these members beside its name, and answers about tokens at `/introspect`.
fn issuer(members: impl Fn(&str) -> Value + Send + Sync + 'static) -> Endpoint {
    Endpoint::start(move |call| match call.path() {
        "/introspect" => Reply::Json(answer_with(json!({}))),
        path if path.contains("/.well-known/") => Reply::Json(members(&origin(call))),
        path => panic!("{path} was asked for"),
    })
}

fn origin(call: &Call) -> String {
    let host = call
        .head
        .lines()
        .find_map(|line| line.strip_prefix("host: "));
    format!("http://{}", host.expect("a host"))
}

fn metadata(issuer: &str) -> Value {
    json!({"issuer": issuer, "introspection_endpoint": format!("{}/introspect", root(issuer))})
}

/// The origin of an issuer that has a path.
fn root(issuer: &str) -> &str {
    issuer.strip_suffix("/realms/main").unwrap_or(issuer)
}

fn why(answer: &Answer) -> FetchError {
    let Err(rejection) = &answer.outcome else {
        panic!("accepted");
    };
    let RejectionKind::Unavailable { unavailable, .. } = rejection.kind() else {
        panic!("{rejection}");
    };
    let error = unavailable.source().and_then(|error| error.downcast_ref());
    let Some(IntrospectionError::Call(error)) = error else {
        panic!("{unavailable}");
    };
    error.clone()
}

#[tokio::test]
async fn the_endpoint_is_where_the_metadata_of_either_form_says() {
    let with_path = |origin: &str| format!("{origin}/realms/main");
    for (of, wanted) in [
        (
            (|origin| Introspection::discover(origin, client())) as fn(String) -> _,
            OPEN_ID,
        ),
        (
            |origin| Introspection::discover_oauth(origin, client()),
            "/.well-known/oauth-authorization-server",
        ),
        (
            |origin| Introspection::discover(format!("{origin}/realms/main"), client()),
            "/realms/main/.well-known/openid-configuration",
        ),
        (
            |origin| Introspection::discover_oauth(format!("{origin}/realms/main"), client()),
            "/.well-known/oauth-authorization-server/realms/main",
        ),
        (
            |origin| {
                let name = format!("{origin}/realms/main");
                Introspection::discover_at(format!("{origin}/inside"), name, client())
            },
            "/inside/.well-known/openid-configuration",
        ),
    ] {
        let has_path = wanted.contains("/realms/main") || wanted.starts_with("/inside");
        let issuer = issuer(move |origin| {
            let name = if has_path {
                with_path(origin)
            } else {
                origin.to_owned()
            };
            metadata(&name)
        });
        let asked = Setup::new([with_client(of(issuer.origin())).boxed()]).service();
        assert_eq!(asked.came(bearer("token")).await, Came::alice(), "{wanted}");
        let calls = issuer.calls();
        let paths: Vec<&str> = calls.iter().map(Call::path).collect();
        assert_eq!(paths, [wanted, "/introspect"]);
        assert_eq!(calls[1].token(), "token");
        assert!(!calls[0].head.contains("token"), "{}", calls[0].head);
    }
}

#[tokio::test]
async fn metadata_that_names_no_endpoint_of_the_issuer_is_a_503() {
    type Check = fn(&FetchError) -> bool;
    type Metadata = fn(&str) -> Value;
    let no_endpoint: Check = |error| match error {
        FetchError::NotInMetadata { member, .. } => *member == "introspection_endpoint",
        _ => false,
    };
    let other: Check = |error| matches!(error, FetchError::OtherIssuer { .. });
    let cases: [(Metadata, Check); 7] = [
        (|origin| json!({"issuer": origin}), no_endpoint),
        (
            |origin| json!({"issuer": origin, "introspection_endpoint": null}),
            no_endpoint,
        ),
        (
            |origin| json!({"issuer": origin, "introspection_endpoint": [origin]}),
            no_endpoint,
        ),
        (|origin| metadata(&format!("{origin}/")), other),
        (|_| metadata("https://id.example"), other),
        (
            |origin| json!({"introspection_endpoint": origin}),
            |error| matches!(error, FetchError::Metadata),
        ),
        (
            |origin| json!({"issuer": origin, "introspection_endpoint": "http://id.example/i"}),
            |error| matches!(error, FetchError::Url { problem, .. } if *problem == UrlProblem::NotHttps),
        ),
    ];
    for (members, is_the_reason) in cases {
        let issuer = issuer(members);
        let strategy = with_client(Introspection::discover(issuer.origin(), client()));
        let answer = Setup::new([strategy.boxed()])
            .service()
            .send(bearer("token"))
            .await;
        let error = why(&answer);
        assert!(is_the_reason(&error), "{error:?}");
        assert_eq!(issuer.asked(), 1, "no token was sent");
    }
}

/// An issuer of https may not lead to plain http, nor into the service's own network.
#[tokio::test]
async fn an_endpoint_that_an_issuer_may_not_name_is_never_asked() {
    #[derive(Clone)]
    struct Says(&'static str);

    impl FetchDocument for Says {
        async fn fetch(&self, _: &str) -> Result<Bytes, FetchError> {
            let metadata =
                json!({"issuer": "https://id.example", "introspection_endpoint": self.0});
            Ok(metadata.to_string().into())
        }
    }

    for endpoint in [
        "http://id.example/introspect",
        "http://127.0.0.1:2375/v1",
        "https://127.0.0.1/introspect",
        "https://169.254.169.254/latest",
        "https://svc:secret@id.example/introspect",
        "/introspect",
    ] {
        let strategy = Introspection::discover("https://id.example", client())
            .fetch_with(Says(endpoint))
            .audience("api");
        let answer = Setup::new([strategy.boxed()])
            .service()
            .send(bearer("token"))
            .await;
        assert!(matches!(why(&answer), FetchError::Url { .. }), "{endpoint}");
    }
}

/// How often the metadata was asked for.
fn fetches(issuer: &Endpoint) -> usize {
    let calls = issuer.calls();
    calls.iter().filter(|call| call.path() == OPEN_ID).count()
}

/// An issuer whose metadata is there while the flag says so.
fn failing() -> (Endpoint, Arc<AtomicBool>, Asked, TestClock) {
    let is_up = Arc::new(AtomicBool::new(true));
    let up = Arc::clone(&is_up);
    let issuer = Endpoint::start(move |call| match call.path() {
        OPEN_ID if up.load(Ordering::SeqCst) => Reply::Json(metadata(&origin(call))),
        OPEN_ID => Reply::Http("500 Oops".to_owned(), Vec::new()),
        _ => Reply::Json(answer_with(json!({"exp": null}))),
    });
    let clock = TestClock::now();
    let strategy = with_client(Introspection::discover(issuer.origin(), client()));
    // Nothing is remembered of tokens, so that each request has to know the endpoint.
    let strategy = strategy.cache_for(Duration::ZERO);
    let asked = Setup::new([strategy.boxed()]).service_at(clock.clone());
    (issuer, is_up, asked, clock)
}

#[tokio::test]
async fn requests_share_a_fetch_of_the_metadata_and_it_is_fetched_again_after_an_hour() {
    let (issuer, _, asked, clock) = failing();
    issuer.hold();
    let requests = (0..8).map(|n| {
        let asked = asked.clone();
        tokio::spawn(async move { asked.came(bearer(&format!("token-{n}"))).await })
    });
    let requests: Vec<_> = requests.collect();
    let first = tokio::task::spawn_blocking(move || {
        issuer.is_asked(1);
        issuer.release();
        issuer
    });
    for came in join_all(requests).await {
        assert_eq!(came.expect("no panic"), Came::alice());
    }
    let issuer = first.await.expect("asked");
    assert_eq!(fetches(&issuer), 1);
    clock.advance(Duration::from_secs(3_590));
    assert_eq!(asked.came(bearer("token")).await, Came::alice());
    assert_eq!(fetches(&issuer), 1);
    clock.advance(Duration::from_secs(20));
    assert_eq!(asked.came(bearer("token")).await, Came::alice());
    assert_eq!(fetches(&issuer), 2);
}

#[tokio::test]
async fn an_endpoint_is_kept_for_an_hour_while_the_metadata_fails() {
    let (issuer, is_up, asked, clock) = failing();
    assert_eq!(asked.came(bearer("token")).await, Came::alice());
    is_up.store(false, Ordering::SeqCst);
    clock.advance(Duration::from_secs(3_600));
    for _ in 0..3 {
        assert_eq!(asked.came(bearer("token")).await, Came::alice());
    }
    assert_eq!(fetches(&issuer), 2, "not again within ten seconds");
    clock.advance(Duration::from_secs(3_590));
    assert_eq!(asked.came(bearer("token")).await, Came::alice());
    assert_eq!(fetches(&issuer), 3);
    clock.advance(Duration::from_secs(10));
    let answer = asked.send(bearer("token")).await;
    assert!(matches!(why(&answer), FetchError::MetadataFetch(_)));

    // It is up again, and asked again ten seconds after the failure.
    is_up.store(true, Ordering::SeqCst);
    assert_eq!(asked.came(bearer("token")).await, Came::Unavailable);
    clock.advance(Duration::from_secs(10));
    assert_eq!(asked.came(bearer("token")).await, Came::alice());
}

#[test]
fn a_wrong_issuer_is_an_error_of_build() {
    let of = |issuer: &str| Introspection::discover(issuer, client()).audience("api");
    assert_eq!(of("https://id.example").validate(), Ok(()));
    let same = of("https://id.example").issuer("https://id.example");
    assert_eq!(same.validate(), Ok(()));
    let other = of("https://id.example").issuer("https://id.example/");
    assert!(matches!(
        other.validate(),
        Err(ConfigError::Token(TokenConfigError::OtherIssuer { .. }))
    ));
    for (issuer, wanted) in [
        ("http://id.example", UrlProblem::NotHttps),
        ("https://id.example?tenant=1", UrlProblem::Query),
        ("https://id.example/{tenantid}", UrlProblem::Placeholder),
    ] {
        let Err(ConfigError::Token(TokenConfigError::Url { problem, .. })) = of(issuer).validate()
        else {
            panic!("{issuer}")
        };
        assert_eq!(problem, wanted, "{issuer}");
    }
    let plain = of("http://id:8080").dangerously_allow_http();
    assert_eq!(plain.validate(), Ok(()));
    let shown = format!("{:?}", of("https://id.example/main"));
    assert!(shown.contains("https://id.example/main"), "{shown}");
}
