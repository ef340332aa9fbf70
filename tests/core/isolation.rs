//! B11, B34: hundreds of users are interleaved on several threads, and some requests are refused
//! or cancelled. Each handler has its own user's factory, and every factory that is built is
//! dropped.

use std::{
    convert::Infallible,
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{Router, body::Body, routing::get};
use futures::{StreamExt, future::BoxFuture, stream, stream::FuturesUnordered};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet};
use tower::{Service, ServiceExt, service_fn};
use tower_layer::Layer;
use tower_user_scope::{
    CredentialSource, Identity, InvalidError, Outcome, Scoped, UserContext, UserId, UserScopeExt,
    UserScopeLayer,
    audit::AuditEvent,
    authorize::Authorize,
    factory::ProvideFactory,
    from_async_fn,
    middleware::{ResponseBody, StrategyList},
    strategy::{InvalidErrorKind, Strategy},
};

const USERS: usize = 200;

#[derive(Default)]
struct Counts {
    built: AtomicUsize,
    dropped: AtomicUsize,
    /// Reported by the layer, as the next two are.
    accepted: AtomicUsize,
    refused: AtomicUsize,
    closed: AtomicUsize,
    handled: AtomicUsize,
    mixed: AtomicUsize,
}

fn add(count: &AtomicUsize) {
    count.fetch_add(1, Ordering::SeqCst);
}

fn read(count: &AtomicUsize) -> usize {
    count.load(Ordering::SeqCst)
}

struct Agents {
    owner: String,
    counts: Arc<Counts>,
}

impl Agents {
    fn new(user: &UserContext, counts: &Arc<Counts>) -> Self {
        add(&counts.built);
        Self {
            owner: user.user_id().map_or_else(String::new, ToString::to_string),
            counts: counts.clone(),
        }
    }
}

impl Drop for Agents {
    fn drop(&mut self) {
        add(&self.counts.dropped);
    }
}

/// Waits at every stage, so that requests interleave everywhere.
fn layer(
    counts: &Arc<Counts>,
) -> UserScopeLayer<
    impl StrategyList<Pending: Send> + Send + Sync + 'static + use<>,
    impl ProvideFactory<Future: Send> + Send + Sync + 'static + use<>,
    impl Authorize<Future: Send> + Send + Sync + 'static + use<>,
> {
    let (builds, observes) = (counts.clone(), counts.clone());
    UserScopeLayer::builder()
        .strategy(key())
        .authorize_async(|_, _| async {
            tokio::task::yield_now().await;
            Ok(())
        })
        .factory_async(
            move |user| -> BoxFuture<'static, Result<Agents, Infallible>> {
                let counts = builds.clone();
                Box::pin(async move {
                    tokio::task::yield_now().await;
                    Ok(Agents::new(&user, &counts))
                })
            },
        )
        .observer(move |event: &AuditEvent<'_>| match event {
            AuditEvent::Accepted { .. } => add(&observes.accepted),
            AuditEvent::Refused { .. } => add(&observes.refused),
            AuditEvent::ScopeClosed { .. } => add(&observes.closed),
            AuditEvent::CrossUserAccess { .. } => add(&observes.mixed),
            _ => {}
        })
        .build()
        .expect("a valid configuration")
}

fn key() -> impl Strategy<Future: Send> + Send + Sync + 'static {
    from_async_fn(CredentialSource::header("x-user"), |head| {
        let user = head.headers.get("x-user").cloned();
        async move {
            tokio::task::yield_now().await;
            match user.as_ref().and_then(|user| user.to_str().ok()) {
                None => Outcome::Absent,
                Some("refused") => InvalidError::new(InvalidErrorKind::Rejected("planted")).into(),
                Some(user) => match UserId::try_from(user) {
                    Ok(id) => Identity::proved(id).into(),
                    Err(error) => Outcome::Invalid(error.into()),
                },
            }
        }
    })
}

