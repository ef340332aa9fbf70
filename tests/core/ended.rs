//! B55: a scope ends when its identity does, where the application asks for it. A body that is still
//! open is cut off, and the client can tell.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures::{FutureExt, poll};
use http::{HeaderMap, HeaderValue, Request, Response, request::Parts};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use tokio::sync::mpsc;
use tower::{ServiceExt, service_fn, util::BoxCloneService};
use tower_layer::Layer;
use tower_user_scope::{
    CredentialSource, ExistingContext, Identity, Outcome, UserContext, UserId, UserScopeExt,
    UserScopeLayer,
    clock::Clock,
    from_fn,
    limit::Limit,
    middleware::{BodyError, ResponseBody},
    scope::{EndReason, Ending, ScopeEndedError},
    testing::TestClock,
};

const MINUTE: Duration = Duration::from_secs(60);

/// `x-user: alice`, whose identity ends after a minute, or `x-user: eve`, whose does not end.
fn sender(start: SystemTime) -> impl Fn(&Parts) -> Outcome + Send + Sync {
    move |head| {
        let Some(user) = head
            .headers
            .get("x-user")
            .and_then(|user| user.to_str().ok())
        else {
            return Outcome::Absent;
        };
        let identity = Identity::proved(user.parse::<UserId>().expect("an id"));
        match user {
            "eve" => identity,
            _ => identity.with_expires_at(start + MINUTE),
        }
        .into()
    }
}

macro_rules! builder {
    ($clock:expr) => {{
        let clock: TestClock = $clock.clone();
        UserScopeLayer::builder()
            .strategy(from_fn(
                CredentialSource::header("x-user"),
                sender(clock.now()),
            ))
            .clock(clock)
    }};
}

/// A body of the frames that a test sends. It says in whose scope it was dropped.
struct Sent {
    frames: mpsc::UnboundedReceiver<Frame<Bytes>>,
    dropped: Arc<Mutex<Option<String>>>,
}

impl Body for Sent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.frames.poll_recv(cx).map(|frame| frame.map(Ok))
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        let user = UserContext::current().and_then(|user| user.user_id().map(ToString::to_string));
        *self.dropped.lock().unwrap_or_else(PoisonError::into_inner) = user;
    }
}

/// A response that a test sends frame by frame.
struct Open {
    body: Pin<Box<ResponseBody<Sent>>>,
    frames: mpsc::UnboundedSender<Frame<Bytes>>,
    dropped: Arc<Mutex<Option<String>>>,
    context: UserContext,
}

impl Open {
    fn send(&self, text: &'static str) {
        self.frames
            .send(Frame::data(text.into()))
            .expect("the body is read");
    }

    async fn frame(&mut self) -> Option<Result<Frame<Bytes>, BodyError>> {
        self.body.frame().await
    }

    async fn text(&mut self) -> String {
        let frame = self.frame().await.expect("a frame").expect("no error");
        let data = frame.into_data().expect("data");
        String::from_utf8_lossy(&data).into_owned()
    }
}

/// The response that the inner service gives, in the request's extensions.
#[derive(Clone)]
struct Prepared(Arc<Mutex<Option<Response<Sent>>>>);

type App = BoxCloneService<Request<()>, Response<ResponseBody<Sent>>, Infallible>;

async fn answer(request: Request<()>) -> Result<Response<Sent>, Infallible> {
    let prepared = request.extensions().get::<Prepared>().expect("by the test");
    let prepared = prepared
        .0
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    let mut response = prepared.expect("once");
    let context = request.user_context().expect("inside the layer").clone();
    response.extensions_mut().insert(context);
    Ok(response)
}

macro_rules! app {
    ($builder:expr) => {
        BoxCloneService::new(
            $builder
                .build()
                .expect("a valid configuration")
                .layer(service_fn(answer)),
        )
    };
}

/// Opens a response with these headers.
async fn open(app: &App, user: &str, headers: Headers<'_>) -> Open {
    let (frames, receiver) = mpsc::unbounded_channel();
    let dropped = Arc::new(Mutex::new(None));
    let mut response = Response::new(Sent {
        frames: receiver,
        dropped: Arc::clone(&dropped),
    });
    for (name, value) in headers {
        let value = value.parse().expect("a value");
        response.headers_mut().append(*name, value);
    }
    let mut request = Request::get("/")
        .header("x-user", user)
        .body(())
        .expect("a request");
    let prepared = Prepared(Arc::new(Mutex::new(Some(response))));
    request.extensions_mut().insert(prepared);
    let Ok(response) = app.clone().oneshot(request).await;
    assert_eq!(response.status(), 200);
    let context = response.extensions().get::<UserContext>().cloned();
    Open {
        body: Box::pin(response.into_body()),
        frames,
        dropped,
        context: context.expect("of the handler"),
    }
}

