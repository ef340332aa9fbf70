//! Browsers are sent to the log-in page: which requests, where to, and with which way back.

use std::{convert::Infallible, net::SocketAddr};

use axum::{Router, body::Body, routing::get};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header, request::Parts};
use proptest::prelude::*;
use tower::{ServiceExt, service_fn};
use tower_layer::Layer;
use tower_user_scope::{
    ConfigError, CredentialSource, Identity, InvalidError, Outcome, Rejection, UnavailableError,
    UserId, UserScopeLayer,
    audit::AuditEvent,
    authorize::ForbiddenError,
    from_fn,
    rejection::{LoginRedirect, RespondToRejection},
    strategy::InvalidErrorKind,
    testing::Recorder,
};

/// What Firefox sends for a page that a person opens.
const BROWSER: &[(&str, &str)] = &[
    (
        "accept",
        "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    ),
    ("sec-fetch-dest", "document"),
    ("sec-fetch-mode", "navigate"),
    ("sec-fetch-site", "none"),
    ("sec-fetch-user", "?1"),
    ("upgrade-insecure-requests", "1"),
];

fn request(uri: &str, headers: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::get(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).expect("a request")
}

/// The response of a layer that finds what `x-outcome` says.
async fn answer(
    respond: impl RespondToRejection + Send + Sync + 'static,
    request: Request<()>,
) -> Response<()> {
    let strategy = from_fn(CredentialSource::header("x-outcome"), |head| {
        let alice = || Identity::proved("alice".parse::<UserId>().expect("an id"));
        match head.headers.get("x-outcome").map(HeaderValue::as_bytes) {
            None => Outcome::Absent,
            Some(b"malformed") => InvalidError::new(InvalidErrorKind::Malformed).into(),
            Some(b"expired") => InvalidError::new(InvalidErrorKind::Expired).into(),
            Some(b"down") => UnavailableError::new(std::io::Error::other("down")).into(),
            Some(_) => alice().into(),
        }
    });
    let layer = UserScopeLayer::builder()
        .strategy(strategy)
        .authorize(|_, head| {
            if head.headers.contains_key("x-forbidden") {
                return Err(ForbiddenError::new("no").into());
            }
            Ok(())
        })
        .rejection_response(respond)
        .context_only()
        .build()
        .expect("good");
    let inner = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(())));
    let response = layer
        .layer(inner)
        .oneshot(request)
        .await
        .expect("infallible");
    response.map(|_| ())
}

fn to_login() -> LoginRedirect {
    LoginRedirect::to("/login").expect("a path")
}

async fn location(respond: LoginRedirect, request: Request<()>) -> Option<String> {
    let response = answer(respond, request).await;
    let location = response.headers().get(header::LOCATION)?;
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
    Some(location.to_str().expect("ASCII").to_owned())
}

fn changed(change: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    let kept = BROWSER
        .iter()
        .filter(|(name, _)| !change.iter().any(|(it, _)| it == name));
    let added = change.iter().filter(|(_, value)| !value.is_empty());
    kept.chain(added).copied().collect()
}

#[tokio::test]
async fn only_what_a_person_opens_is_redirected() {
    for (change, redirected) in [
        (&[][..], true),
        // Browsers before 2023 send no metadata.
        (&[("sec-fetch-mode", ""), ("sec-fetch-dest", "")], true),
        (&[("accept", "TEXT/HTML")], true),
        (&[("accept", "application/json, text/html;q=0.1")], true),
        (&[("accept", "text/html;level=1")], true),
        (&[("accept", "")], false),
        (&[("accept", "*/*")], false),
        (&[("accept", "text/*")], false),
        (&[("accept", "application/json")], false),
        (&[("accept", "text/html;q=0, application/json")], false),
        (&[("accept", "text/html; Q=0.000")], false),
        (&[("accept", "application/xhtml+xml")], false),
        (&[("accept", "text/htmlx")], false),
        (&[("sec-fetch-mode", "cors")], false),
        (&[("sec-fetch-mode", "no-cors")], false),
        (&[("sec-fetch-mode", "websocket")], false),
        (&[("sec-fetch-dest", "iframe")], false),
        (&[("sec-fetch-dest", "empty")], false),
        (&[("authorization", "Bearer x")], false),
        (&[("x-requested-with", "XMLHttpRequest")], false),
        (&[("content-type", "application/grpc")], false),
        (&[("content-type", "application/grpc-web+proto")], false),
        (&[("x-outcome", "expired")], true),
        (&[("x-outcome", "malformed")], false),
        (&[("x-outcome", "down")], false),
        (&[("x-outcome", "alice"), ("x-forbidden", "1")], false),
        (&[("x-outcome", "alice")], false),
    ] {
        let headers = changed(change);
        let found = location(to_login(), request("/orders", &headers)).await;
        let expected = redirected.then(|| "/login?next=%2Forders".to_owned());
        assert_eq!(found, expected, "{change:?}");
    }
    for (method, redirected) in [
        (Method::GET, true),
        (Method::HEAD, true),
        (Method::POST, false),
        (Method::PUT, false),
        (Method::OPTIONS, false),
    ] {
        let mut sent = request("/orders", BROWSER);
        *sent.method_mut() = method.clone();
        assert_eq!(
            location(to_login(), sent).await.is_some(),
            redirected,
            "{method}"
        );
    }
}

