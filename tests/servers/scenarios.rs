//! B80, B82: Scenarios with web sockets over a real connection, and with a client that tonic generated.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    extract::{
        State,
        ws::{Message as Sent, WebSocketUpgrade},
    },
    response::Response,
    routing::get,
};
use bytes::Bytes;
use futures::{SinkExt, StreamExt, stream};
use http::{Request, Uri};
use hyper::upgrade::OnUpgrade;
use hyper_util::{
    client::legacy::{Client as HttpClient, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use tokio::net::TcpListener;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::Role},
};
use tonic::{Status, async_trait, service::Routes};
use tower::{Service, ServiceBuilder};
use tower_user_scope::{
    ExistingContext, TrustedHeader, UserId, UserScopeExt, UserScopeLayer,
    testing::{AsUser, Client, Finding, IsolationReport, ScenarioCheck, TestBody},
};

use crate::support::tonic::whoami::{
    Question, Seen,
    who_am_i_client::WhoAmIClient,
    who_am_i_server::{WhoAmI, WhoAmIServer},
};

/// What was said last, by anybody.
type Last = Arc<Mutex<String>>;

/// Answers each message with the one before it: of the same socket, or of anybody where `OF_ALL` is
/// true, which is the bug.
async fn chat<const OF_ALL: bool>(
    State(last): State<Last>,
    user: UserId,
    upgrade: WebSocketUpgrade,
) -> Response {
    upgrade.on_upgrade(async move |mut socket| {
        let last = if OF_ALL { last } else { Last::default() };
        while let Some(Ok(Sent::Text(text))) = socket.next().await {
            let text = format!("{user}: {text}");
            let before = std::mem::replace(
                &mut *last.lock().unwrap_or_else(PoisonError::into_inner),
                text,
            );
            if socket.send(Sent::text(before)).await.is_err() {
                return;
            }
        }
    })
}

/// Serves the router on loopback until the test ends, and returns a client of it.
async fn over_a_socket(
    router: Router,
) -> impl Service<
    Request<TestBody>,
    Response = Response<hyper::body::Incoming>,
    Error = hyper_util::client::legacy::Error,
> + Clone {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound");
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });
    let at_address = move |mut request: Request<TestBody>| {
        let uri = format!("http://{address}{}", request.uri().path());
        *request.uri_mut() = uri.parse::<Uri>().expect("an address and a path");
        request
    };
    let client: HttpClient<HttpConnector, TestBody> =
        HttpClient::builder(TokioExecutor::new()).build_http();
    ServiceBuilder::new()
        .map_request(at_address)
        .service(client)
}

fn router<const OF_ALL: bool>() -> Router {
    let users = UserScopeLayer::builder()
        .strategy(
            TrustedHeader::new("x-user-id")
                .from_proxies(["127.0.0.1/32"])
                .expect("a network"),
        )
        .context_only()
        .build()
        .expect("a valid configuration");
    Router::new()
        .route("/chat", get(chat::<OF_ALL>))
        .layer(users)
        .with_state(Last::default())
}

async fn talks(client: Client) {
    let handshake = Request::get("/chat")
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        // Always the same one: the response has what follows from it.
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    let opened = client
        .send(handshake.body(Bytes::new()).expect("a handshake"))
        .await;
    let upgrade = opened
        .extensions()
        .get::<OnUpgrade>()
        .expect("switched")
        .clone();
    let connection = TokioIo::new(upgrade.await.expect("a connection"));
    let mut socket = WebSocketStream::from_raw_socket(connection, Role::Client, None).await;
    for name in ["first", "second", "third"] {
        let message = Message::text(client.secret(name));
        client
            .step("SEND /chat", async {
                socket.send(message).await.map(|()| "")
            })
            .await;
        let received = async {
            socket
                .next()
                .await
                .expect("not the end")
                .map(Message::into_data)
        };
        client.step("RECEIVE /chat", received).await;
    }
}

