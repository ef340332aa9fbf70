//! B15, B62: no request leaks memory, however it ends, and many subjects cost what was stated.

use std::{
    alloc::System,
    convert::Infallible,
    error::Error,
    future::{Future, pending},
    io,
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use axum::{Router, routing::get};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, request::Parts};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tokio::net::{TcpListener, TcpStream};
use tower::{Service, ServiceExt, service_fn};
use tower_layer::Layer as _;
use tower_user_scope::{
    CredentialSource, ExistingContext, FromExtension, Identity, Outcome, PeerAddr, Scoped,
    TrustedHeader, UnavailableError, UserContext, UserId, UserScopeExt, UserScopeLayer,
    audit::AuditEvent,
    authorize::{Authorize, AuthorizeError, ForbiddenError},
    factory::{FactoryUnavailableError, ProvideFactory},
    from_async_fn, from_fn,
    limit::{Limit, Rate},
    middleware::{LayerBuilder, ResponseBody, StrategyList},
    scope::{Ending, InstrumentScope},
    strategy::Strategy,
};

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The bytes on the heap of the process.
fn live_bytes() -> usize {
    let stats = HEAP.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

/// The bytes that the test harness itself may need. A leak of a byte for each request is more.
const SMALL: usize = 8 * 1024;

/// Only one test at a time may use the heap.
static ALONE: Mutex<()> = Mutex::new(());

/// Runs the rounds, the first one as a warm-up, and compares the heap before and after.
async fn leaves_the_heap_as_it_was<F: Future<Output = ()>>(
    warm_up: usize,
    rounds: usize,
    mut round: impl FnMut(usize) -> F,
) {
    for number in 0..warm_up {
        round(number).await;
    }
    let before = live_bytes();
    for number in warm_up..warm_up + rounds {
        round(number).await;
    }
    let after = live_bytes();
    assert!(
        after < before + SMALL,
        "{rounds} rounds left {} bytes on the heap, beside the {before} that were there",
        after.saturating_sub(before)
    );
}

fn alone(test: impl Future<Output = ()>) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(test);
}

/// The value of an outer middleware.
#[derive(Clone)]
struct Session(String);

/// Some state for each request.
struct Agents {
    owner: UserContext,
    notes: Mutex<Vec<String>>,
    alive: Arc<AtomicUsize>,
}

impl Agents {
    fn note(&self, text: &str) {
        let mut notes = self.notes.lock().expect("no panic in here");
        notes.push(self.owner.scoped_key(text));
    }
}

impl Drop for Agents {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The endings of the scopes, and the values that are not dropped.
#[derive(Clone, Default)]
struct Counts {
    alive: Arc<AtomicUsize>,
    opened: Arc<AtomicUsize>,
    closed: Arc<[AtomicUsize; 4]>,
}

const ENDINGS: [Ending; 4] = [
    Ending::Completed,
    Ending::Cancelled,
    Ending::Failed,
    Ending::Panicked,
];

impl Counts {
    fn closed(&self) -> [usize; 4] {
        [0, 1, 2, 3].map(|place: usize| self.closed[place].load(Ordering::SeqCst))
    }

    async fn assert_all_closed(&self) {
        // Spawned tasks run on this one thread.
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        let (opened, closed) = (self.opened.load(Ordering::SeqCst), self.closed());
        assert_eq!(closed.iter().sum::<usize>(), opened, "each scope once");
        assert_eq!(self.alive.load(Ordering::SeqCst), 0, "no factory lives");
    }
}

fn key(head: &Parts) -> Outcome {
    let key = head.headers.get("x-api-key");
    match key.and_then(|key| key.to_str().ok()) {
        None => Outcome::Absent,
        Some("lost") => UnavailableError::new(io::Error::other("the store is down")).into(),
        Some(user) => match user.parse::<UserId>() {
            Ok(id) => Identity::proved(id)
                .with_attribute(Session(user.into()))
                .into(),
            Err(error) => Outcome::Invalid(error.into()),
        },
    }
}

fn agents(owner: UserContext, counts: &Counts) -> Result<Agents, Box<dyn Error + Send + Sync>> {
    match owner.user_id().map(UserId::as_str) {
        Some("broken") => return Err("planted".into()),
        Some("down") => return Err(FactoryUnavailableError::new("planted").into()),
        _ => counts.alive.fetch_add(1, Ordering::SeqCst),
    };
    Ok(Agents {
        owner,
        notes: Mutex::default(),
        alive: counts.alive.clone(),
    })
}

fn trusted_header() -> impl Strategy<Future: Send> + Send + Sync + 'static {
    TrustedHeader::new("x-user-id")
        .tenant_header("x-tenant-id")
        .from_proxies(["127.0.0.1"])
        .expect("an address")
}

