//! B50, B51: work that leaves the task of its request is seen by the check. By default what has no
//! scope is reported, and the strict setting refuses it.

use std::{collections::BTreeSet, convert::Infallible, sync::OnceLock};

use axum::{Router, body::Body, routing::get};
use http::Request;
use http_body_util::BodyExt;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
    task::spawn_blocking,
};
use tower_user_scope::{
    Scoped, TrustedHeader, UserContext, UserScopeLayer,
    audit::AuditEvent,
    scope::{InstrumentScope, IsolationError},
    testing::Recorder,
};

/// What a request's factory answers: whose it is.
#[derive(Debug)]
struct Desk(String);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Setting {
    Default,
    Strict,
}

/// Serves an application until the test ends.
struct Server {
    address: String,
    events: Recorder,
}

impl Server {
    async fn start(setting: Setting, routes: Router) -> Self {
        let events = Recorder::new();
        let builder = UserScopeLayer::builder()
            .strategy(TrustedHeader::new("x-user").only_if(|_| true))
            .factory(|user| Desk(user.user_id().map_or_else(String::new, ToString::to_string)))
            .observer(events.clone());
        let builder = match setting {
            Setting::Default => builder,
            Setting::Strict => builder.require_scope().require_open_scope(),
        };
        let app = routes.layer(builder.build().expect("a valid configuration"));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async { axum::serve(listener, app).await });
        Self {
            address: format!("http://{address}"),
            events,
        }
    }

    async fn ask(&self, path: &str, user: &str) -> String {
        let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
        let request = Request::get(format!("{}{path}", self.address)).header("x-user", user);
        let request = request.body(Body::empty()).expect("a request");
        let response = client.request(request).await.expect("an answer");
        assert!(response.status().is_success(), "{}", response.status());
        let body = response.into_body().collect().await.expect("a body");
        String::from_utf8(body.to_bytes().into()).expect("text")
    }

    /// Returns what was reported about factories since the last call.
    fn reports(&self) -> Vec<&'static str> {
        let events = self.events.take().into_iter();
        events
            .filter_map(|event| match event {
                AuditEvent::FactoryUsedOutsideScope { place, .. } => {
                    assert_eq!(place.file(), file!(), "the place is the application's");
                    Some("outside every scope")
                }
                AuditEvent::FactoryUsedAfterClose { refused: false, .. } => Some("after close"),
                AuditEvent::FactoryUsedAfterClose { .. } => Some("refused after close"),
                AuditEvent::CrossUserAccess { .. } => Some("refused"),
                AuditEvent::FactoryRetained { .. } => Some("retained"),
                _ => None,
            })
            .collect()
    }
}

/// Returns whose factory it is, or why it was refused.
#[track_caller]
fn owner(desk: &Scoped<Desk>) -> String {
    match Scoped::try_get(desk) {
        Ok(desk) => desk.0.clone(),
        Err(IsolationError::OtherUser { .. }) => "other user".to_owned(),
        Err(IsolationError::NoScope { .. }) => "no scope".to_owned(),
        Err(IsolationError::ScopeClosed { .. }) => "scope closed".to_owned(),
        Err(other) => other.to_string(),
    }
}

/// Runs a closure on rayon's pool.
async fn on_pool<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> R {
    let (sender, receiver) = oneshot::channel();
    rayon::spawn(move || {
        let _ = sender.send(work());
    });
    receiver.await.expect("the pool works")
}

fn threads() -> Router {
    async fn blocking(desk: Scoped<Desk>) -> String {
        let done = spawn_blocking(move || owner(&desk));
        done.await.expect("no panic")
    }
    async fn blocking_in_scope(context: UserContext, desk: Scoped<Desk>) -> String {
        let done = spawn_blocking(move || context.enter(|| owner(&desk)));
        done.await.expect("no panic")
    }
    async fn pool(desk: Scoped<Desk>) -> String {
        on_pool(move || owner(&desk)).await
    }
    async fn pool_in_scope(context: UserContext, desk: Scoped<Desk>) -> String {
        on_pool(move || context.enter(|| owner(&desk))).await
    }
    async fn task(desk: Scoped<Desk>) -> String {
        let done = tokio::spawn(async move { owner(&desk) });
        done.await.expect("no panic")
    }
    async fn task_in_scope(desk: Scoped<Desk>) -> String {
        let done = tokio::spawn(async move { owner(&desk) }.in_current_scope());
        done.await.expect("no panic")
    }
    Router::new()
        .route("/blocking", get(blocking))
        .route("/blocking/in-scope", get(blocking_in_scope))
        .route("/pool", get(pool))
        .route("/pool/in-scope", get(pool_in_scope))
        .route("/task", get(task))
        .route("/task/in-scope", get(task_in_scope))
}