/// Checks repeatedly that context, factory and scope belong to the sender.
async fn check(headers: &HeaderMap, agents: &Scoped<Agents>, context: &UserContext) -> String {
    let sender = headers["x-user"].to_str().expect("ASCII").to_owned();
    let counts = agents.counts.clone();
    add(&counts.handled);
    for _ in 0..4 {
        let current = UserContext::current();
        let all = [
            agents.owner == sender,
            context.user_id().is_some_and(|id| *id == sender.as_str()),
            Scoped::context(agents) == context,
            current.as_ref() == Some(context),
        ];
        if all.contains(&false) {
            add(&counts.mixed);
        }
        tokio::task::yield_now().await;
    }
    sender
}

/// A bare service in the layer that responds with the owner of its factory.
fn bare(
    counts: &Arc<Counts>,
) -> impl Service<Request<()>, Response = Response<ResponseBody<Body>>, Error = Infallible, Future: Send>
+ Clone
+ Send
+ use<> {
    layer(counts).layer(service_fn(async |request: Request<()>| {
        let agents = request.scoped::<Agents>().expect("inside the layer");
        let context = request.user_context().expect("inside the layer");
        check(request.headers(), agents, context).await;
        Ok::<_, Infallible>(Response::new(Body::from(agents.owner.clone())))
    }))
}

fn request<B: Default>(uri: &str, user: &str) -> Request<B> {
    let request = Request::get(uri).header("x-user", user);
    request.body(B::default()).expect("a request")
}

/// Checks what holds whenever no request is in flight, however each one ended.
fn assert_balanced(counts: &Counts) {
    assert_eq!(read(&counts.mixed), 0, "nobody held another's");
    let accepted = read(&counts.accepted);
    assert_eq!(read(&counts.built), accepted, "one for each accepted");
    assert_eq!(read(&counts.dropped), accepted, "and every one dropped");
    assert_eq!(read(&counts.closed), accepted, "and every scope closed");
}