/// The headers of a response.
type Headers<'a> = &'a [(&'static str, &'a str)];

const EVENTS: Headers<'_> = &[("content-type", "text/event-stream; charset=utf-8")];
const GRPC: Headers<'_> = &[("content-type", "application/grpc+proto")];
const GRPC_WEB: Headers<'_> = &[("content-type", "application/grpc-web")];
const PLAIN: Headers<'_> = &[("content-type", "application/octet-stream")];

/// The headers of a response, its first frame, and what the client gets at the end.
type Case<'a> = (Headers<'a>, &'static str, fn() -> Last);

/// What a client gets where a body is cut off.
#[derive(Debug, PartialEq)]
enum Last {
    Data(Vec<u8>),
    Trailers(HeaderMap),
    Error,
}

async fn last(open: &mut Open) -> Last {
    let last = match open.frame().await.expect("a last frame") {
        Ok(frame) => match frame.into_data() {
            Ok(data) => Last::Data(data.to_vec()),
            Err(frame) => Last::Trailers(frame.into_trailers().expect("trailers")),
        },
        Err(error) => {
            let error = error.into_inner();
            let ended = error.downcast_ref::<ScopeEndedError>().expect("the reason");
            assert_eq!(ended.reason(), EndReason::Expired);
            Last::Error
        }
    };
    assert!(open.body.is_end_stream());
    assert!(open.frame().await.is_none());
    last
}

fn event() -> Last {
    Last::Data(b"event: scope-ended\ndata: expired\n\n".to_vec())
}

fn status() -> Last {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("16"));
    let message = HeaderValue::from_static("the identity has ended: expired");
    trailers.insert("grpc-message", message);
    Last::Trailers(trailers)
}

fn status_in_data() -> Last {
    let text = "grpc-status:16\r\ngrpc-message:the identity has ended: expired\r\n";
    let mut frame = vec![0x80, 0, 0, 0, u8::try_from(text.len()).expect("short")];
    frame.extend(text.bytes());
    Last::Data(frame)
}

#[tokio::test]
async fn b55_each_kind_of_response_is_cut_off_in_a_way_that_its_client_can_tell() {
    let encoded = &[EVENTS[0], ("content-encoding", "gzip")];
    let sized = &[
        ("content-type", "text/event-stream"),
        ("content-length", "100"),
    ];
    let text = &[("content-type", "application/grpc-web-text")];
    let cases: &[Case<'_>] = &[
        (EVENTS, "data: 1\n\n", event),
        (EVENTS, "data: 1\r\n\r\n", event),
        // Within an event, a client would take what it has of it for the whole.
        (EVENTS, "data: 1", || Last::Error),
        (encoded, "data: 1\n\n", || Last::Error),
        (sized, "data: 1\n\n", || Last::Error),
        (GRPC, "message", status),
        (GRPC_WEB, "message", status_in_data),
        (text, "message", || Last::Error),
        (PLAIN, "bytes", || Last::Error),
        (&[], "bytes", || Last::Error),
    ];
    for (headers, frame, expected) in cases {
        let clock = TestClock::now();
        let closings = Arc::new(Mutex::new(Vec::new()));
        let closed = Arc::clone(&closings);
        let app = app!(
            builder!(clock)
                .end_scopes_at_expiry()
                .context_only()
                .on_close(move |scope| {
                    closed
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(scope.ending());
                })
        );
        let mut alice = open(&app, "alice", headers).await;
        let mut eve = open(&app, "eve", headers).await;
        for open in [&mut alice, &mut eve] {
            open.send(frame);
            assert_eq!(open.text().await, *frame);
        }
        // A moment before, nothing happens. Then those that wait are woken.
        clock.advance(Duration::from_millis(59_999));
        assert!(poll!(Box::pin(alice.frame())).is_pending(), "{headers:?}");
        let ending = {
            let clock = clock.clone();
            async move {
                tokio::task::yield_now().await;
                clock.advance(Duration::from_millis(1));
            }
        };
        let (last, ()) = tokio::join!(last(&mut alice), ending);
        assert_eq!(last, expected(), "{headers:?} after {frame:?}");
        // The body went in its own scope, before the response does.
        let dropped = alice
            .dropped
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        assert_eq!(dropped.as_deref(), Some("alice"));
        drop(alice);
        let closings =
            std::mem::take(&mut *closings.lock().unwrap_or_else(PoisonError::into_inner));
        assert_eq!(closings, [Ending::CutOff(EndReason::Expired)]);
        // Nobody else's stream is touched.
        eve.send(frame);
        assert_eq!(eve.text().await, *frame);
    }
}

