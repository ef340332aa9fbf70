//! B11: under hundreds of users interleaved on several threads, each handler holds its own
//! user's factory, and every factory that is built is dropped.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{Router, body::Body, routing::get};
use futures::{StreamExt, stream::FuturesUnordered};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tower::{ServiceExt, service_fn};
use tower_layer::Layer;
use tower_user_scope::{
    Identity, Invalid, InvalidReason, Outcome, Reads, Scoped, Strategy, UserContext, UserId,
    UserScopeExt, UserScopeLayer, from_async_fn,
};

const USERS: usize = 200;
const ROUNDS: usize = 25;

#[derive(Default)]
struct Counts {
    built: AtomicUsize,
    dropped: AtomicUsize,
    accepted: AtomicUsize,
    refused: AtomicUsize,
    mixed: AtomicUsize,
}

impl Counts {
    fn add(count: &AtomicUsize) {
        count.fetch_add(1, Ordering::SeqCst);
    }

    fn read(count: &AtomicUsize) -> usize {
        count.load(Ordering::SeqCst)
    }
}

struct Agents {
    owner: String,
    counts: Arc<Counts>,
}

impl Agents {
    fn new(user: &UserContext, counts: &Arc<Counts>) -> Self {
        Counts::add(&counts.built);
        Self {
            owner: user.user_id().map_or_else(String::new, ToString::to_string),
            counts: counts.clone(),
        }
    }
}

impl Drop for Agents {
    fn drop(&mut self) {
        Counts::add(&self.counts.dropped);
    }
}

/// Waits at every stage, so that requests interleave wherever they can.
fn key() -> impl Strategy<Future: Send> + Send + Sync + 'static {
    from_async_fn(Reads::header("x-user"), |head| {
        let user = head.headers.get("x-user").cloned();
        async move {
            tokio::task::yield_now().await;
            match user.as_ref().and_then(|user| user.to_str().ok()) {
                None => Outcome::Absent,
                Some("refused") => Invalid::new(InvalidReason::Rejected("planted")).into(),
                Some(user) => match UserId::try_from(user) {
                    Ok(id) => Identity::proved(id).into(),
                    Err(error) => Outcome::Invalid(error.into()),
                },
            }
        }
    })
}

/// Looks again and again at whose everything is.
async fn check(expected: &str, agents: &Scoped<Agents>, context: &UserContext) {
    let counts = agents.counts.clone();
    Counts::add(&counts.accepted);
    for _ in 0..4 {
        let current = UserContext::current();
        let all = [
            agents.owner == expected,
            context.user_id().is_some_and(|id| *id == expected),
            Scoped::context(agents) == context,
            current.as_ref() == Some(context),
        ];
        if all.contains(&false) {
            Counts::add(&counts.mixed);
        }
        tokio::task::yield_now().await;
    }
}

fn builder(counts: &Arc<Counts>) -> impl Fn(UserContext) -> MakeFuture + Send + Sync + use<> {
    let counts = counts.clone();
    move |user| {
        let counts = counts.clone();
        Box::pin(async move {
            tokio::task::yield_now().await;
            Ok(Agents::new(&user, &counts))
        })
    }
}

type MakeFuture =
    std::pin::Pin<Box<dyn Future<Output = Result<Agents, Infallible>> + Send + 'static>>;

fn request(user: &str) -> Request<Body> {
    Request::get("/")
        .header("x-user", user)
        .body(Body::empty())
        .expect("a request")
}

