//! B55 on real servers: when alice's identity expires, when she logs out, and when her token or all of
//! hers is revoked, each kind of response of hers ends in a way that its client can tell, and bob's goes
//! on. B60: the slots of her limit come back with it.

use std::{convert::Infallible, io, net::SocketAddr, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade},
    response::{
        Response,
        sse::{Event, Sse},
    },
    routing::{any, get},
};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use http::{Request, StatusCode, request::Parts};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_stream::wrappers::{IntervalStream, TcpListenerStream};
use tokio_tungstenite::tungstenite::{self, client::IntoClientRequest};
use tonic::{Code, Status, async_trait, transport::Server};
use tower_user_scope::{
    CredentialSource, Identity, Outcome, Scoped, UserContext, UserId, UserScopeLayer,
    authorize::Authorize,
    clock::Clock,
    context::Subject,
    factory::ProvideFactory,
    from_fn,
    limit::Limit,
    middleware::StrategyList,
    open_scopes::{Credential, OpenScopes, Revocation},
    scope::{EndReason, Ending},
    testing::TestClock,
};

use crate::support::{
    Seen, soon,
    tonic::whoami::{
        Question,
        who_am_i_client::WhoAmIClient,
        who_am_i_server::{WhoAmI, WhoAmIServer},
    },
};

const MINUTE: Duration = Duration::from_secs(60);

/// The factory: its handle keeps the scope of a socket open.
struct Owner;

type Closings = mpsc::UnboundedReceiver<(String, Ending)>;

/// What ends alice's scopes.
#[derive(Clone, Copy, Debug)]
enum End {
    Expiry,
    LogOut,
    OfToken,
    OfUser,
}

impl End {
    const ALL: [Self; 4] = [Self::Expiry, Self::LogOut, Self::OfToken, Self::OfUser];

    fn reason(self) -> EndReason {
        match self {
            Self::Expiry => EndReason::Expired,
            Self::LogOut => EndReason::LoggedOut,
            Self::OfToken | Self::OfUser => EndReason::Revoked,
        }
    }

    /// Ends the one scope that she has open.
    fn happens(self, clock: &TestClock, open: &OpenScopes) {
        let revocation = match self {
            Self::Expiry => return clock.advance(MINUTE),
            Self::LogOut => Revocation::of_session("session-of-alice").as_log_out(),
            Self::OfToken => Revocation::of_token("token-of-alice"),
            Self::OfUser => {
                Revocation::of_subject(Subject::new("alice".parse::<UserId>().expect("an id")))
            }
        };
        assert_eq!(open.revoke(revocation).expect("room"), 1, "{self:?}");
    }
}

/// Alice's identity ends after a minute, and that of others after an hour.
fn layer(
    clock: &TestClock,
    open: &OpenScopes,
) -> (
    UserScopeLayer<
        impl StrategyList<Pending: Send> + Send + Sync + 'static + use<>,
        impl ProvideFactory<Future: Send> + Send + Sync + 'static + use<>,
        impl Authorize<Future: Send> + Send + Sync + 'static + use<>,
    >,
    Closings,
) {
    let start = clock.now();
    let (closed, closings) = mpsc::unbounded_channel();
    let layer = UserScopeLayer::builder()
        .strategy(from_fn(
            CredentialSource::header("x-user"),
            move |head: &Parts| {
                let Some(user) = head
                    .headers
                    .get("x-user")
                    .and_then(|user| user.to_str().ok())
                else {
                    return Outcome::Absent;
                };
                let lasts = if user == "alice" { MINUTE } else { 60 * MINUTE };
                let credential = Credential::new()
                    .with_session_id(format!("session-of-{user}"))
                    .with_token_id(format!("token-of-{user}"));
                let user: UserId = user.parse().expect("an id");
                Identity::proved(user)
                    .with_expires_at(start + lasts)
                    .with_attribute(credential)
                    .into()
            },
        ))
        .clock(clock.clone())
        .end_scopes_at_expiry()
        .open_scopes(open)
        .limit(Limit::concurrency("open", 1))
        .factory(|_: &UserContext| Owner)
        .on_close(move |scope| {
            let owner = scope.context().user_id().map(ToString::to_string);
            let _ = closed.send((owner.unwrap_or_default(), scope.ending()));
        })
        .build()
        .expect("a valid configuration");
    (layer, closings)
}

/// Asserts that the next scope to close is alice's, and that it was cut off.
async fn alices_scope_is_cut_off(closings: &mut Closings, end: End) {
    let closed = soon("the scope closes", closings.recv())
        .await
        .expect("the layer lives");
    assert_eq!(closed, ("alice".to_owned(), Ending::CutOff(end.reason())));
}

async fn events() -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let ticks = IntervalStream::new(tokio::time::interval(Duration::from_millis(20)));
    Sse::new(ticks.map(|_| Ok(Event::default().data("tick"))))
}