#[tokio::test]
async fn b50_work_on_another_thread_is_reported_unless_it_is_given_its_scope() {
    for setting in [Setting::Default, Setting::Strict] {
        let server = Server::start(setting, threads()).await;
        for path in ["/blocking", "/pool", "/task"] {
            let case = format!("{path}, {setting:?}");
            let answers = [
                server.ask(path, "alice").await,
                server.ask(path, "bob").await,
            ];
            let (expected, reported) = match setting {
                Setting::Default => (["alice", "bob"], &["outside every scope"][..]),
                Setting::Strict => (["no scope"; 2], &["refused"; 2][..]),
            };
            assert_eq!(answers, expected, "{case}");
            assert_eq!(server.reports(), reported, "{case}");

            let path = format!("{path}/in-scope");
            let answers = [
                server.ask(&path, "alice").await,
                server.ask(&path, "bob").await,
            ];
            assert_eq!(answers, ["alice", "bob"], "{case}");
            assert!(server.reports().is_empty(), "{case}");
        }
    }
}

/// How a loader works through a batch of two users.
#[derive(Clone, Copy, Debug)]
enum Loads {
    WithoutScope,
    InScopeOfTheFirst,
    WithHandleOfTheFirst,
    InScopeOfEach,
}

struct Ask {
    desk: Scoped<Desk>,
    reply: oneshot::Sender<String>,
}

/// A loader of two keys at a time. It is there before the first request and after the last one.
async fn load(mut asks: mpsc::UnboundedReceiver<Ask>, how: Loads) {
    while let (Some(first), Some(second)) = (asks.recv().await, asks.recv().await) {
        let in_scope_of =
            |scope: &Ask, desk: &Ask| Scoped::context(&scope.desk).enter(|| owner(&desk.desk));
        let loaded = match how {
            Loads::WithoutScope => [&first, &second].map(|ask| owner(&ask.desk)),
            Loads::InScopeOfTheFirst => [&first, &second].map(|ask| in_scope_of(&first, ask)),
            Loads::WithHandleOfTheFirst => [&first, &second].map(|ask| in_scope_of(ask, &first)),
            Loads::InScopeOfEach => [&first, &second].map(|ask| in_scope_of(ask, ask)),
        };
        let asks = [first, second];
        for (ask, loaded) in asks.into_iter().zip(loaded) {
            // The handle is gone before its request is answered.
            drop(ask.desk);
            let _ = ask.reply.send(loaded);
        }
    }
}

#[tokio::test]
async fn b50_a_loader_that_serves_two_users_at_once_is_seen() {
    for setting in [Setting::Default, Setting::Strict] {
        for how in [
            Loads::WithoutScope,
            Loads::InScopeOfTheFirst,
            Loads::WithHandleOfTheFirst,
            Loads::InScopeOfEach,
        ] {
            let (queue, asks) = mpsc::unbounded_channel();
            tokio::spawn(load(asks, how));
            let handler = async move |desk: Scoped<Desk>| {
                let (reply, loaded) = oneshot::channel();
                assert!(queue.send(Ask { desk, reply }).is_ok(), "the loader lives");
                loaded.await.expect("an answer")
            };
            let server = Server::start(setting, Router::new().route("/", get(handler))).await;
            let (alice, bob) = tokio::join!(server.ask("/", "alice"), server.ask("/", "bob"));
            let case = format!("{how:?}, {setting:?}");
            // Which of the two is the first is not known.
            let own = BTreeSet::from([&*alice == "alice", &*bob == "bob"]);
            match (how, setting) {
                (Loads::WithoutScope, Setting::Default) => {
                    assert_eq!(own, BTreeSet::from([true]), "{case}");
                    assert_eq!(server.reports(), ["outside every scope"], "{case}");
                }
                (Loads::WithoutScope, Setting::Strict) => {
                    assert_eq!([&*alice, &*bob], ["no scope"; 2], "{case}");
                    assert_eq!(server.reports(), ["refused"; 2], "{case}");
                }
                (Loads::InScopeOfTheFirst | Loads::WithHandleOfTheFirst, _) => {
                    assert_eq!(own, BTreeSet::from([false, true]), "{case}");
                    assert!([alice, bob].contains(&"other user".to_owned()), "{case}");
                    assert_eq!(server.reports(), ["refused"], "{case}");
                }
                (Loads::InScopeOfEach, _) => {
                    assert_eq!(own, BTreeSet::from([true]), "{case}");
                    assert!(server.reports().is_empty(), "{case}");
                }
            }
        }
    }
}