fn assert_balanced(counts: &Counts, cancelled: bool) {
    assert_eq!(Counts::read(&counts.mixed), 0, "nobody held another's");
    let (built, dropped) = (Counts::read(&counts.built), Counts::read(&counts.dropped));
    assert_eq!(built, dropped, "every factory is dropped");
    let accepted = Counts::read(&counts.accepted);
    if cancelled {
        // One that is cancelled between its factory and its handler was never seen there.
        assert!(
            accepted <= built,
            "{accepted} were accepted and {built} built"
        );
    } else {
        assert_eq!(accepted, built, "one for each request that was accepted");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn b11_thousands_of_interleaved_requests_of_hundreds_of_users_never_mix() {
    let counts = Arc::new(Counts::default());
    let layer = UserScopeLayer::builder()
        .strategy(key())
        .factory_async(builder(&counts))
        .build()
        .expect("a valid configuration");
    let service = layer.layer(service_fn(async |request: Request<Body>| {
        let user = request.headers()["x-user"]
            .to_str()
            .expect("ASCII")
            .to_owned();
        let agents = request
            .scoped::<Agents>()
            .expect("inside the layer")
            .clone();
        let context = request.user_context().expect("inside the layer").clone();
        check(&user, &agents, &context).await;
        Ok::<_, Infallible>(Response::new(Body::from(agents.owner.clone())))
    }));

    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..USERS {
        let (service, counts) = (service.clone(), counts.clone());
        tasks.spawn(async move {
            let user = format!("user-{number}");
            let mut requests: FuturesUnordered<_> = (0..ROUNDS)
                .flat_map(|_| [user.as_str(), "refused"])
                .map(|user| service.clone().oneshot(request(user)))
                .collect();
            while let Some(response) = requests.next().await {
                let response = response.expect("infallible");
                if response.status() == StatusCode::UNAUTHORIZED {
                    Counts::add(&counts.refused);
                    continue;
                }
                let body = response.into_body().collect().await.expect("a body");
                assert_eq!(
                    body.to_bytes(),
                    user.as_bytes(),
                    "the answer is its own user's"
                );
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.expect("no task panics");
    }
    assert_eq!(
        Counts::read(&counts.accepted),
        USERS * ROUNDS,
        "every good one"
    );
    assert_eq!(
        Counts::read(&counts.refused),
        USERS * ROUNDS,
        "and every bad one"
    );
    assert_balanced(&counts, false);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn b34_requests_that_are_cancelled_at_any_poll_leave_nothing_and_mix_nothing() {
    let counts = Arc::new(Counts::default());
    let layer = UserScopeLayer::builder()
        .strategy(key())
        .factory_async(builder(&counts))
        .build()
        .expect("a valid configuration");
    let service = layer.layer(service_fn(async |request: Request<Body>| {
        let user = request.headers()["x-user"]
            .to_str()
            .expect("ASCII")
            .to_owned();
        let agents = request
            .scoped::<Agents>()
            .expect("inside the layer")
            .clone();
        let context = request.user_context().expect("inside the layer").clone();
        check(&user, &agents, &context).await;
        Ok::<_, Infallible>(Response::new(Body::empty()))
    }));
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..USERS {
        let service = service.clone();
        tasks.spawn(async move {
            let user = format!("user-{number}");
            for polls in 0..12 {
                let mut future = Box::pin(service.clone().oneshot(request(&user)));
                for _ in 0..polls {
                    let polled = futures::poll!(future.as_mut());
                    if polled.is_ready() {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.expect("no task panics");
    }
    assert!(Counts::read(&counts.accepted) > 0, "some got through");
    assert_balanced(&counts, true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn b11_the_same_holds_over_a_real_server() {
    async fn handler(agents: Scoped<Agents>, context: UserContext, user: UserId) -> String {
        check(user.as_str(), &agents, &context).await;
        agents.owner.clone()
    }
    let counts = Arc::new(Counts::default());
    let layer = UserScopeLayer::builder()
        .strategy(key())
        .factory_async(builder(&counts))
        .build()
        .expect("a valid configuration");
    let app = Router::new().route("/", get(handler)).layer(layer);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = tokio::spawn(async move {
        let service = app.into_make_service_with_connect_info::<SocketAddr>();
        axum::serve(listener, service)
            .with_graceful_shutdown(async {
                let _ = stopped.await;
            })
            .await
    });

    let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..50 {
        let client = client.clone();
        tasks.spawn(async move {
            let user = format!("user-{number}");
            for _ in 0..20 {
                let mut request = request(&user);
                *request.uri_mut() = format!("http://{address}/").parse().expect("a URI");
                let response = client.request(request).await.expect("an answer");
                assert_eq!(response.status(), StatusCode::OK);
                let body = response.into_body().collect().await.expect("a body");
                assert_eq!(
                    body.to_bytes(),
                    user.as_bytes(),
                    "the answer is its own user's"
                );
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.expect("no task panics");
    }
    drop(client);
    stop.send(()).expect("the server listens");
    server.await.expect("no panic").expect("no error");
    assert_eq!(Counts::read(&counts.accepted), 1_000, "every request");
    assert_balanced(&counts, false);
}
