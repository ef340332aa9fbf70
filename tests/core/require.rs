//! What a layer or a route requires of a principal: scopes, roles, and how the user logged in.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::{
    Router,
    body::{Body, to_bytes},
    routing::get,
};
use http::{HeaderValue, Request, StatusCode, header};
use tower::ServiceExt;
use tower_user_scope::{
    CredentialSource, Fallback, Identity, Outcome, Principal, Rejection, UserId, UserScopeLayer,
    audit::AuditEvent,
    authorize::{ForbiddenError, Grants, Require},
    from_fn,
    middleware::RequireLayer,
    rejection::RejectionKind,
    testing::{Recorder, TestClock},
};

const NOW: Duration = Duration::from_secs(1_800_000_000);

fn now() -> SystemTime {
    UNIX_EPOCH + NOW
}

/// Puts a router behind a layer that finds alice with these grants, or without any.
fn behind(router: Router, grants: Option<Grants>, require: Require, recorder: &Recorder) -> Router {
    let strategy = from_fn(CredentialSource::header("x-key"), move |head| {
        if !head.headers.contains_key("x-key") {
            return Outcome::Absent;
        }
        let alice = "alice".parse::<UserId>().expect("an id");
        let identity = Identity::proved(alice);
        Outcome::Found(match &grants {
            Some(grants) => identity.with_attribute(grants.clone()),
            None => identity,
        })
    });
    let layer = UserScopeLayer::builder()
        .strategy(strategy)
        .fallback(Fallback::anonymous())
        .authorize_with(require)
        .observer(recorder.clone())
        .context_only()
        .build()
        .expect("good");
    router.layer(layer)
}

fn request(path: &str) -> Request<Body> {
    Request::get(path)
        .header("x-key", "k")
        .body(Body::empty())
        .expect("a request")
}

#[test]
fn requirements_are_compared_with_the_grants() {
    let context = |grants: Option<Grants>| {
        let alice = "alice".parse::<UserId>().expect("an id");
        let identity = Identity::proved(alice);
        let identity = match grants {
            Some(grants) => identity.with_attribute(grants),
            None => identity,
        };
        tower_user_scope::UserContext::builder(identity).build()
    };
    let scopes = |scopes: &[&str]| Some(Grants::new().with_scopes(scopes.iter().copied()));
    let roles = |roles: &[&str]| Some(Grants::new().with_roles(roles.iter().copied()));
    let login = |acr: &str, ago: u64| {
        let at = now() - Duration::from_secs(ago);
        Some(Grants::new().with_acr(acr).with_authenticated_at(at))
    };
    let minute = Duration::from_secs(60);
    let orders = || Require::new().scope("orders:read").scope("orders:write");
    let staff = || Require::new().any_role(["admin", "editor"]).role("staff");
    let clock = TestClock::at(now());
    let recent = || {
        Require::new()
            .acr(["mfa", "phr"])
            .max_age(minute)
            .clock(clock.clone())
    };
    for (case, require, grants, reason) in [
        ("nothing", Require::new(), None, None),
        (
            "both scopes",
            orders(),
            scopes(&["orders:write", "orders:read", "x"]),
            None,
        ),
        (
            "one scope",
            orders(),
            scopes(&["orders:read"]),
            Some("insufficient_scope"),
        ),
        (
            "a longer scope",
            orders(),
            scopes(&["orders:read:all"]),
            Some("insufficient_scope"),
        ),
        (
            "a role is no scope",
            orders(),
            roles(&["orders:read", "orders:write"]),
            Some("insufficient_scope"),
        ),
        ("no grants", orders(), None, Some("insufficient_scope")),
        ("each role", staff(), roles(&["staff", "editor"]), None),
        ("one role", staff(), roles(&["staff"]), Some("missing_role")),
        (
            "another role",
            staff(),
            roles(&["Admin", "staff"]),
            Some("missing_role"),
        ),
        (
            "none of none",
            Require::new().any_role([""; 0]),
            roles(&["x"]),
            Some("missing_role"),
        ),
        (
            "a class of none",
            Require::new().acr([""; 0]),
            login("mfa", 0),
            Some("insufficient_user_authentication"),
        ),
        ("mfa", recent(), login("mfa", 60), None),
        (
            "ahead",
            recent(),
            Some(
                Grants::new()
                    .with_acr("phr")
                    .with_authenticated_at(now() + minute),
            ),
            None,
        ),
        (
            "too old",
            recent(),
            login("mfa", 61),
            Some("insufficient_user_authentication"),
        ),
        (
            "weaker",
            recent(),
            login("pwd", 1),
            Some("insufficient_user_authentication"),
        ),
        (
            "unknown",
            recent(),
            None,
            Some("insufficient_user_authentication"),
        ),
    ] {
        let answer = require.check(&context(grants));
        assert_eq!(answer.err().map(|error| error.reason()), reason, "{case}");
    }
}

