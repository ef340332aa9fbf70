//! B55: a revocation refuses what begins after it and ends what is open, and touches nobody else.

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use axum::body::Body;
use bytes::Bytes;
use futures::{StreamExt, poll, stream};
use http::{Request, Response, StatusCode, request::Parts};
use http_body_util::BodyExt;
use tokio::sync::Notify;
use tower::{ServiceExt, service_fn, util::BoxCloneService};
use tower_layer::Layer;
use tower_user_scope::{
    CredentialSource, Identity, Outcome, Rejection, UserId, UserScopeLayer,
    clock::Clock,
    context::{Subject, TenantId},
    from_fn,
    middleware::ResponseBody,
    open_scopes::{Credential, OpenScopes, Revocation, TooManyRevocationsError},
    rejection::RejectionKind,
    scope::{EndReason, Ending},
    testing::TestClock,
};

const HOUR: Duration = Duration::from_secs(3_600);

/// Reads `x-user`, and what its credential is known by: `x-session`, `x-token`, and `x-age` in seconds
/// before `start`.
fn sender(start: SystemTime) -> impl Fn(&Parts) -> Outcome + Send + Sync {
    move |head| {
        let text = |name: &str| {
            head.headers
                .get(name)
                .map(|value| value.to_str().expect("text"))
        };
        let Some(user) = text("x-user") else {
            return Outcome::Absent;
        };
        let mut credential = Credential::new();
        if let Some(id) = text("x-session") {
            credential = credential.with_session_id(id);
        }
        if let Some(id) = text("x-token") {
            credential = credential.with_token_id(id);
        }
        if let Some(age) = text("x-age") {
            let age: i64 = age.parse().expect("a number");
            let by = Duration::from_secs(age.unsigned_abs());
            let time = if age < 0 { start + by } else { start - by };
            credential = credential.with_issued_at(time);
        }
        let identity = Identity::proved(user.parse::<UserId>().expect("an id"));
        let identity = match text("x-tenant") {
            Some(tenant) => identity.with_tenant_id(tenant.parse::<TenantId>().expect("an id")),
            None => identity,
        };
        identity.with_attribute(credential).into()
    }
}

macro_rules! builder {
    ($clock:expr, $open:expr) => {{
        let clock: TestClock = $clock.clone();
        UserScopeLayer::builder()
            .strategy(from_fn(
                CredentialSource::header("x-user"),
                sender(clock.now()),
            ))
            .clock(clock)
            .open_scopes($open)
    }};
}

pub(crate) type App = BoxCloneService<Request<()>, Response<ResponseBody<Body>>, Infallible>;

/// An event stream of one event that stays open.
pub(crate) async fn events(_: Request<()>) -> Result<Response<Body>, Infallible> {
    let first = stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"data: 1\n\n"))]);
    let mut response = Response::new(Body::from_stream(first.chain(stream::pending())));
    let value = "text/event-stream".parse().expect("a value");
    response.headers_mut().insert("content-type", value);
    Ok(response)
}

macro_rules! app {
    ($builder:expr) => {
        BoxCloneService::new(
            $builder
                .build()
                .expect("a valid configuration")
                .layer(service_fn(events)),
        )
    };
}