/// A download without an end, as fast as the client takes it.
async fn download() -> Response {
    let chunk = Bytes::from(vec![7; 8 * 1024]);
    Response::new(Body::from_stream(stream::repeat_with(move || {
        Ok::<_, io::Error>(chunk.clone())
    })))
}

/// A socket that echoes until its identity ends.
async fn socket(upgrade: WebSocketUpgrade, owner: Scoped<Owner>) -> Response {
    upgrade.on_upgrade(async move |mut socket: WebSocket| {
        let mut ended = Box::pin(Scoped::context(&owner).ended());
        loop {
            tokio::select! {
                reason = &mut ended => {
                    let (code, reason) = (4401, reason.as_str().into());
                    let close = Message::Close(Some(CloseFrame { code, reason }));
                    let _ = socket.send(close).await;
                    return;
                }
                message = socket.recv() => match message {
                    Some(Ok(Message::Text(text))) => {
                        let _ = socket.send(Message::Text(text)).await;
                    }
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return,
                },
            }
        }
    })
}

async fn start(clock: &TestClock, open: &OpenScopes) -> (SocketAddr, Closings) {
    let (layer, closings) = layer(clock, open);
    let app = Router::new()
        .route("/events", get(events))
        .route("/download", get(download))
        .route("/socket", any(socket))
        .layer(layer);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, app).await });
    (address, closings)
}

/// A clock of the test's, and a registry of open scopes by it.
fn clock_and_scopes() -> (TestClock, OpenScopes) {
    let clock = TestClock::now();
    let open = OpenScopes::with_clock(60 * MINUTE, clock.clone());
    (clock, open)
}

fn request(address: SocketAddr, path: &str, user: &str) -> Request<Body> {
    let request = Request::get(format!("http://{address}{path}")).header("x-user", user);
    request.body(Body::empty()).expect("a request")
}

async fn ask(address: SocketAddr, path: &str, user: &str) -> hyper::Response<Incoming> {
    ask_over(false, address, path, user).await
}

/// Asks over HTTP/2, or over HTTP/1.1.
async fn ask_over(
    http2: bool,
    address: SocketAddr,
    path: &str,
    user: &str,
) -> hyper::Response<Incoming> {
    // A client of its own, and therefore a connection of its own.
    let client = Client::builder(TokioExecutor::new())
        .http2_only(http2)
        .build_http();
    client
        .request(request(address, path, user))
        .await
        .expect("an answer")
}

async fn open(address: SocketAddr, path: &str, user: &str) -> Incoming {
    let response = ask(address, path, user).await;
    assert_eq!(response.status(), StatusCode::OK);
    response.into_body()
}

