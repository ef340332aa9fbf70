//! Limits by subject: a subject that has used all of its own is refused with 429 and builds no
//! factory (B14), slots come back however a scope ends (B60), and nobody sees the limits of others
//! (B61).

use std::{
    borrow::Cow,
    convert::Infallible,
    io,
    net::SocketAddr,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::Context,
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use futures::{FutureExt, stream, task::noop_waker};
use http::{Request, Response, StatusCode, request::Parts};
use http_body_util::BodyExt;
use tower::{Service, ServiceExt, service_fn, util::BoxCloneService};
use tower_layer::Layer;
use tower_user_scope::{
    ConfigError, CredentialSource, Fallback, Identity, Outcome, PeerAddr, Principal, Rejection,
    UnavailableError, UserId, UserScopeLayer,
    audit::AuditEvent,
    context::TenantId,
    from_fn,
    limit::{Limit, LimitStore, OnUnavailable, Quota, Rate, TakeFuture, Taken},
    middleware::{LayerBuilder, ResponseBody},
    rejection::RejectionKind,
    testing::Recorder,
};

const MINUTE: Duration = Duration::from_secs(60);

/// Reads `x-user: alice` or `x-user: acme/alice`, and nobody in particular without it.
fn sender(head: &Parts) -> Outcome {
    let Some(value) = head
        .headers
        .get("x-user")
        .and_then(|value| value.to_str().ok())
    else {
        return Outcome::Absent;
    };
    let (tenant, user) = match value.split_once('/') {
        Some((tenant, user)) => (Some(tenant), user),
        None => (None, value),
    };
    let identity = Identity::proved(user.parse::<UserId>().expect("a valid id"));
    match tenant {
        Some(tenant) => identity.with_tenant_id(tenant.parse::<TenantId>().expect("an id")),
        None => identity,
    }
    .into()
}

/// What the factory of each request is: it counts those that are built and alive.
struct Built(Arc<AtomicUsize>);

impl Drop for Built {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

macro_rules! builder {
    () => {
        UserScopeLayer::builder()
            .strategy(from_fn(CredentialSource::header("x-user"), sender))
            .fallback(Fallback::anonymous())
    };
}

type App = BoxCloneService<Request<Body>, Response<ResponseBody<Body>>, Infallible>;

/// Answers `/hold` with a body that never ends, `/panic` with a panic, `/error` with 500, `/wait`
/// never, and others with a body of one frame.
async fn answer(request: Request<Body>) -> Result<Response<Body>, Infallible> {
    Ok(match request.uri().path() {
        "/hold" => Response::new(Body::from_stream(
            stream::pending::<Result<Bytes, io::Error>>(),
        )),
        "/broken" => {
            let frames = [Ok("one"), Err(io::Error::other("broken"))];
            Response::new(Body::from_stream(stream::iter(frames)))
        }
        "/panic" => panic!("as asked"),
        "/wait" => std::future::pending().await,
        "/error" => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            response
        }
        _ => Response::new(Body::from("answer")),
    })
}

macro_rules! app {
    ($builder:expr) => {
        BoxCloneService::new(
            $builder
                .context_only()
                .build()
                .expect("a valid configuration")
                .layer(service_fn(answer)),
        )
    };
}

fn get(user: &str, path: &str) -> Request<Body> {
    Request::get(path)
        .header("x-user", user)
        .body(Body::empty())
        .expect("a request")
}

async fn ask(app: &App, request: Request<Body>) -> Response<ResponseBody<Body>> {
    let Ok(response) = app.clone().oneshot(request).await;
    response
}

async fn status(app: &App, request: Request<Body>) -> u16 {
    let response = ask(app, request).await;
    let status = response.status().as_u16();
    response.into_body().collect().await.expect("a body");
    status
}

/// The response as the client sees it, without what is random.
async fn seen(app: &App, request: Request<Body>) -> (u16, Vec<(String, String)>, String) {
    let (head, body) = ask(app, request).await.into_parts();
    let headers = head
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().expect("text").to_owned()));
    let body = body.collect().await.expect("a body").to_bytes();
    let body = String::from_utf8_lossy(&body).into_owned();
    (head.status.as_u16(), headers.collect(), body)
}

fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let found = headers.iter().find(|(known, _)| known == name);
    found.map(|(_, value)| value.as_str())
}

#[tokio::test(start_paused = true)]
async fn b14_a_subject_above_its_rate_is_refused_and_waits_as_long_as_it_is_told() {
    let app = app!(builder!().limit(Limit::rate("requests", Rate::new(3, MINUTE))));
    for _ in 0..3 {
        assert_eq!(status(&app, get("alice", "/")).await, 200);
    }
    let (refused, headers, body) = seen(&app, get("alice", "/")).await;
    assert_eq!(refused, 429);
    for (name, value) in [
        ("retry-after", "20"),
        ("ratelimit", "\"requests\";r=0;t=20"),
        ("ratelimit-policy", "\"requests\";q=3;w=60"),
        ("content-type", "application/problem+json"),
        ("cache-control", "no-store"),
    ] {
        assert_eq!(header(&headers, name), Some(value), "{name}");
    }
    let problem: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(
        problem["type"],
        "https://iana.org/assignments/http-problem-types#quota-exceeded"
    );
    assert_eq!(problem["status"], 429);
    assert_eq!(
        problem["violated-policies"],
        serde_json::json!(["requests"])
    );

    // One comes back every 20 seconds, and not a moment earlier.
    tokio::time::advance(Duration::from_millis(19_999)).await;
    assert_eq!(status(&app, get("alice", "/")).await, 429);
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(status(&app, get("alice", "/")).await, 200);
    assert_eq!(status(&app, get("alice", "/")).await, 429);
    // After the whole period all of them have.
    tokio::time::advance(MINUTE).await;
    for expected in [200, 200, 200, 429] {
        assert_eq!(status(&app, get("alice", "/")).await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_burst_is_smaller_or_larger_than_what_a_period_allows() {
    for (burst, at_once) in [(1, 1), (10, 10), (600, 600), (1_000, 1_000)] {
        let rate = Rate::new(600, MINUTE).with_burst(burst);
        let app = app!(builder!().limit(Limit::rate("requests", rate)));
        let mut passed = 0;
        while status(&app, get("alice", "/")).await == 200 {
            passed += 1;
        }
        assert_eq!(passed, at_once, "a burst of {burst}");
        // The rate is the same: one each 100 ms.
        tokio::time::advance(Duration::from_millis(100)).await;
        assert_eq!(
            status(&app, get("alice", "/")).await,
            200,
            "a burst of {burst}"
        );
        assert_eq!(
            status(&app, get("alice", "/")).await,
            429,
            "a burst of {burst}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn b61_what_one_subject_uses_changes_nothing_that_another_sees() {
    let limits = || {
        app!(
            builder!()
                .limit(Limit::rate("requests", Rate::new(2, MINUTE)))
                .limit(Limit::concurrency("open", 1))
        )
    };
    let mut alone = Vec::new();
    let app = limits();
    for _ in 0..4 {
        alone.push(seen(&app, get("bob", "/")).await);
    }
    let mut beside_others = Vec::new();
    let app = limits();
    let mut held = Vec::new();
    for _ in 0..4 {
        for other in ["alice", "carol", "acme/bob", "Bob"] {
            held.push(ask(&app, get(other, "/hold")).await);
        }
        beside_others.push(seen(&app, get("bob", "/")).await);
    }
    assert_eq!(alone, beside_others);
    assert_eq!(
        alone.iter().map(|seen| seen.0).collect::<Vec<_>>(),
        [200, 200, 429, 429]
    );
    assert_eq!(held.iter().filter(|held| held.status() == 429).count(), 12);
}

#[tokio::test]
async fn b14_a_slot_is_held_to_the_end_of_the_body() {
    let app = app!(builder!().limit(Limit::concurrency("open", 2)));
    let first = ask(&app, get("alice", "/hold")).await;
    let second = ask(&app, get("alice", "/")).await;
    assert_eq!(
        (first.status(), second.status()),
        (StatusCode::OK, StatusCode::OK)
    );
    let (refused, headers, _) = seen(&app, get("alice", "/")).await;
    assert_eq!(refused, 429);
    assert_eq!(header(&headers, "retry-after"), Some("1"));
    assert_eq!(header(&headers, "ratelimit"), Some("\"open\";r=0;t=1"));
    let policy = Some("\"open\";q=2;qu=\"concurrent-requests\"");
    assert_eq!(header(&headers, "ratelimit-policy"), policy);
    // A response whose body is read to its end, and one that is dropped before it.
    second.into_body().collect().await.expect("a body");
    assert_eq!(status(&app, get("alice", "/")).await, 200);
    drop(first);
    let both = [
        ask(&app, get("alice", "/hold")).await,
        ask(&app, get("alice", "/hold")).await,
    ];
    assert!(both.iter().all(|response| response.status() == 200));
}

/// Every way in which a request can end, with the one slot of its subject.
#[tokio::test(start_paused = true)]
async fn b60_a_slot_comes_back_however_the_request_ends() {
    let alive = Arc::new(AtomicUsize::new(0));
    let layer = {
        let alive = Arc::clone(&alive);
        builder!()
            .limit(Limit::concurrency("open", 1))
            .limit(
                Limit::rate("requests", Rate::new(1, MINUTE))
                    .only(|_, head| head.uri.path() == "/limited"),
            )
            .time_limit(Duration::from_secs(1))
            .factory_async(move |user| {
                let alive = Arc::clone(&alive);
                async move {
                    tokio::task::yield_now().await;
                    alive.fetch_add(1, Ordering::SeqCst);
                    let built = Built(alive);
                    match user.thread_id().as_str() {
                        "fails" => Err(io::Error::other("as asked")),
                        "hangs" => std::future::pending().await,
                        "panics" => panic!("as asked"),
                        _ => Ok(built),
                    }
                }
            })
            .before_response(|answered| {
                if answered.context().thread_id() == "refused" {
                    return Err(io::Error::other("as asked"));
                }
                Ok(())
            })
            .build()
            .expect("a valid configuration")
    };
    let app = layer.layer(service_fn(answer));
    // (name, path, thread, how many polls before it is dropped)
    let cases: &[(&str, &str, &str, Option<usize>)] = &[
        ("success", "/", "t", None),
        ("an error of the handler", "/error", "t", None),
        ("an error of the body", "/broken", "t", None),
        ("a panic of the handler", "/panic", "t", None),
        ("a factory that fails", "/", "fails", None),
        ("a factory that hangs", "/", "hangs", None),
        ("a factory that panics", "/", "panics", None),
        ("a step before the response", "/", "refused", None),
        ("dropped while the factory is built", "/", "hangs", Some(1)),
        (
            "dropped while the handler is at work",
            "/wait",
            "t",
            Some(5),
        ),
        ("never polled", "/", "t", Some(0)),
        ("another limit that is used up", "/limited", "t", None),
        ("another limit that is used up", "/limited", "t", None),
        ("dropped while the body is sent", "/hold", "t", Some(5)),
    ];
    for (name, path, thread, polls) in cases {
        let mut request = get("alice", path);
        let thread = thread.parse().expect("a header");
        request.headers_mut().insert("x-thread-id", thread);
        let mut service = app.clone();
        let mut work = Box::pin(
            AssertUnwindSafe(async move {
                let Ok(response) = service.ready().await.expect("ready").call(request).await;
                let _ = response.into_body().collect().await;
            })
            .catch_unwind(),
        );
        match polls {
            None => drop(work.await),
            Some(polls) => {
                let waker = noop_waker();
                for _ in 0..*polls {
                    assert!(
                        work.poll_unpin(&mut Context::from_waker(&waker))
                            .is_pending(),
                        "{name}"
                    );
                }
                drop(work);
            }
        }
        assert_eq!(alive.load(Ordering::SeqCst), 0, "{name}");
        // The one slot is free.
        let Ok(next) = app.clone().oneshot(get("alice", "/")).await;
        assert_eq!(next.status(), 200, "after {name}");
    }
}

#[tokio::test]
async fn a_slot_comes_back_after_the_factory_has_gone() {
    struct Closing(Arc<Mutex<Vec<&'static str>>>);
    impl Drop for Closing {
        fn drop(&mut self) {
            self.0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push("factory");
        }
    }
    let log = Arc::new(Mutex::new(Vec::new()));
    let store = Logged(Arc::clone(&log));
    let factory_log = Arc::clone(&log);
    for watched in [false, true] {
        let (store, factory_log) = (store.clone(), Arc::clone(&factory_log));
        let builder = builder!()
            .limit(Limit::concurrency("open", 1).in_store(Arc::new(store), OnUnavailable::Refuse))
            .factory(move |_| Closing(Arc::clone(&factory_log)));
        let builder = if watched {
            builder.on_close(|_| ())
        } else {
            builder
        };
        let app = builder
            .build()
            .expect("a valid configuration")
            .layer(service_fn(answer));
        let Ok(response) = app.oneshot(get("alice", "/")).await;
        drop(response);
        let seen = std::mem::take(&mut *log.lock().unwrap_or_else(PoisonError::into_inner));
        assert_eq!(seen, ["factory", "slot"], "watched: {watched}");
    }
}

/// A store that grants everything and says when a slot comes back.
#[derive(Clone)]
struct Logged(Arc<Mutex<Vec<&'static str>>>);

impl Drop for LoggedSlot {
    fn drop(&mut self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push("slot");
    }
}

struct LoggedSlot(Arc<Mutex<Vec<&'static str>>>);

impl LimitStore for Logged {
    fn take(&self, _: String, _: Quota) -> TakeFuture {
        let slot = LoggedSlot(Arc::clone(&self.0));
        Box::pin(async move { Ok(Taken::granted().with_slot(slot)) })
    }
}

#[tokio::test]
async fn what_is_refused_builds_no_factory_and_is_audited_with_its_subject() {
    let built = Arc::new(AtomicUsize::new(0));
    let recorder = Recorder::new();
    let counted = Arc::clone(&built);
    let app = builder!()
        .limit(Limit::rate("requests", Rate::new(1, MINUTE)))
        .observer(recorder.clone())
        .factory(move |_| counted.fetch_add(1, Ordering::SeqCst))
        .build()
        .expect("a valid configuration")
        .layer(service_fn(answer));
    for expected in [200, 429, 429] {
        let Ok(response) = app.clone().oneshot(get("alice", "/orders")).await;
        assert_eq!(response.status(), expected);
        if expected == 429 {
            let rejection = response.extensions().get::<Rejection>().expect("a refusal");
            let RejectionKind::Limited(limited) = rejection.kind() else {
                panic!("{rejection:?}");
            };
            assert_eq!((limited.limit(), limited.retry_after()), ("requests", 60));
            assert_eq!(limited.quota(), Quota::Rate(Rate::new(1, MINUTE)));
            assert!(!format!("{rejection:?} {rejection}").contains("alice"));
        }
    }
    assert_eq!(built.load(Ordering::SeqCst), 1);
    let refused: Vec<_> = recorder
        .events()
        .into_iter()
        .filter_map(|event| match event {
            AuditEvent::Refused {
                rejection,
                subject,
                path: Some(path),
                ..
            } => Some((rejection.to_string(), subject.map(Cow::into_owned), path)),
            _ => None,
        })
        .collect();
    assert_eq!(refused.len(), 2);
    for (reason, subject, path) in refused {
        assert_eq!(
            (&*reason, &*path),
            ("limit `requests` is used up", "/orders")
        );
        let alice = Principal::User("alice".parse().expect("an id"));
        assert_eq!(subject.expect("a subject").principal(), &alice);
    }
}

fn from_peer(address: &str) -> Request<Body> {
    let mut request = Request::get("/").body(Body::empty()).expect("a request");
    let address: SocketAddr = address.parse().expect("an address");
    request.extensions_mut().insert(PeerAddr(address));
    request
}

/// Two requests, and whether they count together.
type Pair = (fn() -> Limit, Request<Body>, Request<Body>, bool);

/// Each case is two requests and whether the second counts with the first.
#[tokio::test]
async fn subjects_tenants_and_unknown_peers_are_counted_apart() {
    fn by_subject() -> Limit {
        Limit::rate("requests", Rate::new(1, MINUTE))
    }
    fn by_tenant() -> Limit {
        by_subject().per_tenant()
    }
    let nobody = || Request::new(Body::empty());
    let cases: Vec<Pair> = vec![
        (by_subject, get("alice", "/a"), get("alice", "/b"), true),
        (by_subject, get("alice", "/"), get("bob", "/"), false),
        (
            by_subject,
            get("acme/alice", "/"),
            get("acme/alice", "/"),
            true,
        ),
        (by_subject, get("acme/alice", "/"), get("alice", "/"), false),
        (
            by_subject,
            get("acme/alice", "/"),
            get("other/alice", "/"),
            false,
        ),
        (
            by_tenant,
            get("acme/alice", "/"),
            get("acme/bob", "/"),
            true,
        ),
        (
            by_tenant,
            get("acme/alice", "/"),
            get("other/alice", "/"),
            false,
        ),
        (by_tenant, get("alice", "/"), get("bob", "/"), false),
        (by_tenant, get("alice", "/"), get("alice", "/"), true),
        (by_tenant, get("acme/alice", "/"), get("acme", "/"), false),
        (
            by_subject,
            from_peer("10.0.0.1:1"),
            from_peer("10.0.0.1:2"),
            true,
        ),
        (
            by_subject,
            from_peer("10.0.0.1:1"),
            from_peer("10.0.0.2:1"),
            false,
        ),
        (
            by_subject,
            from_peer("[2001:db8::1]:1"),
            from_peer("[2001:db8::2]:1"),
            true,
        ),
        (
            by_subject,
            from_peer("[2001:db8::1]:1"),
            from_peer("[2001:db8:0:1::1]:1"),
            false,
        ),
        (
            by_subject,
            from_peer("10.0.0.1:1"),
            from_peer("[::ffff:10.0.0.1]:1"),
            true,
        ),
        (by_subject, nobody(), nobody(), true),
        (by_subject, nobody(), from_peer("10.0.0.1:1"), false),
        (
            by_tenant,
            from_peer("10.0.0.1:1"),
            from_peer("10.0.0.1:2"),
            true,
        ),
    ];
    for (number, (limit, first, second, together)) in cases.into_iter().enumerate() {
        let app = app!(builder!().limit(limit()));
        assert_eq!(status(&app, first).await, 200, "case {number}");
        let expected = if together { 429 } else { 200 };
        assert_eq!(status(&app, second).await, expected, "case {number}");
    }
}

#[tokio::test]
async fn a_limit_applies_to_its_class_of_requests_only() {
    let app = app!(
        builder!()
            .limit(
                Limit::rate("writes", Rate::new(1, MINUTE))
                    .only(|_, head| { head.uri.path().starts_with("/write") })
            )
            .limit(
                Limit::rate("alices", Rate::new(2, MINUTE))
                    .only(|user, _| { user.user_id().is_some_and(|id| id == "alice") })
            )
    );
    for (user, path, expected) in [
        ("alice", "/write", 200),
        ("alice", "/write", 429),
        // The second request was not counted by the second limit: the first one had refused it.
        ("alice", "/", 200),
        ("alice", "/", 429),
        ("bob", "/", 200),
        ("bob", "/", 200),
        ("bob", "/", 200),
        ("bob", "/write", 200),
        ("bob", "/write", 429),
    ] {
        assert_eq!(
            status(&app, get(user, path)).await,
            expected,
            "{user} {path}"
        );
    }
}

#[tokio::test]
async fn services_of_one_layer_count_together_and_two_layers_apart() {
    let layer = || {
        builder!()
            .limit(Limit::rate("requests", Rate::new(1, MINUTE)))
            .context_only()
            .build()
            .expect("a valid configuration")
    };
    let (one, other) = (layer(), layer());
    for (layer, expected) in [
        (&one, 200),
        (&one.clone(), 429),
        (&other, 200),
        (&other, 429),
    ] {
        let Ok(response) = layer
            .layer(service_fn(answer))
            .oneshot(get("alice", "/"))
            .await;
        assert_eq!(response.status(), expected);
    }
}

#[tokio::test]
async fn who_may_not_make_a_request_is_not_counted() {
    let app = app!(
        builder!()
            .limit(Limit::rate("requests", Rate::new(1, MINUTE)))
            .authorize(|_, head| match head.uri.path() {
                "/admin" => Err(tower_user_scope::authorize::ForbiddenError::new("no").into()),
                _ => Ok(()),
            })
    );
    for (path, expected) in [
        ("/admin", 403),
        ("/admin", 403),
        ("/", 200),
        ("/", 429),
        ("/admin", 403),
    ] {
        assert_eq!(status(&app, get("alice", path)).await, expected, "{path}");
    }
}

#[tokio::test]
async fn grpc_clients_get_resource_exhausted_with_the_real_status() {
    let app = app!(builder!().limit(Limit::rate("calls", Rate::new(1, MINUTE))));
    for (user, content_type) in [
        ("alice", "application/grpc"),
        ("bob", "application/grpc-web+proto"),
    ] {
        let call = || {
            let mut request = get(user, "/pkg.Service/Call");
            let value = content_type.parse().expect("a value");
            request.headers_mut().insert("content-type", value);
            request
        };
        assert_eq!(status(&app, call()).await, 200);
        let (status, headers, _) = seen(&app, call()).await;
        assert_eq!(status, 429);
        assert_eq!(header(&headers, "grpc-status"), Some("8"));
        assert_eq!(header(&headers, "retry-after"), Some("60"));
        assert_eq!(
            header(&headers, "ratelimit-policy"),
            Some("\"calls\";q=1;w=60")
        );
    }
}

/// A store that answers as its keys say: `down`, `hangs`, `full`, or with a slot.
#[derive(Clone, Default)]
struct Scripted {
    asked: Arc<Mutex<Vec<String>>>,
    slots: Arc<AtomicUsize>,
}

struct ScriptedSlot(Arc<AtomicUsize>);

impl Drop for ScriptedSlot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl LimitStore for Scripted {
    fn take(&self, key: String, _: Quota) -> TakeFuture {
        let slots = Arc::clone(&self.slots);
        self.asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(key.clone());
        Box::pin(async move {
            tokio::task::yield_now().await;
            match key.split(':').next() {
                Some("down") => Err(UnavailableError::new(io::Error::other("no route"))),
                Some("hangs") => std::future::pending().await,
                Some("full") => Ok(Taken::refused().with_retry_after(Duration::from_millis(1_500))),
                _ => {
                    slots.fetch_add(1, Ordering::SeqCst);
                    Ok(Taken::granted().with_slot(ScriptedSlot(slots)))
                }
            }
        })
    }
}

#[tokio::test(start_paused = true)]
async fn b58_a_limiter_that_is_down_does_what_was_said_aloud() {
    use OnUnavailable::{Allow, Refuse};
    type Limits = &'static [(&'static str, OnUnavailable)];
    let cases: [(Limits, u16, &[&str]); 8] = [
        (&[("open", Refuse)], 200, &[]),
        (&[("down", Refuse)], 503, &[]),
        (&[("down", Allow)], 200, &["down"]),
        (&[("hangs", Refuse)], 503, &[]),
        (&[("hangs", Allow)], 200, &["hangs"]),
        (
            &[("open", Refuse), ("down", Allow), ("hangs", Allow)],
            200,
            &["down", "hangs"],
        ),
        (
            &[("open", Refuse), ("down", Allow), ("full", Allow)],
            429,
            &[],
        ),
        (&[("down", Allow), ("hangs", Refuse)], 503, &[]),
    ];
    for (limits, expected, skipped) in cases {
        let recorder = Recorder::new();
        let store = Scripted::default();
        let mut builder = builder!()
            .observer(recorder.clone())
            .time_limit(Duration::from_secs(1));
        for &(name, on_unavailable) in limits {
            builder = builder.limit(
                Limit::concurrency(name, 1).in_store(Arc::new(store.clone()), on_unavailable),
            );
        }
        let app = app!(builder.limit(Limit::concurrency("here", 1)));
        let response = ask(&app, get("alice", "/hold")).await;
        assert_eq!(response.status(), expected, "{limits:?}");
        let taken = limits.iter().filter(|limit| limit.0 == "open").count();
        let held = if expected == 200 { taken } else { 0 };
        assert_eq!(store.slots.load(Ordering::SeqCst), held, "{limits:?}");
        if expected == 429 {
            assert_eq!(response.headers()["retry-after"], "2");
        }
        drop(response);
        assert_eq!(store.slots.load(Ordering::SeqCst), 0, "{limits:?}");
        let events = recorder
            .events()
            .into_iter()
            .filter_map(|event| match event {
                AuditEvent::LimitSkipped { limit, .. } => Some(limit.into_owned()),
                _ => None,
            });
        assert_eq!(events.collect::<Vec<_>>(), skipped, "{limits:?}");
    }
}

#[tokio::test]
async fn what_is_full_here_asks_no_store_and_what_waits_for_one_can_be_cancelled() {
    let store = Scripted::default();
    let in_store =
        |name| Limit::concurrency(name, 1).in_store(Arc::new(store.clone()), OnUnavailable::Refuse);
    let app = app!(
        builder!()
            .limit(in_store("open"))
            .limit(in_store("hangs"))
            .limit(Limit::concurrency("here", 1))
    );
    let mut waiting = Box::pin(app.clone().oneshot(get("alice", "/")));
    while store.slots.load(Ordering::SeqCst) == 0 {
        assert!(futures::poll!(waiting.as_mut()).is_pending());
    }
    assert!(futures::poll!(waiting.as_mut()).is_pending());
    let asked = || {
        store
            .asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    };
    assert_eq!(asked(), ["open:user::alice", "hangs:user::alice"]);
    assert_eq!(status(&app, get("alice", "/")).await, 429);
    assert_eq!(asked().len(), 2);
    drop(waiting);
    assert_eq!(store.slots.load(Ordering::SeqCst), 0);
    let mut again = Box::pin(app.clone().oneshot(get("acme/alice", "/")));
    assert!(futures::poll!(again.as_mut()).is_pending());
    assert_eq!(asked()[2], "open:user:acme:alice");
}

type Mistake = (Vec<Limit>, fn(&ConfigError) -> bool);

#[test]
fn a_limit_that_nothing_can_meet_is_an_error_of_build() {
    let second = Duration::from_secs(1);
    let long = "a".repeat(65);
    let cases: Vec<Mistake> = vec![
        (vec![Limit::concurrency("open", 0)], |error| {
            matches!(error, ConfigError::LimitQuota { .. })
        }),
        (vec![Limit::rate("r", Rate::new(0, second))], |error| {
            matches!(error, ConfigError::LimitQuota { .. })
        }),
        (
            vec![Limit::rate("r", Rate::new(1, Duration::ZERO))],
            |error| matches!(error, ConfigError::LimitQuota { .. }),
        ),
        (
            vec![Limit::rate("r", Rate::new(1, second).with_burst(0))],
            |error| matches!(error, ConfigError::LimitQuota { .. }),
        ),
        (
            vec![Limit::rate("r", Rate::new(u32::MAX, second))],
            |error| matches!(error, ConfigError::LimitQuota { .. }),
        ),
        (vec![Limit::concurrency("", 1)], |error| {
            matches!(error, ConfigError::LimitName { .. })
        }),
        (vec![Limit::concurrency("a\"b", 1)], |error| {
            matches!(error, ConfigError::LimitName { .. })
        }),
        (vec![Limit::concurrency(&*long, 1)], |error| {
            matches!(error, ConfigError::LimitName { .. })
        }),
        (
            vec![
                Limit::concurrency("a", 1),
                Limit::rate("a", Rate::new(1, second)),
            ],
            |error| matches!(error, ConfigError::LimitReused { name } if name == "a"),
        ),
    ];
    for (number, (limits, is_expected)) in cases.into_iter().enumerate() {
        let builder = limits.into_iter().fold(builder!(), LayerBuilder::limit);
        let error = builder.context_only().build().expect_err("a mistake");
        assert!(is_expected(&error), "case {number}: {error}");
    }
}

#[tokio::test]
async fn a_response_says_what_is_left_where_the_application_asks_for_it() {
    let limits = || {
        builder!()
            .limit(Limit::rate("requests", Rate::new(3, MINUTE)))
            .limit(Limit::concurrency("open", 2))
            .limit(Limit::concurrency("uploads", 1).only(|_, head| head.uri.path() == "/upload"))
    };
    let app: App = app!(limits().return_rate_limits());
    let policy = r#""open";q=2;qu="concurrent-requests", "requests";q=3;w=60"#;
    for (requests, reset) in [(2, 20), (1, 40)] {
        let (status, headers, _) = seen(&app, get("alice", "/")).await;
        assert_eq!(status, 200);
        assert_eq!(header(&headers, "ratelimit-policy"), Some(policy));
        let left = format!(r#""open";r=1, "requests";r={requests};t={reset}"#);
        assert_eq!(header(&headers, "ratelimit"), Some(&*left));
        assert_eq!(header(&headers, "retry-after"), None);
    }
    // Nobody else's use is in it (B61), and a limit of other requests is not.
    let held = ask(&app, get("bob", "/hold")).await;
    let (_, headers, _) = seen(&app, get("bob", "/")).await;
    let left = r#""open";r=0, "requests";r=1;t=40"#;
    assert_eq!(header(&headers, "ratelimit"), Some(left));
    drop(held);
    // A refusal is about its own limit, and an answer that the application makes of an error is its.
    let (status, headers, _) = seen(&app, get("alice", "/error")).await;
    assert_eq!(status, 500);
    let left = r#""open";r=1, "requests";r=0;t=60"#;
    assert_eq!(header(&headers, "ratelimit"), Some(left));
    let (status, headers, _) = seen(&app, get("alice", "/")).await;
    assert_eq!(status, 429);
    let left = header(&headers, "ratelimit");
    assert_eq!(left, Some(r#""requests";r=0;t=20"#));
    // Without being asked for, there is nothing.
    let (_, headers, _) = seen(&app!(limits()), get("alice", "/")).await;
    assert_eq!(header(&headers, "ratelimit-policy"), None);
    assert_eq!(header(&headers, "ratelimit"), None);
}

/// Grants everything, and says what is left if it knows.
struct Granting(Option<(u64, Option<Duration>)>);

impl LimitStore for Granting {
    fn take(&self, _: String, _: Quota) -> TakeFuture {
        let taken = Taken::granted();
        let taken = match self.0 {
            Some((remaining, reset)) => taken.with_remaining(remaining, reset),
            None => taken,
        };
        Box::pin(async { Ok(taken) })
    }
}

#[tokio::test]
async fn what_a_store_knows_to_be_left_is_in_the_response_too() {
    let second = Duration::from_secs(1);
    for (left, expected) in [
        (
            Some((41, Some(second))),
            Some(r#""here";r=7, "there";r=41;t=1"#),
        ),
        (Some((41, None)), Some(r#""here";r=7, "there";r=41"#)),
        (None, Some(r#""here";r=7"#)),
    ] {
        let app: App = app!(
            builder!()
                .limit(Limit::concurrency("here", 8))
                .limit(
                    Limit::rate("there", Rate::new(42, MINUTE))
                        .in_store(Arc::new(Granting(left)), OnUnavailable::Refuse),
                )
                .return_rate_limits()
        );
        let (status, headers, _) = seen(&app, get("alice", "/")).await;
        assert_eq!(status, 200);
        assert_eq!(header(&headers, "ratelimit"), expected);
        let policy = r#""here";q=8;qu="concurrent-requests", "there";q=42;w=60"#;
        assert_eq!(header(&headers, "ratelimit-policy"), Some(policy));
    }
}
