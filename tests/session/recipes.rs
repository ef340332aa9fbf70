//! The recipes of the sessions' documentation work, with clients that keep cookies as browsers do.

use std::collections::BTreeMap;

use axum::{Router, body::Body, routing::get};
use bytes::Bytes;
use cookie::Cookie;
use http::{HeaderValue, Request, Response, StatusCode, header, request::Parts};
use tower::ServiceExt;
use tower_sessions::{
    Expiry, MemoryStore, Session, SessionManagerLayer, SessionStore, session::Id,
};
use tower_user_scope::{
    Identity, Rejection, UserContext, UserId, UserScopeLayer,
    rejection::{DefaultResponder, RejectionKind, RespondToRejection},
    session::{FromSession, SessionCookie, SessionError},
    strategy::InvalidErrorKind,
};

/// A browser's cookies by the rules of RFC 6265bis section 5.7 that these tests need: they are told apart
/// by name, domain, and whether only the host gets them. Another host of the domain may set some.
#[derive(Default)]
struct Browser {
    cookies: BTreeMap<(String, String, bool), String>,
}

const APP: &str = "app.example.com";

impl Browser {
    async fn get(&mut self, app: &Router, path: &str) -> Response<Body> {
        let mut request = Request::builder().uri(path);
        let cookies: Vec<_> = self
            .sent()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        if !cookies.is_empty() {
            request = request.header(header::COOKIE, cookies.join("; "));
        }
        let request = request.body(Body::empty()).expect("a request");
        let response = app.clone().oneshot(request).await.expect("infallible");
        for line in response.headers().get_all(header::SET_COOKIE) {
            self.take(line.to_str().expect("text"), APP);
        }
        response
    }

    /// The `Cookie` header that the application's host gets.
    fn sent(&self) -> impl Iterator<Item = (&str, &str)> {
        let is_meant = |domain: &str, host_only: bool| {
            domain == APP || (!host_only && APP.ends_with(&format!(".{domain}")))
        };
        let cookies = self.cookies.iter();
        cookies
            .filter(move |((_, domain, host_only), _)| is_meant(domain, *host_only))
            .map(|((name, ..), value)| (name.as_str(), value.as_str()))
    }

    /// Adds, replaces or removes a cookie for a `Set-Cookie` of this host.
    fn take(&mut self, line: &str, host: &str) {
        let cookie = Cookie::parse(line.to_owned()).expect("a cookie");
        assert_eq!(cookie.path(), Some("/"), "{line}");
        let domain = cookie.domain().unwrap_or(host);
        let is_own = host == domain || host.ends_with(&format!(".{domain}"));
        assert!(is_own, "{host} may not set {line}");
        let key = (
            cookie.name().to_owned(),
            domain.to_owned(),
            cookie.domain().is_none(),
        );
        if cookie.max_age().is_some_and(|age| !age.is_positive()) {
            self.cookies.remove(&key);
        } else {
            self.cookies.insert(key, cookie.value().to_owned());
        }
    }

    fn names(&self) -> Vec<&str> {
        self.sent().map(|(name, _)| name).collect()
    }

    fn session(&self) -> Id {
        let (_, value) = self.sent().next().expect("a cookie");
        value.parse().expect("a session id")
    }
}

const FORGET: HeaderValue =
    HeaderValue::from_static("sid=; Max-Age=0; Path=/; Secure; HttpOnly; SameSite=Lax");

const FORGET_TWIN: HeaderValue =
    HeaderValue::from_static("sid=; Max-Age=0; Path=/; Domain=example.com; Secure; HttpOnly");

fn respond(rejection: &Rejection, head: &Parts) -> Response<Bytes> {
    let mut response = DefaultResponder::default().respond(rejection, head);
    if let RejectionKind::Invalid {
        strategy: "session_cookie",
        invalid,
        ..
    } = rejection.kind()
    {
        let forget = match invalid.kind() {
            InvalidErrorKind::Repeated => FORGET_TWIN,
            _ => FORGET,
        };
        response.headers_mut().append(header::SET_COOKIE, forget);
    }
    response
}

async fn log_in(session: Session) {
    session.cycle_id().await.expect("the store is up");
    session
        .insert("user_id", "alice")
        .await
        .expect("the store is up");
}

fn app(store: &MemoryStore, always_save: bool) -> Router {
    let sessions = SessionManagerLayer::new(store.clone())
        .with_name("sid")
        .with_expiry(Expiry::OnInactivity(time::Duration::hours(2)))
        .with_always_save(always_save);
    let scope = UserScopeLayer::builder()
        .strategy(SessionCookie::new("sid", store.clone()))
        .rejection_response(respond)
        .context_only()
        .build()
        .expect("valid");
    Router::new()
        .route("/me", get(async |_: UserContext| "alice"))
        .layer(scope)
        .route("/login", get(log_in))
        .layer(sessions)
}