async fn join(mut tasks: JoinSet<()>) {
    while let Some(task) = tasks.join_next().await {
        task.expect("no task panics");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn b11_thousands_of_interleaved_requests_of_hundreds_of_users_never_mix() {
    const ROUNDS: usize = 25;
    let counts = Arc::new(Counts::default());
    let service = bare(&counts);
    let mut tasks = JoinSet::new();
    for number in 0..USERS {
        let service = service.clone();
        tasks.spawn(async move {
            let user = format!("user-{number}");
            let mut requests: FuturesUnordered<_> = (0..ROUNDS)
                .flat_map(|_| [user.as_str(), "refused"])
                .map(|user| service.clone().oneshot(request("/", user)))
                .collect();
            while let Some(Ok(response)) = requests.next().await {
                if response.status() == StatusCode::OK {
                    let body = response.into_body().collect().await.expect("a body");
                    assert_eq!(body.to_bytes(), user.as_bytes(), "their own answer");
                } else {
                    assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "the bad ones");
                }
            }
        });
    }
    join(tasks).await;
    assert_eq!(read(&counts.handled), USERS * ROUNDS, "every good one");
    assert_eq!(read(&counts.accepted), USERS * ROUNDS, "and no other");
    assert_eq!(read(&counts.refused), USERS * ROUNDS, "every bad one");
    assert_balanced(&counts);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn b34_requests_that_are_cancelled_at_any_poll_leave_nothing_and_mix_nothing() {
    let counts = Arc::new(Counts::default());
    let service = bare(&counts);
    let mut tasks = JoinSet::new();
    for number in 0..USERS {
        let service = service.clone();
        tasks.spawn(async move {
            let user = format!("user-{number}");
            for polls in 0..12 {
                let mut future = Box::pin(service.clone().oneshot(request("/", &user)));
                for _ in 0..polls {
                    if futures::poll!(future.as_mut()).is_ready() {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
            }
        });
    }
    join(tasks).await;
    let (accepted, handled) = (read(&counts.accepted), read(&counts.handled));
    assert!(handled > USERS, "many got as far as the handler: {handled}");
    assert!(accepted < USERS * 12, "and many did not: {accepted}");
    assert_balanced(&counts);
}

/// Sends requests that succeed, that are refused, and that the client cancels at every stage: before
/// there is a response, while the handler waits for ever, and in the middle of an endless body.
#[test]
fn b11_the_same_holds_over_a_real_server_whose_clients_go_away() {
    const ROUNDS: usize = 10;
    let counts = Arc::new(Counts::default());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(serve_clients_that_go_away(&counts, ROUNDS));
    // axum returns shortly before a connection's task ends.
    drop(runtime);
    assert_eq!(read(&counts.refused), USERS * ROUNDS, "the bad ones");
    let sure = USERS * (ROUNDS + 2);
    assert!(read(&counts.handled) >= sure, "the good ones, and more");
    assert_balanced(&counts);
}

async fn serve_clients_that_go_away(counts: &Arc<Counts>, rounds: usize) {
    async fn whole(headers: HeaderMap, agents: Scoped<Agents>, context: UserContext) -> String {
        check(&headers, &agents, &context).await
    }
    async fn endless(headers: HeaderMap, agents: Scoped<Agents>, context: UserContext) -> Body {
        check(&headers, &agents, &context).await;
        let owners = move |()| {
            let owner = agents.owner.clone();
            async move {
                tokio::task::yield_now().await;
                Some((Ok::<_, Infallible>(owner), ()))
            }
        };
        Body::from_stream(stream::unfold((), owners))
    }
    let everybody = u32::try_from(USERS).expect("not that many");
    let stuck = Arc::new(Semaphore::new(0));
    let entered = stuck.clone();
    let never = async move |headers: HeaderMap, agents: Scoped<Agents>, context: UserContext| {
        check(&headers, &agents, &context).await;
        entered.add_permits(1);
        pending::<String>().await
    };
    let app = Router::new()
        .route("/whole", get(whole))
        .route("/endless", get(endless))
        .route("/never", get(never))
        .layer(layer(counts));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let server = format!("http://{}", listener.local_addr().expect("an address"));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = axum::serve(listener, app).with_graceful_shutdown(async {
        let _ = stopped.await;
    });
    let serving = tokio::spawn(serving.into_future());

    let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
    let mut tasks = JoinSet::new();
    for number in 0..USERS {
        let (client, server, stuck) = (client.clone(), server.clone(), stuck.clone());
        tasks.spawn(async move {
            let user = format!("user-{number}");
            let send = |path, user| client.request(request(&format!("{server}{path}"), user));
            for round in 0..rounds {
                let answer = send("/whole", &user).await.expect("an answer");
                let body = answer.into_body().collect().await.expect("a body");
                assert_eq!(body.to_bytes(), user.as_bytes(), "their own answer");

                let answer = send("/whole", "refused").await.expect("an answer");
                assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "refused");

                let mut early = send("/whole", &user);
                for _ in 0..round * 2 {
                    if futures::poll!(&mut early).is_ready() {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
                drop(early);
            }
            let answer = send("/endless", &user).await.expect("an answer");
            let mut body = answer.into_body();
            let part = body.frame().await.expect("not its end").expect("no error");
            let part = part.into_data().expect("data");
            assert!(part.starts_with(user.as_bytes()), "their own stream");
            drop(body);

            // The handlers of all users run at the same time before the first client disconnects.
            tokio::select! {
                answer = send("/never", &user) => panic!("an answer: {answer:?}"),
                all = stuck.acquire_many(everybody) => drop(all.expect("never closed")),
            }
        });
    }
    join(tasks).await;
    drop(client);
    stop.send(()).expect("the server listens");
    // It waits for every connection, and so for every handler whose client has disconnected.
    serving.await.expect("no panic").expect("no error");
}