fn teapot(_: &Rejection, _: &Parts) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::IM_A_TEAPOT;
    response
}

#[tokio::test]
async fn what_is_not_redirected_has_its_real_status_and_challenge() {
    let response = answer(to_login(), request("/orders", &[("accept", "*/*")])).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "UserScope");
    assert_eq!(
        response.headers()[header::CONTENT_TYPE],
        "application/problem+json"
    );
    for (outcome, status) in [("malformed", 400), ("down", 503)] {
        let headers = changed(&[("x-outcome", outcome)]);
        assert_eq!(
            answer(to_login(), request("/", &headers)).await.status(),
            status
        );
    }
    let respond = to_login().otherwise(teapot);
    let response = answer(respond, request("/orders", &[])).await;
    assert_eq!(response.status(), StatusCode::IM_A_TEAPOT);
}

#[tokio::test]
async fn the_way_back_is_a_path_of_this_origin_or_none() {
    let longest = format!("/{}", "a".repeat(1_023));
    let too_long = format!("{longest}a");
    let with_query = format!("/{}?{}", "a".repeat(500), "b".repeat(522));
    let long_query = format!("{with_query}b");
    for (uri, next) in [
        ("/", Some("%2F")),
        ("/orders/7", Some("%2Forders%2F7")),
        (
            "/orders?a=1&b=%2F%2Fx",
            Some("%2Forders%3Fa%3D1%26b%3D%252F%252Fx"),
        ),
        ("/a?", Some("%2Fa%3F")),
        ("/%C3%A4", Some("%2F%25C3%25A4")),
        ("/a//b", Some("%2Fa%2F%2Fb")),
        ("/a.b/..c/...", Some("%2Fa.b%2F..c%2F...")),
        (
            "/?next=//evil.example",
            Some("%2F%3Fnext%3D%2F%2Fevil.example"),
        ),
        // The authority of the request line is the client's word.
        ("http://evil.example/orders", Some("%2Forders")),
        ("http://evil.example", Some("%2F")),
        // What some reader takes for another origin, or for another path.
        ("//evil.example/", None),
        ("///evil.example", None),
        ("/\\evil.example", None),
        ("/.//evil.example", None),
        ("/..//evil.example", None),
        ("/a/../b", None),
        ("/a/.", None),
        ("/%2Fevil.example", None),
        ("/%2f/evil.example", None),
        ("/%5Cevil.example", None),
        ("/%5c/evil.example", None),
        ("/%2e%2E/x", None),
        ("/%09/evil.example", None),
        ("/a%0d%0aset-cookie:x", None),
        ("/%00", None),
        ("/%7f", None),
        ("/%252Fevil.example", None),
        ("/%", None),
        ("/%4", None),
        ("/%zz", None),
        (&*longest, Some(&*format!("%2F{}", &longest[1..]))),
        (&too_long, None),
        (&long_query, None),
    ] {
        let wanted = match next {
            Some(next) => format!("/login?next={next}"),
            None => "/login".to_owned(),
        };
        assert_eq!(
            location(to_login(), request(uri, BROWSER)).await,
            Some(wanted),
            "{uri}"
        );
    }
    let found = location(to_login(), request(&with_query, BROWSER)).await;
    assert!(found.is_some_and(|found| found.contains("%3F")));
}

