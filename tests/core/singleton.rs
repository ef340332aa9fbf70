//! B41: what still uses the shared object is in the log and in a report, by place and by route.
//!
//! The service has the shape of axum's example `todos`: one alias for the shared object, which every
//! handler takes as `State`.

use std::{
    collections::HashMap,
    sync::{Arc, RwLock, atomic::AtomicUsize, atomic::Ordering},
    task::{Context, Poll},
};

use axum::{
    Router,
    body::Body,
    extract::{MatchedPath, Path, State},
    routing::get,
};
use futures::task::noop_waker_ref;
use http::{Method, Request, StatusCode, request::Parts};
use http_body_util::BodyExt;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_user_scope::{
    PeerAddr, Scoped, TrustedHeader, UserScopeLayer,
    migration::{RouteLayer, Singleton, SingletonReport},
};

/// Was `Arc<RwLock<HashMap<..>>>`.
type Db = Singleton<RwLock<HashMap<usize, String>>>;

static NEXT: AtomicUsize = AtomicUsize::new(1);

/// The handlers as they always were.
mod handlers {
    use super::{Db, NEXT, Ordering, Path, State, StatusCode};

    pub(super) async fn index(State(db): State<Db>) -> String {
        let todos = db.read().expect("no panic");
        todos.values().cloned().collect::<Vec<_>>().join(",")
    }

    pub(super) async fn create(State(db): State<Db>, text: String) -> String {
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        db.write().expect("no panic").insert(id, text);
        id.to_string()
    }

    pub(super) async fn update(
        Path(id): Path<usize>,
        State(db): State<Db>,
        text: String,
    ) -> StatusCode {
        let known = db.read().expect("no panic").contains_key(&id);
        if !known {
            return StatusCode::NOT_FOUND;
        }
        db.write().expect("no panic").insert(id, text);
        StatusCode::OK
    }
}

/// What each user has after the migration.
#[derive(Default)]
struct Todos(RwLock<Vec<String>>);

async fn own_index(todos: Scoped<Todos>) -> String {
    todos.0.read().expect("no panic").join(",")
}

fn route(head: &Parts) -> Option<String> {
    let route = head.extensions.get::<MatchedPath>()?.as_str();
    Some(format!("{} {route}", head.method))
}

fn old() -> Router<Db> {
    Router::new()
        .route("/todos", get(handlers::index).post(handlers::create))
        .route("/todos/{id}", axum::routing::patch(handlers::update))
}

async fn ask(app: &Router, method: Method, path: &str, body: &'static str) -> (StatusCode, String) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("x-user-id", "alice")
        .extension(PeerAddr(([10, 0, 0, 7], 4711).into()))
        .body(Body::from(body))
        .expect("a request");
    let response = app.clone().oneshot(request).await.expect("infallible");
    let status = response.status();
    let body = response.into_body().collect().await.expect("a body");
    let body = String::from_utf8(body.to_bytes().to_vec()).expect("text");
    (status, body)
}

/// Routes and counts of a report.
fn counts(report: &SingletonReport) -> Vec<(Option<&str>, u64)> {
    report
        .uses()
        .iter()
        .map(|used| (used.route(), used.count()))
        .collect()
}

#[tokio::test]
async fn b41_what_uses_the_shared_object_is_listed_by_route_until_nothing_does() {
    crate::audit::capture();

    let db = Db::default();
    let app = old().layer(RouteLayer::new(route)).with_state(db.clone());
    for _ in 0..3 {
        ask(&app, Method::POST, "/todos", "tea").await;
    }
    let (_, listed) = ask(&app, Method::GET, "/todos", "").await;
    assert_eq!(listed, "tea,tea,tea", "it works as before");
    assert_eq!(
        ask(&app, Method::PATCH, "/todos/0", "milk").await.0,
        StatusCode::NOT_FOUND
    );
    let report = Singleton::report(&db);
    assert_eq!(
        counts(&report),
        [
            (Some("POST /todos"), 3),
            (Some("GET /todos"), 1),
            (Some("PATCH /todos/{id}"), 1),
        ]
    );
    for used in report.uses() {
        let place = used.place().expect("a place");
        assert!(place.file().ends_with("singleton.rs"), "{place}");
    }
    let text = report.to_string();
    let used = ": used 5 times at 3 places\n         3  ";
    assert!(text.contains(used), "{text}");

    let log = crate::audit::written();
    let warnings: Vec<_> = log
        .lines()
        .filter(|line| line.contains("singleton used"))
        .collect();
    assert_eq!(warnings.len(), 3, "once for each place: {log}");
    assert!(warnings[0].contains("WARN tower_user_scope::migration"));
    assert!(warnings[0].contains("route=\"POST /todos\""), "{log}");

    // One route has moved, and the others stay where they are.
    let users = UserScopeLayer::builder()
        .strategy(
            TrustedHeader::new("x-user-id")
                .from_proxies(["10.0.0.0/8"])
                .expect("a network"),
        )
        .factory(|_| Todos::default())
        .build()
        .expect("a valid configuration");
    let db = Db::default();
    let moved = Router::new().route("/mine", get(own_index)).layer(users);
    let app = old()
        .merge(moved)
        .layer(RouteLayer::new(route))
        .with_state(db.clone());
    assert_eq!(ask(&app, Method::GET, "/mine", "").await.0, StatusCode::OK);
    assert_eq!(Singleton::report(&db).total(), 0);
    ask(&app, Method::GET, "/todos", "").await;
    assert_eq!(
        counts(&Singleton::report(&db)),
        [(Some("GET /todos"), 1)],
        "what is left"
    );
}