fn not_forbidden(_: &UserContext, head: &Parts) -> Result<(), AuthorizeError> {
    match head.uri.path() {
        "/forbidden" => Err(ForbiddenError::new("planted").into()),
        _ => Ok(()),
    }
}

fn watched<L, M, A>(builder: LayerBuilder<L, M, A>, counts: &Counts) -> LayerBuilder<L, M, A> {
    let (observes, closes) = (counts.clone(), counts.clone());
    builder
        .observer(move |event: &AuditEvent<'_>| {
            if matches!(event, AuditEvent::Accepted { .. }) {
                observes.opened.fetch_add(1, Ordering::SeqCst);
            }
        })
        .on_close(move |scope| {
            let place = ENDINGS.iter().position(|it| *it == scope.ending());
            closes.closed[place.expect("one of them")].fetch_add(1, Ordering::SeqCst);
            if let Some(agents) = scope.scoped::<Agents>() {
                agents.note("closing");
            }
        })
}

type Layer<L, M, A> = UserScopeLayer<L, M, A>;

/// A layer that never waits.
fn prompt(
    counts: &Counts,
) -> Layer<impl StrategyList + use<>, impl ProvideFactory + use<>, impl Authorize + use<>> {
    let builds = counts.clone();
    let builder = UserScopeLayer::builder()
        .strategy(trusted_header())
        .strategy(FromExtension::<Session>::new(|session| session.0.parse()))
        .strategy(from_fn(CredentialSource::header("x-api-key"), key))
        .unanimous()
        .authorize(not_forbidden)
        .try_factory(move |user| agents(user.clone(), &builds));
    watched(builder, counts)
        .build()
        .expect("a valid configuration")
}

/// A layer that waits at every stage, with a value in every place that could keep one.
fn layer(
    counts: &Counts,
) -> Layer<
    impl StrategyList<Pending: Send> + Send + Sync + 'static + use<>,
    impl ProvideFactory<Future: Send> + Send + Sync + 'static + use<>,
    impl Authorize<Future: Send> + Send + Sync + 'static + use<>,
> {
    let builds = counts.clone();
    let key = from_async_fn(CredentialSource::header("x-api-key"), |head| {
        let outcome = key(head);
        async move {
            tokio::task::yield_now().await;
            outcome
        }
    });
    let builder = UserScopeLayer::builder()
        .strategy(trusted_header())
        .strategy(FromExtension::<Session>::new(|session| session.0.parse()))
        .strategy(ExistingContext::new())
        .strategy(key)
        .unanimous()
        .authorize_async(|context, head| {
            let answer = not_forbidden(context, head);
            async move {
                tokio::task::yield_now().await;
                answer
            }
        })
        .factory_async(move |user| {
            let counts = builds.clone();
            async move {
                tokio::task::yield_now().await;
                agents(user, &counts)
            }
        })
        .insert_as_arc()
        .on_close_async(|scope| async move {
            tokio::task::yield_now().await;
            drop(scope);
        });
    watched(builder, counts)
        .build()
        .expect("a valid configuration")
}

/// A body of three frames that ends in a given way.
struct Frames {
    left: usize,
    how: How,
    agents: Scoped<Agents>,
}