proptest! {
    /// Whatever was asked for, a browser that follows the way back stays at this origin.
    #[test]
    fn no_way_back_leads_elsewhere(path in "[/\\\\.%?a-f0-9@:;~!{}\"|^-]{0,12}") {
        let Ok(uri) = format!("/{path}").parse::<http::Uri>() else { return Ok(()) };
        let mut sent = request("/", BROWSER);
        *sent.uri_mut() = uri;
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let found = runtime.block_on(location(to_login(), sent)).expect("redirected");
        let query = found.strip_prefix("/login").expect("the page");
        let pairs = form_urlencoded::parse(query.trim_start_matches('?').as_bytes());
        let pairs: Vec<_> = pairs.into_owned().collect();
        prop_assert!(pairs.len() <= 1);
        for (name, next) in pairs {
            prop_assert_eq!(name, "next");
            // Decoded by a page once, and by a sloppy one again and again.
            let mut read = next;
            for _ in 0..4 {
                prop_assert!(read.starts_with('/') && !read.starts_with("//"), "{}", read);
                prop_assert!(!read.starts_with("/\\"), "{}", read);
                let path = read.split('?').next().unwrap_or_default().to_owned();
                prop_assert!(!path.contains('\\'), "{}", read);
                read = percent_decoded(&path);
            }
        }
    }
}

fn percent_decoded(text: &str) -> String {
    let kept = text
        .replace('+', "%2B")
        .replace('&', "%26")
        .replace('=', "%3D");
    let mut pairs = form_urlencoded::parse(kept.as_bytes());
    pairs
        .next()
        .map(|(name, _)| name.into_owned())
        .unwrap_or_default()
}

#[tokio::test]
async fn the_page_and_the_parameter_are_the_applications() {
    for (page, location_of) in [
        ("/login", "/login?next=%2Fp"),
        ("/login?theme=dark", "/login?theme=dark&next=%2Fp"),
        (
            "https://id.example/start",
            "https://id.example/start?next=%2Fp",
        ),
    ] {
        let respond = LoginRedirect::to(page).expect("valid");
        assert_eq!(
            location(respond, request("/p", BROWSER)).await.as_deref(),
            Some(location_of)
        );
    }
    let renamed = to_login().next_parameter("return to");
    let found = location(renamed, request("/p", BROWSER)).await;
    assert_eq!(found.as_deref(), Some("/login?return%20to=%2Fp"));
    let without = location(to_login().without_next(), request("/p", BROWSER)).await;
    assert_eq!(without.as_deref(), Some("/login"));
    for page in [
        "",
        "login",
        "//evil.example",
        "/\\evil",
        "javascript:alert(1)",
        "https://",
        "https:///x",
        "/a#b",
        "/a b",
        "/ä",
        "/a\r\nx: y",
    ] {
        let error = ConfigError::LoginUrl {
            url: page.to_owned(),
        };
        assert_eq!(LoginRedirect::to(page).err(), Some(error), "{page:?}");
    }
}

#[tokio::test]
async fn the_page_itself_is_not_redirected() {
    for uri in ["/login", "/login?next=%2Forders"] {
        let respond = LoginRedirect::to("/login?theme=dark").expect("valid");
        let response = answer(respond, request(uri, BROWSER)).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn a_nested_router_leads_back_to_what_the_client_has_sent() {
    let layer = UserScopeLayer::builder()
        .strategy(tower_user_scope::ExistingContext::new())
        .rejection_response(to_login())
        .context_only()
        .build()
        .expect("good");
    let inner = Router::new()
        .route("/orders", get(async || "orders"))
        .layer(layer);
    let app = Router::new().nest("/shop", inner);
    let sent = request("/shop/orders?a=1", BROWSER).map(|()| Body::empty());
    let response = app.oneshot(sent).await.expect("infallible");
    assert_eq!(
        response.headers()[header::LOCATION],
        "/login?next=%2Fshop%2Forders%3Fa%3D1"
    );
}

#[tokio::test]
async fn the_audit_event_has_the_refusals_own_status() {
    let recorder = Recorder::new();
    let layer = UserScopeLayer::builder()
        .strategy(tower_user_scope::ExistingContext::new())
        .rejection_response(to_login())
        .observer(recorder.clone())
        .context_only()
        .build()
        .expect("good");
    let inner = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(())));
    let mut sent = request("/orders", BROWSER);
    sent.extensions_mut()
        .insert(tower_user_scope::PeerAddr(SocketAddr::from((
            [127, 0, 0, 1],
            1,
        ))));
    let response = layer.layer(inner).oneshot(sent).await.expect("infallible");
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    let rejection = response
        .extensions()
        .get::<Rejection>()
        .expect("there for outer layers");
    assert_eq!(rejection.status(), StatusCode::UNAUTHORIZED);
    let audited = recorder.events().iter().any(|event| {
        matches!(event, AuditEvent::Refused { rejection, .. }
            if rejection.status() == StatusCode::UNAUTHORIZED)
    });
    assert!(audited);
}