#[tokio::test]
async fn a_layer_says_in_its_response_and_its_audit_what_is_missing() {
    let age = Duration::from_secs(300);
    for (require, status, challenge, text) in [
        (
            Require::new().scope("orders:read").scope("orders:write"),
            StatusCode::FORBIDDEN,
            Some("Bearer error=\"insufficient_scope\", scope=\"orders:read orders:write\""),
            "a scope of `orders:read orders:write` is missing",
        ),
        (
            Require::new().any_role(["admin", "editor"]),
            StatusCode::FORBIDDEN,
            None,
            "one of the roles `admin editor` is missing",
        ),
        (
            Require::new().acr(["mfa", "phr"]).max_age(age),
            StatusCode::UNAUTHORIZED,
            Some(
                "Bearer error=\"insufficient_user_authentication\", acr_values=\"mfa phr\", \
                 max_age=\"300\"",
            ),
            "the log-in is not sufficient: one of `mfa phr` is required: not longer ago than 300 s",
        ),
        // A scope that a header can't hold is only in the audit event.
        (
            Require::new().scope("a\"b"),
            StatusCode::FORBIDDEN,
            None,
            "a scope of `a\"b` is missing",
        ),
    ] {
        let recorder = Recorder::new();
        let router = Router::new().route("/", get(async || "never"));
        let app = behind(router, None, require, &recorder);
        let response = app.oneshot(request("/")).await.expect("infallible");
        assert_eq!(response.status(), status, "{text}");
        let sent = response.headers().get(header::WWW_AUTHENTICATE);
        assert_eq!(
            sent,
            challenge.map(HeaderValue::from_static).as_ref(),
            "{text}"
        );
        let rejection = response.extensions().get::<Rejection>().expect("a reason");
        let RejectionKind::Forbidden { forbidden, .. } = rejection.kind() else {
            panic!("{rejection:?}");
        };
        assert_eq!(forbidden.to_string(), text);
        let body = to_bytes(response.into_body(), 1 << 10)
            .await
            .expect("a body");
        let body = String::from_utf8_lossy(&body);
        assert!(
            !body.contains("admin") && !body.contains("orders"),
            "{body}"
        );
        let refused = recorder.events().into_iter().any(|event| {
            matches!(event, AuditEvent::Refused { rejection, .. }
                if rejection.to_string().contains(text))
        });
        assert!(refused, "{text}");
    }
}

#[tokio::test]
async fn a_route_requires_more_than_the_others() {
    let recorder = Recorder::new();
    let writers =
        RequireLayer::new(Require::new().scope("orders:write")).observer(recorder.clone());
    let app = |grants: Option<Grants>| {
        let router = Router::new()
            .route("/write", get(async || "written").layer(writers.clone()))
            .route("/read", get(async || "read"));
        behind(router, grants, Require::new(), &Recorder::new())
    };
    let reader = Some(Grants::new().with_scopes(["orders:read"]));
    let writer = Some(Grants::new().with_scopes(["orders:write"]));
    for (grants, path, status) in [
        (writer.clone(), "/write", StatusCode::OK),
        (writer, "/read", StatusCode::OK),
        (reader.clone(), "/read", StatusCode::OK),
        (reader.clone(), "/write", StatusCode::FORBIDDEN),
    ] {
        let response = app(grants)
            .oneshot(request(path))
            .await
            .expect("infallible");
        assert_eq!(response.status(), status, "{path}");
    }
    let events = recorder.events();
    let [
        AuditEvent::Refused {
            rejection,
            subject,
            request_id,
            path: Some(path),
            ..
        },
    ] = &events[..]
    else {
        panic!("{events:?}");
    };
    assert!(matches!(
        rejection.kind(),
        RejectionKind::Forbidden {
            authenticated: true,
            ..
        }
    ));
    let subject = subject.as_ref().expect("alice");
    assert!(matches!(subject.principal(), Principal::User(id) if id == "alice"));
    assert!(request_id.is_some());
    assert_eq!(path, "/write");

    // An anonymous request gets a 401, whatever is missing.
    let visitor = Request::get("/write")
        .body(Body::empty())
        .expect("a request");
    let response = app(reader).oneshot(visitor).await.expect("infallible");
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_route_outside_every_layer_is_a_mistake_and_lets_nobody_in() {
    let layer = RequireLayer::new(Require::new());
    let app = Router::new().route("/", get(async || "never").layer(layer));
    let response = app.oneshot(request("/")).await.expect("infallible");
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let rejection = response.extensions().get::<Rejection>().expect("a reason");
    assert!(matches!(rejection.kind(), RejectionKind::OutsideLayer));
}

#[tokio::test]
async fn the_response_of_a_route_can_be_replaced() {
    let layer = RequireLayer::new(Require::new().role("admin")).rejection_response(
        |rejection: &Rejection, _: &http::request::Parts| {
            let mut response = http::Response::new(bytes::Bytes::from_static(b"no"));
            *response.status_mut() = rejection.status();
            response
        },
    );
    let router = Router::new().route("/", get(async || "never").layer(layer));
    let app = behind(router, None, Require::new(), &Recorder::new());
    let response = app.oneshot(request("/")).await.expect("infallible");
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    let body = to_bytes(response.into_body(), 1 << 10)
        .await
        .expect("a body");
    assert_eq!(body, "no");
}

#[test]
fn an_error_of_the_applications_own_has_its_reason_and_nothing_missing() {
    const ERROR: ForbiddenError = ForbiddenError::new("thread_of_somebody_else");
    assert_eq!(ERROR.reason(), "thread_of_somebody_else");
    assert_eq!(ERROR.missing(), None);
}