#[tokio::test]
async fn inside_a_scope_the_line_has_the_id_of_the_request() {
    crate::audit::capture();
    let users = UserScopeLayer::builder()
        .strategy(TrustedHeader::new("x-user-id").only_if(|_| true))
        .context_only()
        .build()
        .expect("a valid configuration");
    let app = old().layer(users).with_state(Db::default());
    ask(&app, Method::GET, "/todos", "").await;
    let log = crate::audit::written();
    let warning = log.lines().find(|line| line.contains("singleton used"));
    let warning = warning.expect("a line");
    assert!(warning.contains(" request_id=\""), "{warning}");
    assert!(!warning.contains("alice"), "{warning}");
}

#[test]
fn requests_that_take_turns_on_one_thread_keep_their_own_routes() {
    let shared = Singleton::new(7_u32);
    let inner = shared.clone();
    let mut service = RouteLayer::new(|head: &Parts| Some(head.uri.path().to_owned())).layer(
        service_fn(move |_: Request<()>| {
            let shared = inner.clone();
            async move {
                for _ in 0..3 {
                    assert_eq!(*shared, 7);
                    tokio::task::yield_now().await;
                }
                Ok::<_, std::convert::Infallible>(())
            }
        }),
    );
    let mut call = |path: &'static str| {
        let request = Request::get(path).body(()).expect("a request");
        Box::pin(service.call(request))
    };
    let (mut a, mut b) = (call("/a"), call("/b"));
    let mut cx = Context::from_waker(noop_waker_ref());
    let (mut a_done, mut b_done) = (false, false);
    while !(a_done && b_done) {
        a_done = a_done || a.as_mut().poll(&mut cx).is_ready();
        b_done = b_done || b.as_mut().poll(&mut cx).is_ready();
        assert_eq!(*shared, 7);
    }
    let report = Singleton::report(&shared);
    let of = |route| {
        let uses = report.uses().iter().filter(|used| used.route() == route);
        uses.map(tower_user_scope::migration::SingletonUse::count)
            .sum::<u64>()
    };
    assert_eq!((of(Some("/a")), of(Some("/b"))), (3, 3));
    assert_eq!(of(None), 4, "between them, by the test itself");
}

#[test]
fn what_a_client_could_choose_is_bounded() {
    let shared = Singleton::new(7_u32);
    let inner = shared.clone();
    // A mistake: the path with its ids instead of the route.
    let mut service = RouteLayer::new(|head: &Parts| Some(head.uri.path().to_owned())).layer(
        service_fn(move |_: Request<()>| {
            let seven = *inner;
            async move { Ok::<_, std::convert::Infallible>(seven) }
        }),
    );
    for n in 0..1_000 {
        let path = format!("/{n}/{}", "x".repeat(1_000));
        let request = Request::get(path).body(()).expect("a request");
        let mut cx = Context::from_waker(noop_waker_ref());
        assert!(matches!(
            Box::pin(service.call(request)).as_mut().poll(&mut cx),
            Poll::Ready(Ok(7))
        ));
    }
    let report = Singleton::report(&shared);
    assert_eq!(report.total(), 1_000);
    assert_eq!(report.uses().len(), 257);
    let longest = report
        .uses()
        .iter()
        .filter_map(tower_user_scope::migration::SingletonUse::route)
        .map(str::len)
        .max();
    assert_eq!(longest, Some(256));
    let others = report.uses().last().expect("others");
    assert_eq!((others.place(), others.count()), (None, 744));
}

#[test]
fn an_arc_a_trait_object_and_threads_are_counted_too() {
    let words: Arc<dyn Fn() -> usize + Send + Sync> = Arc::new(|| 3);
    let shared = Singleton::<dyn Fn() -> usize + Send + Sync>::from(words);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..1_000 {
                    assert_eq!(shared(), 3);
                }
            });
        }
    });
    assert_eq!(Singleton::to_arc(&shared)(), 3);
    let report = Singleton::report(&shared);
    assert_eq!(report.total(), 4_001);
    assert_eq!(report.uses().len(), 2);
    assert!(!format!("{shared:?}").is_empty());
    assert_eq!(Singleton::report(&shared).total(), 4_001, "no use");
}