impl Body for Frames {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        self.agents.note("frame");
        if self.left > 0 {
            self.left -= 1;
            let frame = Bytes::from(self.agents.owner.scoped_key("frame"));
            return Poll::Ready(Some(Ok(Frame::data(frame))));
        }
        match self.how {
            How::BodyFails => Poll::Ready(Some(Err("planted"))),
            // Without the panic hook, whose output would use the heap.
            How::BodyPanics => resume_unwind(Box::new("planted")),
            _ => Poll::Ready(None),
        }
    }
}

/// How a request ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    Answers,
    AnswersNoContent,
    Upgrades,
    Fails,
    Panics,
    NeverAnswers,
    BodyFails,
    BodyPanics,
    BodyIsDropped,
    JobGoesOn,
    IsGivenUpAfter(usize),
    IsRefused(&'static str),
}

const WAYS: [How; 20] = [
    How::Answers,
    How::AnswersNoContent,
    How::Upgrades,
    How::Fails,
    How::Panics,
    How::NeverAnswers,
    How::BodyFails,
    How::BodyPanics,
    How::BodyIsDropped,
    How::JobGoesOn,
    How::IsGivenUpAfter(0),
    How::IsGivenUpAfter(1),
    How::IsGivenUpAfter(2),
    How::IsRefused("nobody"),
    How::IsRefused("unknown peer"),
    How::IsRefused("conflict"),
    How::IsRefused("lost"),
    How::IsRefused("broken"),
    How::IsRefused("down"),
    How::IsRefused("forbidden"),
];

/// A request of a new user, for one of the strategies.
fn request(number: usize, how: How) -> Request<()> {
    let user = format!("user-{number}");
    let by_key = number % 3 == 0;
    let mut request = Request::get("/")
        .header("x-request-id", format!("request-{number}"))
        .header("x-thread-id", format!("thread-{number}"));
    let (mut peer, mut session, mut key) = ("127.0.0.1:1", None, by_key.then(|| user.clone()));
    let mut header = (!by_key).then(|| user.clone());
    match how {
        How::IsRefused("nobody") => (key, header) = (None, None),
        How::IsRefused("unknown peer") => {
            (peer, key, header) = ("203.0.113.9:1", None, Some(user));
        }
        How::IsRefused("conflict") => session = Some(Session("somebody-else".to_owned())),
        How::IsRefused("forbidden") => request = request.uri("/forbidden"),
        How::IsRefused(name) => (key, header) = (Some(name.to_owned()), None),
        How::Upgrades => request = request.method(Method::CONNECT),
        _ => {}
    }
    if let Some(user) = header {
        let tenant = format!("tenant-{}", number % 7);
        request = request
            .header("x-user-id", user)
            .header("x-tenant-id", tenant);
    }
    if let Some(key) = key {
        request = request.header("x-api-key", key);
    }
    let peer: SocketAddr = peer.parse().expect("an address");
    request = request.extension(PeerAddr(peer)).extension(how);
    if let Some(session) = session {
        request = request.extension(session);
    }
    request.body(()).expect("a request")
}

async fn handle(request: Request<()>) -> Result<Response<Frames>, &'static str> {
    let how = *request.extensions().get::<How>().expect("every test says");
    let agents = request
        .scoped::<Agents>()
        .expect("inside the layer")
        .clone();
    agents.note("handler");
    tokio::task::yield_now().await;
    let mut response = Response::new(Frames {
        left: 3,
        how,
        agents: agents.clone(),
    });
    match how {
        How::AnswersNoContent => *response.status_mut() = StatusCode::NO_CONTENT,
        How::Fails => return Err("planted"),
        How::Panics => resume_unwind(Box::new("planted")),
        How::NeverAnswers => pending().await,
        How::JobGoesOn | How::Upgrades => {
            let kept = Scoped::keep(&agents);
            let job = async move {
                tokio::task::yield_now().await;
                kept.note("job");
            };
            drop(tokio::spawn(job.in_current_scope()));
        }
        _ => {}
    }
    Ok(response)
}

type Answer = Response<ResponseBody<Frames>>;