pub(crate) fn request(headers: &[(&'static str, &str)]) -> Request<()> {
    let mut request = Request::get("/events?since=3");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).expect("a request")
}

pub(crate) async fn ask(
    app: &App,
    headers: &[(&'static str, &str)],
) -> Response<ResponseBody<Body>> {
    let Ok(response) = app.clone().oneshot(request(headers)).await;
    response
}

/// Opens a stream and reads its first event.
pub(crate) async fn open(app: &App, headers: &[(&'static str, &str)]) -> ResponseBody<Body> {
    let response = ask(app, headers).await;
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    body.frame().await.expect("a frame").expect("no error");
    body
}

/// What the stream has for its client now: nothing, or the last event.
pub(crate) async fn last(body: &mut ResponseBody<Body>) -> Option<String> {
    match poll!(body.frame()) {
        std::task::Poll::Pending => None,
        std::task::Poll::Ready(frame) => {
            let data = frame.expect("a last frame").expect("no error").into_data();
            Some(String::from_utf8(data.expect("data").to_vec()).expect("text"))
        }
    }
}

fn ended(rejected: &Response<ResponseBody<Body>>) -> Option<EndReason> {
    match rejected.extensions().get::<Rejection>()?.kind() {
        RejectionKind::IdentityEnded(reason) => Some(*reason),
        _ => None,
    }
}

fn alice() -> Subject {
    Subject::new("alice".parse::<UserId>().expect("an id"))
}

/// A revocation, the headers of a request, and whether it is revoked.
type Case = (
    fn(SystemTime) -> Revocation,
    &'static [(&'static str, &'static str)],
    bool,
);

#[tokio::test]
async fn b55_what_is_revoked_ends_and_begins_no_more_and_nothing_else() {
    let everything: fn(SystemTime) -> Revocation = |_| Revocation::of_subject(alice());
    let but_one: fn(SystemTime) -> Revocation =
        |_| Revocation::of_subject(alice()).except_session("kept");
    let of_old: fn(SystemTime) -> Revocation =
        |now| Revocation::of_subject(alice()).issued_before(now - HOUR);
    let session: fn(SystemTime) -> Revocation = |_| Revocation::of_session("s");
    let token: fn(SystemTime) -> Revocation = |_| Revocation::of_token("t");
    let cases: &[Case] = &[
        (everything, &[("x-user", "alice")], true),
        (everything, &[("x-user", "alice"), ("x-age", "1")], true),
        (everything, &[("x-user", "alice"), ("x-age", "0")], false),
        (everything, &[("x-user", "alice"), ("x-age", "-1")], false),
        (
            everything,
            &[("x-user", "alice"), ("x-tenant", "acme")],
            false,
        ),
        (everything, &[("x-user", "bob")], false),
        (
            but_one,
            &[("x-user", "alice"), ("x-session", "kept")],
            false,
        ),
        (
            but_one,
            &[("x-user", "alice"), ("x-session", "other")],
            true,
        ),
        (but_one, &[("x-user", "alice")], true),
        (of_old, &[("x-user", "alice"), ("x-age", "3601")], true),
        (of_old, &[("x-user", "alice"), ("x-age", "3599")], false),
        (of_old, &[("x-user", "alice")], true),
        (session, &[("x-user", "alice"), ("x-session", "s")], true),
        (session, &[("x-user", "bob"), ("x-session", "s")], true),
        (session, &[("x-user", "alice"), ("x-session", "S")], false),
        (session, &[("x-user", "alice"), ("x-token", "s")], false),
        (session, &[("x-user", "alice")], false),
        (token, &[("x-user", "alice"), ("x-token", "t")], true),
        (
            token,
            &[("x-user", "alice"), ("x-token", "u"), ("x-session", "t")],
            false,
        ),
    ];
    for (number, (revocation, headers, is_revoked)) in cases.iter().enumerate() {
        let clock = TestClock::now();
        let scopes = OpenScopes::with_clock(HOUR, clock.clone());
        let app = app!(builder!(clock, &scopes).context_only());
        let mut body = open(&app, headers).await;
        let revoked = scopes.revoke(revocation(clock.now())).expect("room");
        assert_eq!(revoked, usize::from(*is_revoked), "case {number}");
        let expected = is_revoked.then(|| "event: scope-ended\ndata: revoked\n\n".to_owned());
        assert_eq!(last(&mut body).await, expected, "case {number}");
        let again = ask(&app, headers).await;
        assert_eq!(again.status() == 401, *is_revoked, "case {number}");
        assert_eq!(
            ended(&again),
            is_revoked.then_some(EndReason::Revoked),
            "case {number}"
        );
        assert_eq!(
            again.headers().contains_key("www-authenticate"),
            *is_revoked
        );
    }
}

#[tokio::test]
async fn a_log_out_says_so_and_a_new_log_in_is_welcome() {
    let clock = TestClock::now();
    let scopes = OpenScopes::with_clock(HOUR, clock.clone());
    let endings = Arc::new(Mutex::new(Vec::new()));
    let closed = Arc::clone(&endings);
    let app = app!(
        builder!(clock, &scopes)
            .context_only()
            .on_close(move |scope| {
                closed
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(scope.ending());
            })
    );
    let mut body = open(&app, &[("x-user", "alice"), ("x-age", "60")]).await;
    let log_out = Revocation::of_subject(alice()).as_log_out();
    assert_eq!(scopes.revoke(log_out).expect("room"), 1);
    let event = last(&mut body).await;
    assert_eq!(
        event.as_deref(),
        Some("event: scope-ended\ndata: logged_out\n\n")
    );
    drop(body);
    let endings = std::mem::take(&mut *endings.lock().unwrap_or_else(PoisonError::into_inner));
    assert_eq!(endings, [Ending::CutOff(EndReason::LoggedOut)]);
    let refused = ask(&app, &[("x-user", "alice"), ("x-age", "60")]).await;
    assert_eq!(ended(&refused), Some(EndReason::LoggedOut));
    open(&app, &[("x-user", "alice"), ("x-age", "-1")]).await;
}

/// Revoked while the request waits: for its authorization, or for its factory.
#[tokio::test]
async fn b55_a_request_that_has_begun_before_a_revocation_is_refused_too() {
    for step in ["authorize", "factory"] {
        let clock = TestClock::now();
        let scopes = OpenScopes::with_clock(HOUR, clock.clone());
        let (reached, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let built = Arc::new(AtomicUsize::new(0));
        let wait = |at: &'static str| {
            let (reached, go_on) = (Arc::clone(&reached), Arc::clone(&go_on));
            move || {
                let (reached, go_on) = (Arc::clone(&reached), Arc::clone(&go_on));
                async move {
                    if at == step {
                        reached.notify_one();
                        go_on.notified().await;
                    }
                }
            }
        };
        let (authorize, factory) = (wait("authorize"), wait("factory"));
        let counted = Arc::clone(&built);
        let called = Arc::new(AtomicUsize::new(0));
        let calls = Arc::clone(&called);
        let layer = builder!(clock, &scopes)
            .authorize_async(move |_, _| {
                let wait = authorize();
                async move {
                    wait.await;
                    Ok(())
                }
            })
            .factory_async(move |_| {
                counted.fetch_add(1, Ordering::SeqCst);
                let wait = factory();
                async move {
                    wait.await;
                    Ok::<_, Infallible>(())
                }
            })
            .build()
            .expect("a valid configuration");
        let service = layer.layer(service_fn(move |request| {
            calls.fetch_add(1, Ordering::SeqCst);
            events(request)
        }));
        let waiting = tokio::spawn(service.oneshot(request(&[("x-user", "alice")])));
        reached.notified().await;
        scopes
            .revoke(Revocation::of_subject(alice()))
            .expect("room");
        go_on.notify_one();
        let Ok(response) = waiting.await.expect("no panic");
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{step}");
        assert_eq!(called.load(Ordering::SeqCst), 0, "{step}");
        let builds = usize::from(step == "factory");
        assert_eq!(built.load(Ordering::SeqCst), builds, "{step}");
        assert_eq!(scopes.total(), 0, "{step}");
    }
}

#[tokio::test]
async fn who_is_here_is_counted_and_listed() {
    let clock = TestClock::now();
    let since = clock.now();
    let scopes = OpenScopes::with_clock(HOUR, clock.clone());
    // Two layers of one service.
    let app = app!(builder!(clock, &scopes).context_only());
    let other = app!(builder!(clock, &scopes).factory(|_| ()));
    let first = open(&app, &[("x-user", "alice")]).await;
    let second = open(&other, &[("x-user", "alice")]).await;
    let third = open(&app, &[("x-user", "bob")]).await;
    assert_eq!((scopes.count(&alice()), scopes.total()), (2, 3));
    let list = scopes.list(10);
    let mut users: Vec<_> = list
        .iter()
        .filter_map(|scope| scope.context().user_id())
        .collect();
    users.sort();
    assert_eq!(users, ["alice", "alice", "bob"]);
    for scope in &list {
        assert_eq!((scope.method().as_str(), scope.path()), ("GET", "/events"));
        assert_eq!(scope.since(), since);
    }
    assert_eq!(scopes.list(2).len(), 2);
    drop(list);
    drop(first);
    assert_eq!((scopes.count(&alice()), scopes.total()), (1, 2));
    drop((second, third));
    assert_eq!((scopes.count(&alice()), scopes.total()), (0, 0));
    assert_eq!(ask(&app, &[]).await.status(), 401);
    assert_eq!(scopes.total(), 0);
}

#[tokio::test]
async fn revocations_are_forgotten_after_their_time_and_bounded() {
    let clock = TestClock::now();
    let scopes = OpenScopes::with_clock(HOUR, clock.clone());
    let app = app!(builder!(clock, &scopes).context_only());
    for number in 0..OpenScopes::MAX_REVOCATIONS {
        scopes
            .revoke(Revocation::of_token(number.to_string()))
            .expect("room");
    }
    let mut body = open(&app, &[("x-user", "alice"), ("x-session", "s")]).await;
    let full = scopes
        .revoke(Revocation::of_session("s"))
        .expect_err("no room");
    // What is open ends all the same, and the caller knows that the rest is missing.
    let TooManyRevocationsError { limit, ended, .. } = full;
    assert_eq!((limit, ended), (OpenScopes::MAX_REVOCATIONS, 1));
    assert!(last(&mut body).await.is_some());
    assert_eq!(
        ask(&app, &[("x-user", "alice"), ("x-token", "7")])
            .await
            .status(),
        401
    );
    clock.advance(HOUR);
    scopes
        .revoke(Revocation::of_session("s"))
        .expect("room again");
    assert_eq!(
        ask(&app, &[("x-user", "alice"), ("x-token", "7")])
            .await
            .status(),
        200
    );
    assert_eq!(
        ask(&app, &[("x-user", "alice"), ("x-session", "s")])
            .await
            .status(),
        401
    );
}

#[test]
fn no_id_is_in_a_text() {
    let credential = Credential::new()
        .with_session_id("secret-1")
        .with_token_id("secret-2");
    let revocations = [
        Revocation::of_session("secret-1").except_session("secret-2"),
        Revocation::of_token("secret-2"),
        Revocation::of_subject(Subject::new("secret-3".parse::<UserId>().expect("an id"))),
    ];
    let text = format!("{credential:?} {revocations:?} {:?}", OpenScopes::new(HOUR));
    assert!(!text.contains("secret"), "{text}");
}