async fn check<const OF_ALL: bool>(seed: u64) -> IsolationReport {
    ScenarioCheck::new()
        .users(2)
        .seed(seed)
        .authenticate(|user, mut request| {
            let id = user.id().parse().expect("visible");
            request.headers_mut().insert("x-user-id", id);
            request
        })
        .run(async || over_a_socket(router::<OF_ALL>()).await, talks)
        .await
}

#[tokio::test]
async fn b82_a_websocket_that_shows_its_own_user_alone_has_no_finding() {
    for seed in 0..20 {
        check::<false>(seed).await.assert_isolated();
    }
}

#[tokio::test]
async fn b80_what_a_websocket_shows_of_others_is_found() {
    for seed in 0..20 {
        let report = check::<true>(seed).await;
        let found = |finding: &Finding| matches!(finding, Finding::ForeignBytes { location, .. } if location.request() == "RECEIVE /chat");
        assert!(report.findings().iter().any(found), "seed {seed}: {report}");
    }
}

/// Counts the calls: of each user, or of all where it has one count, which is the bug.
struct Counting {
    of_all: bool,
    calls: Mutex<std::collections::HashMap<String, u64>>,
}

impl Counting {
    fn seen<T>(&self, request: &tonic::Request<T>) -> Result<Seen, Status> {
        let user = request
            .user_context()?
            .user_id()
            .map_or_else(String::new, ToString::to_string);
        let key = if self.of_all {
            String::new()
        } else {
            user.clone()
        };
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let calls = calls.entry(key).or_default();
        *calls += 1;
        Ok(Seen {
            factory_number: *calls,
            strategy: user,
            ..Seen::default()
        })
    }
}

#[async_trait]
impl WhoAmI for Counting {
    async fn ask(
        &self,
        request: tonic::Request<Question>,
    ) -> Result<tonic::Response<Seen>, Status> {
        Ok(tonic::Response::new(self.seen(&request)?))
    }

    type WatchStream = stream::Iter<std::vec::IntoIter<Result<Seen, Status>>>;

    async fn watch(
        &self,
        request: tonic::Request<Question>,
    ) -> Result<tonic::Response<Self::WatchStream>, Status> {
        let times = 0..request.get_ref().times;
        let seen: Vec<_> = times.map(|_| self.seen(&request)).collect();
        Ok(tonic::Response::new(stream::iter(seen)))
    }
}

async fn calls(of_all: bool, seed: u64) -> IsolationReport {
    let service = || {
        let users = UserScopeLayer::builder()
            .strategy(ExistingContext::new())
            .context_only()
            .build()
            .expect("a valid configuration");
        let counting = Counting {
            of_all,
            calls: Mutex::default(),
        };
        ServiceBuilder::new()
            .layer(users)
            .service(Routes::new(WhoAmIServer::new(counting)).prepare())
    };
    ScenarioCheck::new()
        .users(2)
        .seed(seed)
        .authenticate(|user, request| request.as_user(user.id()))
        .run(
            async || service(),
            async |client: Client| {
                let mut generated = WhoAmIClient::new(client.clone());
                let asked = generated
                    .ask(Question { times: 1 })
                    .await
                    .expect("an answer");
                assert_eq!(asked.get_ref().strategy, client.id());
                let watched = generated
                    .watch(Question { times: 2 })
                    .await
                    .expect("a stream");
                assert_eq!(watched.into_inner().count().await, 2);
            },
        )
        .await
}

#[tokio::test]
async fn b80_a_generated_client_of_grpc_plays_a_scenario() {
    for seed in 0..20 {
        calls(false, seed).await.assert_isolated();
        let report = calls(true, seed).await;
        let found = |finding: &Finding| {
            matches!(finding, Finding::Interference { location, .. }
                if location.request() == "POST /whoami.WhoAmI/Ask" && location.place().starts_with("message 1"))
        };
        assert!(report.findings().iter().any(found), "seed {seed}: {report}");
    }
}