/// Sends one request and ends it in this way.
async fn make<S>(service: S, number: usize, how: How) -> Option<StatusCode>
where
    S: Service<Request<()>, Response = Answer, Error = &'static str>,
{
    let polls = match how {
        How::IsGivenUpAfter(polls) => polls,
        How::NeverAnswers => 20,
        _ => usize::MAX,
    };
    let mut future = Box::pin(service.oneshot(request(number, how)));
    let mut response = None;
    for _ in 0..polls {
        let polled = catch_unwind(AssertUnwindSafe(|| {
            future
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
        }));
        match polled {
            Ok(Poll::Pending) => tokio::task::yield_now().await,
            Ok(Poll::Ready(Ok(answer))) => {
                response = Some(answer);
                break;
            }
            Ok(Poll::Ready(Err(_))) | Err(_) => break,
        }
    }
    drop(future);
    let (head, body) = response?.into_parts();
    let frames = match how {
        How::BodyIsDropped => 1,
        _ => usize::MAX,
    };
    let mut body = pin!(body);
    for _ in 0..frames {
        let cx = &mut Context::from_waker(Waker::noop());
        let frame = catch_unwind(AssertUnwindSafe(|| body.as_mut().poll_frame(cx)));
        if !matches!(frame, Ok(Poll::Ready(Some(Ok(_))))) {
            break;
        }
    }
    // Spawned tasks run here.
    tokio::task::yield_now().await;
    Some(head.status)
}

#[test]
fn a_hundred_thousand_users_leave_the_heap_as_it_was() {
    alone(async {
        let counts = Counts::default();
        let service = layer(&counts).layer(service_fn(handle));
        leaves_the_heap_as_it_was(2_000, 100_000, |number| {
            let service = service.clone();
            async move {
                let status = make(service, number, How::Answers).await;
                assert_eq!(status, Some(StatusCode::OK), "user {number}");
            }
        })
        .await;
        counts.assert_all_closed().await;
        assert_eq!(counts.closed(), [102_000, 0, 0, 0], "all of them well");
    });
}

/// Ends requests in each way thousands of times.
async fn each_way_out<S>(service: S, counts: Counts)
where
    S: Service<Request<()>, Response = Answer, Error = &'static str> + Clone,
{
    const EACH: usize = 2_500;
    for how in WAYS {
        leaves_the_heap_as_it_was(500, EACH, |number| {
            let service = service.clone();
            async move {
                let status = make(service, number, how).await;
                if let How::IsRefused(why) = how {
                    let refused = status.is_some_and(|it| it != StatusCode::OK);
                    assert!(refused, "{why} is refused, not {status:?}");
                }
            }
        })
        .await;
    }
    counts.assert_all_closed().await;
    let closed = counts.closed();
    assert!(
        closed.iter().all(|count| *count >= EACH),
        "with every ending there is: {closed:?}"
    );
}

#[test]
fn b15_tens_of_thousands_of_requests_that_wait_leave_the_heap_as_it_was_on_each_way_out() {
    let counts = Counts::default();
    let service = layer(&counts).layer(service_fn(handle));
    alone(each_way_out(service, counts));
}

#[test]
fn b15_the_same_holds_for_requests_that_never_wait() {
    let counts = Counts::default();
    let service = prompt(&counts).layer(service_fn(handle));
    alone(each_way_out(service, counts));
}

#[test]
fn b15_ten_thousand_users_of_a_real_server_leave_the_heap_as_it_was() {
    async fn hello(agents: Scoped<Agents>) -> String {
        agents.note("hello");
        agents.owner.scoped_key("hello")
    }
    alone(async {
        let counts = Counts::default();
        let router = Router::new().route("/", get(hello)).layer(layer(&counts));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            let service = router.into_make_service_with_connect_info::<SocketAddr>();
            axum::serve(listener, service).await
        });
        let stream = TcpStream::connect(address).await.expect("a connection");
        stream.set_nodelay(true).expect("a TCP connection");
        let io = TokioIo::new(stream);
        let (client, connection) = hyper::client::conn::http1::handshake(io)
            .await
            .expect("an HTTP connection");
        tokio::spawn(connection);
        let client = Arc::new(tokio::sync::Mutex::new(client));
        leaves_the_heap_as_it_was(1_000, 10_000, |number| {
            let client = client.clone();
            async move {
                let (head, ()) = request(number, How::Answers).into_parts();
                let mut request = Request::new(Empty::<Bytes>::new());
                *request.headers_mut() = head.headers;
                let mut client = client.lock().await;
                client.ready().await.expect("the connection is open");
                let answer = client.send_request(request).await.expect("an answer");
                assert_eq!(answer.status(), StatusCode::OK, "user {number}");
                answer.into_body().collect().await.expect("a body");
            }
        })
        .await;
        drop(client);
        counts.assert_all_closed().await;
    });
}