#[tokio::test]
async fn a_twin_of_the_cookie_is_cleared_and_the_good_one_is_left_alone() {
    let app = app(&MemoryStore::default(), false);
    let mut browser = Browser::default();
    browser.get(&app, "/login").await;
    assert_eq!(browser.get(&app, "/me").await.status(), StatusCode::OK);

    let twin = "sid=AAAAAAAAAAAAAAAAAAAAAA; Domain=example.com; Path=/";
    browser.take(twin, "blog.example.com");
    assert_eq!(browser.names(), ["sid", "sid"], "both are sent");
    let refused = browser.get(&app, "/me").await;
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);

    assert_eq!(browser.names(), ["sid"], "the twin is gone");
    let again = browser.get(&app, "/me").await;
    assert_eq!(again.status(), StatusCode::OK, "without a second log-in");
}

#[tokio::test]
async fn a_stale_cookie_is_forgotten_and_a_log_in_gives_a_good_one() {
    let store = MemoryStore::default();
    let app = app(&store, false);
    let mut browser = Browser::default();
    browser.get(&app, "/login").await;
    let id = browser.session();
    store.delete(&id).await.expect("the store is up");
    let refused = browser.get(&app, "/me").await;
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    assert!(browser.names().is_empty(), "{:?}", browser.names());
    browser.get(&app, "/login").await;
    assert_eq!(browser.get(&app, "/me").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn sessions_that_end_on_inactivity_are_prolonged_where_each_response_saves_them() {
    for always_save in [false, true] {
        let store = MemoryStore::default();
        let app = app(&store, always_save);
        let mut browser = Browser::default();
        browser.get(&app, "/login").await;
        let id = browser.session();
        let end = async || {
            let record = store.load(&id).await.expect("the store is up");
            record.expect("a session").expiry_date
        };
        let before = end().await;
        assert_eq!(browser.get(&app, "/me").await.status(), StatusCode::OK);
        let prolonged = end().await > before;
        assert_eq!(prolonged, always_save, "reading alone prolongs nothing");
    }
}

/// An application with axum-login 0.18 or axum-oidc 0.6.
mod of_014 {
    pub(super) use tower_sessions_0_14::{MemoryStore, Session, SessionManagerLayer};
}

#[tokio::test]
async fn the_session_of_an_older_session_layer_is_taken_too() {
    let scope = |strategy: FromSession| {
        UserScopeLayer::builder()
            .strategy(strategy)
            .context_only()
            .build()
            .expect("valid")
    };
    let me = get(async |user: UserId| user.to_string());
    let of_value = FromSession::new().identity(["axum-login.data"], |data| {
        let Some(value) = data.get::<serde_json::Value>("axum-login.data")? else {
            return Ok(None);
        };
        let id = value["user_id"]
            .as_str()
            .ok_or(SessionError::Refused("no_user_id"))?;
        Ok(Some(Identity::proved(UserId::try_from(id)?)))
    });
    let app = Router::new()
        .route("/me", me.clone())
        .layer(scope(FromSession::new()))
        .merge(Router::new().route("/account", me).layer(scope(of_value)))
        .route(
            "/login",
            get(async |session: of_014::Session| {
                session.insert("user_id", "alice").await.expect("up");
                let data = serde_json::json!({ "user_id": "alice" });
                session.insert("axum-login.data", data).await.expect("up");
            }),
        )
        .route(
            "/visit",
            get(async |session: of_014::Session| {
                session.insert("cart", 1).await.expect("up");
            }),
        )
        .layer(
            of_014::SessionManagerLayer::new(of_014::MemoryStore::default())
                .with_name("sid")
                .with_secure(true),
        );
    let mut browser = Browser::default();
    let nobody = browser.get(&app, "/me").await;
    assert_eq!(nobody.status(), StatusCode::UNAUTHORIZED, "no session");
    browser.get(&app, "/visit").await;
    let visitor = browser.get(&app, "/me").await;
    assert_eq!(visitor.status(), StatusCode::UNAUTHORIZED, "no user in it");
    let rejection = visitor.extensions().get::<Rejection>().expect("refused");
    assert!(
        matches!(rejection.kind(), RejectionKind::NotAccepted { .. }),
        "a visitor's session is something that was sent: {rejection}"
    );
    browser.get(&app, "/login").await;
    for path in ["/me", "/account"] {
        let response = browser.get(&app, path).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        let body = axum::body::to_bytes(response.into_body(), 100).await;
        assert_eq!(body.expect("a body"), "alice", "{path}");
    }
    let planted = "sid=AAAAAAAAAAAAAAAAAAAAAA; Path=/";
    let mut browser = Browser::default();
    browser.take(planted, APP);
    let unknown = browser.get(&app, "/me").await;
    let rejection = unknown.extensions().get::<Rejection>().expect("refused");
    assert_eq!(rejection.status(), StatusCode::UNAUTHORIZED, "{rejection}");
    assert!(
        matches!(rejection.kind(), RejectionKind::Invalid { .. }),
        "{rejection}"
    );
}

#[test]
fn a_missing_session_layer_is_named_with_the_versions_that_are_read() {
    let message = SessionError::NoSessionLayer.to_string();
    for words in ["`SessionManagerLayer`", "tower-sessions 0.15 or 0.14"] {
        assert!(message.contains(words), "{message}");
    }
}