#[tokio::test]
async fn b51_a_handle_in_a_static_is_seen() {
    static BY_DEFAULT: OnceLock<Scoped<Desk>> = OnceLock::new();
    static STRICT: OnceLock<Scoped<Desk>> = OnceLock::new();

    for (setting, cache) in [(Setting::Default, &BY_DEFAULT), (Setting::Strict, &STRICT)] {
        let handler = async |desk: Scoped<Desk>| owner(cache.get_or_init(|| desk));
        let server = Server::start(setting, Router::new().route("/", get(handler))).await;
        assert_eq!(server.ask("/", "alice").await, "alice", "{setting:?}");
        // The client may have its answer before the scope has closed.
        let again = server.ask("/", "bob").await;
        assert_eq!(again, "other user", "{setting:?}");
        assert_eq!(server.reports(), ["retained", "refused"], "{setting:?}");

        let answers = [
            server.ask("/", "alice").await,
            server.ask("/", "alice").await,
        ];
        let (expected, reported) = match setting {
            Setting::Default => (["alice"; 2], &["after close"][..]),
            Setting::Strict => (["scope closed"; 2], &["refused after close"; 2][..]),
        };
        assert_eq!(answers, expected, "{setting:?}");
        assert_eq!(server.reports(), reported, "{setting:?}");
    }
}

/// A job that its handler started and did not wait for.
#[tokio::test]
async fn b51_a_job_that_outlives_its_request_holds_a_kept_handle() {
    for setting in [Setting::Default, Setting::Strict] {
        for keeps in [false, true] {
            let (sender, mut results) = mpsc::unbounded_channel();
            let (go, gone) = tokio::sync::watch::channel(false);
            let handler = async move |desk: Scoped<Desk>| {
                let desk = if keeps { Scoped::keep(&desk) } else { desk };
                let (sender, mut gone) = (sender.clone(), gone.clone());
                let job = async move {
                    gone.wait_for(|gone| *gone).await.expect("the test goes on");
                    let _ = sender.send(owner(&desk));
                };
                tokio::spawn(job.in_current_scope());
                Ok::<_, Infallible>("started")
            };
            let server = Server::start(setting, Router::new().route("/", get(handler))).await;
            assert_eq!(server.ask("/", "alice").await, "started");
            // The scope has closed when its event is there.
            while !closed(&server.events) {
                tokio::task::yield_now().await;
            }
            drop(server.events.take());
            go.send(true).expect("the job waits");
            let case = format!("{setting:?}, keeps: {keeps}");
            let result = results.recv().await.expect("the job runs");
            let (expected, reported) = match (keeps, setting) {
                (true, _) => ("alice", &[][..]),
                (false, Setting::Default) => ("alice", &["after close"][..]),
                (false, Setting::Strict) => ("scope closed", &["refused after close"][..]),
            };
            assert_eq!(result, expected, "{case}");
            assert_eq!(server.reports(), reported, "{case}");
        }
    }
}

fn closed(events: &Recorder) -> bool {
    let is_end = |event: &AuditEvent<'_>| matches!(event, AuditEvent::ScopeClosed { .. });
    events.events().iter().any(is_end)
}