#[test]
fn b15_a_context_that_passes_through_many_layers_does_not_grow() {
    alone(async {
        let layer = UserScopeLayer::builder()
            .strategy(ExistingContext::new())
            .context_only()
            .build()
            .expect("valid");
        let id = UserId::try_from("alice").expect("an id");
        let context = UserContext::builder(Identity::asserted(id)).build();
        let context = Arc::new(Mutex::new(context));
        leaves_the_heap_as_it_was(10, 1_000, |_| {
            let kept = Arc::clone(&context);
            let inner = service_fn(move |request: Request<()>| {
                let inner = request.user_context().expect("the layer is there");
                *kept.lock().expect("no panic in here") = inner.clone();
                std::future::ready(Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())))
            });
            let mut request = Request::new(());
            let outer = context.lock().expect("no panic in here").clone();
            request.extensions_mut().insert(outer);
            let sent = layer.layer(inner).oneshot(request);
            async move { assert!(sent.await.is_ok()) }
        })
        .await;
    });
}

/// The measurement itself sees the smallest possible leak.
#[test]
fn a_few_bytes_for_each_request_would_be_found() {
    alone(async {
        let kept = Mutex::new(Vec::new());
        let leak = catch_unwind(AssertUnwindSafe(|| {
            futures::executor::block_on(leaves_the_heap_as_it_was(100, 10_000, |number| {
                kept.lock().expect("no panic in here").push(number);
                std::future::ready(())
            }));
        }));
        assert!(leak.is_err(), "a number for each request was kept");
    });
}

/// B62: what a flood of distinct subjects costs is what the layer's limits were made for.
#[test]
fn b62_a_flood_of_subjects_costs_the_limits_no_more_than_they_state() {
    /// The documented 17 bytes for each remembered subject, and as much again for the rest.
    const MOST: usize = 17 * Limit::DEFAULT_SUBJECTS + 64 * 1024;
    const SUBJECTS: usize = 3 * Limit::DEFAULT_SUBJECTS;

    alone(async {
        let before = live_bytes();
        let layer = UserScopeLayer::builder()
            .strategy(from_fn(
                CredentialSource::header("x-user"),
                |head: &Parts| {
                    let id = head.headers["x-user"].to_str().expect("text");
                    Identity::proved(id.parse::<UserId>().expect("an id")).into()
                },
            ))
            .limit(Limit::rate(
                "requests",
                Rate::new(2, Duration::from_secs(3_600)),
            ))
            .limit(Limit::concurrency("open", 1))
            .context_only()
            .build()
            .expect("a valid configuration");
        let mut service = layer.layer(service_fn(|_: Request<()>| {
            std::future::ready(Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())))
        }));
        let mut ask = |user: &str| {
            let request = Request::get("/").header("x-user", user).body(());
            let answer = service.call(request.expect("a request"));
            futures::FutureExt::now_or_never(answer)
                .expect("at once")
                .map(|response| response.status())
        };
        for _ in 0..2 {
            assert_eq!(ask("alice"), Ok(StatusCode::OK));
        }
        for number in 0..SUBJECTS {
            assert_eq!(ask(&format!("user-{number}")), Ok(StatusCode::OK));
        }
        // Those that have used least are forgotten first.
        assert_eq!(ask("alice"), Ok(StatusCode::TOO_MANY_REQUESTS));
        let cost = live_bytes().saturating_sub(before);
        assert!(cost < MOST, "{SUBJECTS} subjects cost {cost} bytes");
    });
}
