//! B31: an event stream keeps its user until it ends, and its scope ends with it, also if the client
//! disconnects.

use std::{convert::Infallible, net::SocketAddr, time::Duration};

use axum::{
    Router,
    body::Body,
    response::sse::{Event, KeepAlive, Sse},
    routing::get,
};
use futures::{Stream, StreamExt, stream};
use http::Request;
use http_body_util::BodyExt;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::{net::TcpListener, sync::mpsc, time::timeout};
use tower_user_scope::{
    Scoped, TrustedHeader, UserContext, UserScopeLayer, audit::UserIdTelemetry, scope::Ending,
};

struct Agents {
    owner: String,
}

/// Sends events that name the user by context, factory and scope.
fn events(agents: Scoped<Agents>, count: usize) -> impl Stream<Item = Result<Event, Infallible>> {
    stream::iter(0..count).then(move |number| {
        let agents = agents.clone();
        async move {
            tokio::task::yield_now().await;
            let current = UserContext::current();
            let current = current.as_ref().and_then(UserContext::user_id);
            let current = current.map_or_else(|| "nobody".to_owned(), ToString::to_string);
            Ok(Event::default().data(format!("{number} {} {current}", agents.owner)))
        }
    })
}

async fn short(agents: Scoped<Agents>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    Sse::new(events(agents, 20))
}

async fn endless(agents: Scoped<Agents>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    Sse::new(events(agents, usize::MAX)).keep_alive(KeepAlive::default())
}

/// Starts a server and reports the user and the ending of each closed scope.
async fn start() -> (SocketAddr, mpsc::UnboundedReceiver<(String, Ending)>) {
    let (closed, receiver) = mpsc::unbounded_channel();
    let layer = UserScopeLayer::builder()
        .strategy(
            TrustedHeader::new("x-user-id")
                .from_proxies(["127.0.0.1"])
                .expect("an address"),
        )
        .factory(|user: &UserContext| Agents {
            owner: user.user_id().map_or_else(String::new, ToString::to_string),
        })
        .user_ids_in_telemetry(UserIdTelemetry::Plain)
        .on_close(move |scope| {
            let owner = scope
                .scoped::<Agents>()
                .map_or_else(String::new, |agents| agents.owner.clone());
            let _ = closed.send((owner, scope.ending()));
        })
        .build()
        .expect("a valid configuration");
    let app = Router::new()
        .route("/short", get(short))
        .route("/endless", get(endless))
        .layer(layer);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let service = app.into_make_service_with_connect_info::<SocketAddr>();
        axum::serve(listener, service).await
    });
    (address, receiver)
}

async fn open(address: SocketAddr, path: &str, user: &str) -> hyper::body::Incoming {
    let request = Request::get(format!("http://{address}{path}"))
        .header("x-user-id", user)
        .body(Body::empty())
        .expect("a request");
    // Its own client, and therefore its own connection.
    let client = Client::builder(TokioExecutor::new()).build_http();
    let response = client.request(request).await.expect("an answer");
    response.into_body()
}

async fn next(stream: &mut hyper::body::Incoming) -> Option<String> {
    let frame = stream.frame().await?.expect("a frame");
    let data = frame.into_data().expect("data");
    Some(String::from_utf8(data.to_vec()).expect("text"))
}

fn assert_all_of(events: &str, user: &str) {
    for event in events
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
    {
        let mut parts = event.splitn(3, ' ').skip(1);
        assert_eq!(parts.next(), Some(user), "the factory in `{event}`");
        assert_eq!(parts.next(), Some(user), "the current scope in `{event}`");
    }
}

/// A time limit that only a hang reaches.
const HANG: Duration = Duration::from_secs(30);

async fn closing(receiver: &mut mpsc::UnboundedReceiver<(String, Ending)>) -> (String, Ending) {
    let closed = timeout(HANG, receiver.recv()).await;
    closed
        .expect("a scope that closes")
        .expect("the layer lives")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b31_streams_of_two_users_at_once_keep_their_own_and_end_with_their_client() {
    let (address, mut closed) = start().await;
    let mut alice = open(address, "/endless", "alice").await;
    let mut bob = open(address, "/endless", "bob").await;
    for _ in 0..10 {
        let (of_alice, of_bob) = futures::join!(next(&mut alice), next(&mut bob));
        assert_all_of(&of_alice.expect("endless"), "alice");
        assert_all_of(&of_bob.expect("endless"), "bob");
    }
    assert!(
        closed.try_recv().is_err(),
        "both streams live, and so do their scopes"
    );

    drop(alice);
    let gone = closing(&mut closed).await;
    assert_eq!(
        gone,
        ("alice".to_owned(), Ending::Cancelled),
        "in the middle"
    );
    for _ in 0..10 {
        assert_all_of(&next(&mut bob).await.expect("endless"), "bob");
    }
    assert!(closed.try_recv().is_err(), "which is nothing to bob's");
    drop(bob);
    let gone = closing(&mut closed).await;
    assert_eq!(
        gone,
        ("bob".to_owned(), Ending::Cancelled),
        "until he goes too"
    );
    assert!(closed.try_recv().is_err(), "each closed once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b31_a_stream_that_is_read_to_its_end_is_completed() {
    let (address, mut closed) = start().await;
    let mut streams: Vec<_> = Vec::new();
    for number in 0..20 {
        let user = format!("user-{number}");
        let stream = open(address, "/short", &user).await;
        streams.push(async move {
            let body = stream.collect().await.expect("a whole stream").to_bytes();
            let events = String::from_utf8(body.to_vec()).expect("text");
            assert_eq!(events.matches("data: ").count(), 20, "every event");
            assert_all_of(&events, &user);
            user
        });
    }
    let mut users = futures::future::join_all(streams).await;
    let mut ended = Vec::new();
    for _ in 0..users.len() {
        let (owner, ending) = closing(&mut closed).await;
        assert_eq!(
            ending,
            Ending::Completed,
            "{owner}'s stream was read to its end"
        );
        ended.push(owner);
    }
    users.sort();
    ended.sort();
    assert_eq!(ended, users, "each scope closed once");
}