/// The next bytes of a body; `None` at its end.
async fn next(body: &mut Incoming) -> Result<Option<Bytes>, hyper::Error> {
    let frame = soon("a frame", body.frame()).await.transpose()?;
    Ok(frame.map(|frame| frame.into_data().unwrap_or_default()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b55_an_event_stream_ends_with_an_event_that_says_why() {
    for end in End::ALL {
        event_stream_ends(end).await;
    }
}

async fn event_stream_ends(end: End) {
    let (clock, scopes) = clock_and_scopes();
    let (address, mut closings) = start(&clock, &scopes).await;
    let mut alice = open(address, "/events", "alice").await;
    let mut bob = open(address, "/events", "bob").await;
    for stream in [&mut alice, &mut bob] {
        assert_eq!(
            next(stream).await.expect("a frame").expect("a tick"),
            "data: tick\n\n"
        );
    }
    assert_eq!(ask(address, "/events", "alice").await.status(), 429);
    end.happens(&clock, &scopes);
    let mut all = Vec::new();
    while let Some(bytes) = next(&mut alice).await.expect("a clean end") {
        all.extend_from_slice(&bytes);
    }
    let text = String::from_utf8(all).expect("text");
    let last = format!("event: scope-ended\ndata: {}\n\n", end.reason());
    assert!(text.ends_with(&last), "{text}");
    alices_scope_is_cut_off(&mut closings, end).await;
    // A browser connects again, and stops at this.
    assert_eq!(ask(address, "/events", "alice").await.status(), 401);
    for _ in 0..3 {
        next(&mut bob)
            .await
            .expect("a frame")
            .expect("bob's goes on");
    }
    assert!(
        closings.try_recv().is_err(),
        "nobody else's scope has closed"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b55_a_download_ends_with_an_error() {
    for end in End::ALL {
        for http2 in [false, true] {
            download_ends(end, http2).await;
        }
    }
}

async fn download_ends(end: End, http2: bool) {
    let (clock, scopes) = clock_and_scopes();
    let (address, mut closings) = start(&clock, &scopes).await;
    let download = async |user| {
        let response = ask_over(http2, address, "/download", user).await;
        assert_eq!(response.status(), StatusCode::OK);
        response.into_body()
    };
    let (mut alice, mut bob) = (download("alice").await, download("bob").await);
    for body in [&mut alice, &mut bob] {
        next(body).await.expect("a frame").expect("data");
    }
    end.happens(&clock, &scopes);
    loop {
        match next(&mut alice).await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the client takes what it has for the whole"),
            Err(_) => break,
        }
    }
    alices_scope_is_cut_off(&mut closings, end).await;
    for _ in 0..100 {
        next(&mut bob)
            .await
            .expect("a frame")
            .expect("bob's goes on");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b55_a_websocket_is_closed_with_a_code_of_its_own() {
    for end in End::ALL {
        websocket_ends(end).await;
    }
}

async fn websocket_ends(end: End) {
    let (clock, scopes) = clock_and_scopes();
    let (address, mut closings) = start(&clock, &scopes).await;
    let connect = async |user: &'static str| {
        let mut request = format!("ws://{address}/socket")
            .into_client_request()
            .expect("a URL");
        request
            .headers_mut()
            .insert("x-user", user.parse().expect("a value"));
        tokio_tungstenite::connect_async(request).await
    };
    let (mut alice, _) = connect("alice").await.expect("a socket");
    let (mut bob, _) = connect("bob").await.expect("a socket");
    // B60: the connection holds the slot after its handshake has been answered.
    let tungstenite::Error::Http(refused) = connect("alice").await.expect_err("a limit") else {
        panic!("not an answer");
    };
    assert_eq!(refused.status(), 429);
    end.happens(&clock, &scopes);
    let message = soon("a close", alice.next())
        .await
        .expect("a message")
        .expect("no error");
    let tungstenite::Message::Close(Some(close)) = message else {
        panic!("{message:?}");
    };
    assert_eq!(
        (u16::from(close.code), close.reason.as_str()),
        (4401, end.reason().as_str())
    );
    drop(alice);
    let (user, _) = soon("the scope closes", closings.recv())
        .await
        .expect("the layer lives");
    assert_eq!(user, "alice");
    futures::SinkExt::send(&mut bob, tungstenite::Message::text("hello"))
        .await
        .expect("open");
    let echo = soon("an echo", bob.next())
        .await
        .expect("a message")
        .expect("no error");
    assert_eq!(echo, tungstenite::Message::text("hello"));
}

struct Ticks;

#[async_trait]
impl WhoAmI for Ticks {
    async fn ask(&self, _: tonic::Request<Question>) -> Result<tonic::Response<Seen>, Status> {
        Ok(tonic::Response::new(Seen::default()))
    }

    type WatchStream = stream::BoxStream<'static, Result<Seen, Status>>;

    async fn watch(
        &self,
        _: tonic::Request<Question>,
    ) -> Result<tonic::Response<Self::WatchStream>, Status> {
        let ticks = IntervalStream::new(tokio::time::interval(Duration::from_millis(20)));
        Ok(tonic::Response::new(
            ticks.map(|_| Ok(Seen::default())).boxed(),
        ))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b55_a_grpc_stream_ends_as_unauthenticated() {
    for end in End::ALL {
        grpc_stream_ends(end).await;
    }
}

async fn grpc_stream_ends(end: End) {
    let (clock, scopes) = clock_and_scopes();
    let (layer, mut closings) = layer(&clock, &scopes);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let server = Server::builder()
        .layer(layer)
        .add_service(WhoAmIServer::new(Ticks));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    // Both on one connection.
    let client = WhoAmIClient::connect(format!("http://{address}"))
        .await
        .expect("a connection");
    let watch = async |user: &'static str| {
        let mut request = tonic::Request::new(Question::default());
        request
            .metadata_mut()
            .insert("x-user", user.parse().expect("a value"));
        client.clone().watch(request).await
    };
    let mut alice = watch("alice").await.expect("a stream").into_inner();
    let mut bob = watch("bob").await.expect("a stream").into_inner();
    for stream in [&mut alice, &mut bob] {
        soon("a message", stream.message())
            .await
            .expect("no error")
            .expect("a tick");
    }
    let limited = watch("alice").await.expect_err("a limit");
    assert_eq!(limited.code(), Code::ResourceExhausted);
    end.happens(&clock, &scopes);
    let status = loop {
        match soon("a message", alice.message()).await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the client takes what it has for the whole"),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
    let message = format!("the identity has ended: {}", end.reason());
    assert_eq!(status.message(), message);
    alices_scope_is_cut_off(&mut closings, end).await;
    assert_eq!(
        watch("alice").await.expect_err("it has ended").code(),
        Code::Unauthenticated
    );
    for _ in 0..3 {
        soon("a message", bob.message())
            .await
            .expect("no error")
            .expect("bob's goes on");
    }
}