#[tokio::test]
async fn a_stream_that_always_has_a_frame_is_cut_off_too() {
    let clock = TestClock::now();
    let app = app!(builder!(clock).end_scopes_at_expiry().context_only());
    let mut alice = open(&app, "alice", PLAIN).await;
    for _ in 0..10 {
        alice.send("frame");
    }
    alice.text().await;
    alice.text().await;
    clock.advance(MINUTE);
    assert_eq!(last(&mut alice).await, Last::Error);
}

#[tokio::test]
async fn an_answer_of_one_frame_arrives_whole() {
    let clock = TestClock::now();
    let app = app!(builder!(clock).end_scopes_at_expiry().context_only());
    let mut alice = open(&app, "alice", PLAIN).await;
    alice.send("the whole answer");
    clock.advance(MINUTE);
    assert_eq!(alice.text().await, "the whole answer");
    // Its end is the body's own.
    let Open {
        mut body, frames, ..
    } = alice;
    drop(frames);
    clock.rewind(MINUTE);
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn without_being_asked_for_no_scope_ends() {
    let clock = TestClock::now();
    let app = app!(builder!(clock).context_only());
    let mut alice = open(&app, "alice", PLAIN).await;
    alice.send("one");
    alice.text().await;
    clock.advance(2 * MINUTE);
    alice.send("two");
    assert_eq!(alice.text().await, "two");
    assert!(alice.context.ended().now_or_never().is_none());
}

#[tokio::test]
async fn a_context_tells_when_its_scope_has_ended_and_so_do_its_children_and_inner_layers() {
    let clock = TestClock::now();
    let inner = UserScopeLayer::builder()
        .strategy(ExistingContext::new())
        .context_only()
        .build()
        .expect("a valid configuration");
    let outer = builder!(clock).end_scopes_at_expiry().context_only();
    let outer = outer.build().expect("a valid configuration");
    let app: BoxCloneService<_, Response<ResponseBody<ResponseBody<Sent>>>, _> =
        BoxCloneService::new(outer.layer(inner.layer(service_fn(answer))));
    let (_frames, receiver) = mpsc::unbounded_channel();
    let prepared = Response::new(Sent {
        frames: receiver,
        dropped: Arc::default(),
    });
    let mut request = Request::get("/")
        .header("x-user", "alice")
        .body(())
        .expect("a request");
    request
        .extensions_mut()
        .insert(Prepared(Arc::new(Mutex::new(Some(prepared)))));
    let Ok(response): Result<_, Infallible> = app.oneshot(request).await;
    let context = response
        .extensions()
        .get::<UserContext>()
        .expect("of the handler")
        .clone();
    let child = context.child().expect("not deep");
    // Another task than the request's, and no body that is polled.
    let waiting = tokio::spawn(async move { (context.ended().await, child.ended().await) });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    clock.advance(MINUTE);
    let (of_context, of_child) = waiting.await.expect("no panic");
    assert_eq!(
        (of_context, of_child),
        (EndReason::Expired, EndReason::Expired)
    );
}

#[tokio::test]
async fn a_clock_that_jumps_back_keeps_the_scope_open() {
    let clock = TestClock::now();
    let app = app!(builder!(clock).end_scopes_at_expiry().context_only());
    let mut alice = open(&app, "alice", PLAIN).await;
    alice.send("one");
    alice.text().await;
    assert!(poll!(Box::pin(alice.frame())).is_pending());
    clock.rewind(MINUTE);
    assert!(poll!(Box::pin(alice.frame())).is_pending());
    clock.advance(MINUTE + Duration::from_secs(59));
    assert!(poll!(Box::pin(alice.frame())).is_pending());
    clock.advance(Duration::from_secs(1));
    assert_eq!(last(&mut alice).await, Last::Error);
}

/// The layer's own timer, on the system's clock.
#[tokio::test]
async fn by_the_systems_clock_a_timer_ends_the_scope() {
    let end = SystemTime::now() + Duration::from_millis(50);
    let layer = UserScopeLayer::builder()
        .strategy(from_fn(
            CredentialSource::header("x-user"),
            move |_: &Parts| {
                Identity::proved("alice".parse::<UserId>().expect("an id"))
                    .with_expires_at(end)
                    .into()
            },
        ))
        .end_scopes_at_expiry()
        .context_only();
    let mut alice = open(&app!(layer), "alice", EVENTS).await;
    assert_eq!(last(&mut alice).await, event());
    assert!(SystemTime::now() >= end);
}

#[tokio::test]
async fn a_slot_comes_back_when_its_scope_is_cut_off() {
    let clock = TestClock::now();
    let app = app!(
        builder!(clock)
            .end_scopes_at_expiry()
            .limit(Limit::concurrency("open", 1))
            .context_only()
    );
    let mut alice = open(&app, "alice", EVENTS).await;
    clock.advance(MINUTE);
    assert_eq!(last(&mut alice).await, event());
    drop(alice);
    clock.rewind(MINUTE);
    open(&app, "alice", EVENTS).await;
}
