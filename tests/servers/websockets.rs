//! B30, B31: the events of a hub reach only the sockets of their own user, and a
//! WebSocket keeps its handshake's user, factory and scope until its last handle is dropped.

mod app;

use std::{collections::HashMap, net::SocketAddr, sync::atomic::Ordering};

use axum::body::Body;
use futures::{SinkExt, StreamExt, future::join_all};
use http::{Method, Request, StatusCode};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinSet,
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        self,
        client::IntoClientRequest,
        handshake::client::generate_request,
        protocol::{CloseFrame, Role, frame::coding::CloseCode},
    },
};
use tower_user_scope::{PeerAddr, scope::Ending};

use self::app::{Said, Server, app, label, lock, soon};

/// The client's end of a socket, and its user.
struct Socket<S> {
    stream: WebSocketStream<S>,
    owner: String,
}

fn handshake(address: SocketAddr, user: &str, tenant: &str) -> Request<()> {
    let mut request = format!("ws://{address}/")
        .into_client_request()
        .expect("a handshake");
    let headers = request.headers_mut();
    headers.insert("x-user-id", user.parse().expect("a header's value"));
    headers.insert("x-tenant-id", tenant.parse().expect("a header's value"));
    request
}

/// Opens a socket and waits until the server has added it to its hub.
async fn connect(address: SocketAddr, user: &str, tenant: &str) -> Socket<TcpStream> {
    let stream = TcpStream::connect(address).await.expect("a connection");
    let (stream, _) = client_async(handshake(address, user, tenant), stream)
        .await
        .expect("a socket");
    Socket::ready(stream, user, tenant).await
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    async fn ready(stream: WebSocketStream<S>, user: &str, tenant: &str) -> Self {
        let owner = format!("{user}@{tenant}");
        let mut socket = Self { stream, owner };
        socket.hears("ready").await;
        socket
    }

    async fn send(&mut self, text: &str) {
        let sent = self.stream.send(tungstenite::Message::text(text)).await;
        sent.expect("the server listens");
    }

    /// Checks that the server's next message is this one and belongs to the socket's user in every part.
    async fn hears(&mut self, text: &str) {
        let message = soon("the server says something", self.stream.next()).await;
        let message = message.expect("not its end").expect("a message");
        let said: Said = serde_json::from_str(message.to_text().expect("text")).expect("JSON");
        let own = Said {
            text: text.to_owned(),
            from: self.owner.clone(),
            factory: self.owner.clone(),
            handle: self.owner.clone(),
            scope: self.owner.clone(),
        };
        assert_eq!(said, own, "what the socket of {} hears", self.owner);
    }

    /// Checks that only messages of its own user have reached the socket so far.
    async fn is_still_its_own(&mut self) {
        self.send("whose").await;
        self.hears("yours").await;
    }

    async fn leave(mut self, how: Leaves) {
        match how {
            Leaves::Closes => {
                let reason = CloseFrame {
                    code: CloseCode::Normal,
                    reason: "done".into(),
                };
                self.stream.close(Some(reason)).await.expect("a goodbye");
                while self.stream.next().await.is_some() {}
            }
            Leaves::Vanishes => {}
            Leaves::VanishesWithMessagesUnread => {
                // The system resets a connection that is dropped with unread data.
                for _ in 0..50 {
                    self.send("whose").await;
                }
                self.hears("yours").await;
            }
            Leaves::IsToldTo => {
                self.send("end").await;
                while self.stream.next().await.is_some_and(|end| end.is_ok()) {}
            }
            Leaves::SeesTheServerPanic => {
                self.send("panic").await;
                while self.stream.next().await.is_some_and(|end| end.is_ok()) {}
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Leaves {
    Closes,
    Vanishes,
    VanishesWithMessagesUnread,
    IsToldTo,
    SeesTheServerPanic,
}

impl Leaves {
    const ALL: [Self; 5] = [
        Self::Closes,
        Self::Vanishes,
        Self::VanishesWithMessagesUnread,
        Self::IsToldTo,
        Self::SeesTheServerPanic,
    ];
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b31_a_socket_keeps_its_scope_until_it_ends_however_it_ends() {
    let mut server = Server::start().await;
    let mut bystander = connect(server.address, "bob", "acme").await;
    for how in Leaves::ALL {
        let mut socket = connect(server.address, "alice", "acme").await;
        for _ in 0..20 {
            socket.is_still_its_own().await;
            bystander.is_still_its_own().await;
        }
        assert!(
            server.closings.try_recv().is_err(),
            "a socket that lives has an open scope, before it {how:?}"
        );
        socket.leave(how).await;
        let ending = match how {
            Leaves::SeesTheServerPanic => Ending::Panicked,
            _ => Ending::Completed,
        };
        assert_eq!(
            server.closing().await,
            ("alice@acme".to_owned(), ending, 1),
            "one closing for one that {how:?}, when its factory is gone and only bob's is left"
        );
        bystander.is_still_its_own().await;
        assert!(
            server.closings.try_recv().is_err(),
            "nobody else's scope closed where one {how:?}"
        );
    }
    bystander.leave(Leaves::Closes).await;
    assert_eq!(server.closing().await.0, "bob@acme");
    server.assert_empty().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b34_a_client_that_is_gone_before_it_has_its_socket_leaves_nothing() {
    const ROUNDS: usize = 50;
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async { drop(stopped.await) };
    let (mut server, serving) = Server::start_until(stopped).await;
    let (bytes, _) =
        generate_request(handshake(server.address, "alice", "acme")).expect("a handshake");
    for round in 0..ROUNDS {
        let stream = TcpStream::connect(server.address).await;
        let mut stream = stream.expect("a connection");
        stream.write_all(&bytes).await.expect("sent");
        if round % 2 == 0 {
            // A message that is sent and not read resets the connection.
            stream.readable().await.expect("an answer");
        }
    }
    stop.send(()).expect("the server listens");
    soon("every connection is over", serving)
        .await
        .expect("no panic");
    let opened = server.shared.opened.load(Ordering::SeqCst);
    assert!(opened >= ROUNDS / 2, "most were answered: {opened}");
    for _ in 0..opened {
        assert_eq!(server.closing().await.0, "alice@acme");
    }
    server.assert_empty().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b31_a_job_that_outlives_its_socket_keeps_the_scope_until_it_lets_go() {
    let mut server = Server::start().await;
    let mut socket = connect(server.address, "alice", "acme").await;
    socket.send("keep").await;
    socket.hears("kept").await;
    socket.leave(Leaves::Closes).await;
    let mut connected = server.shared.hub.connected.subscribe();
    soon("the socket's task ends", connected.wait_for(|n| *n == 0))
        .await
        .expect("the server lives");
    assert!(server.closings.try_recv().is_err(), "the job goes on");

    let kept = lock(&server.shared.elsewhere).pop().expect("a handle");
    assert_eq!(label(&kept.owner), "alice@acme", "and still has its own");
    drop(kept);
    let (owner, ending, alive) = server.closing().await;
    assert_eq!((owner.as_str(), ending), ("alice@acme", Ending::Completed));
    assert_eq!(alive, 0, "with the factory gone");
    server.assert_empty().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b31_in_the_task_of_a_socket_another_users_factory_is_refused() {
    let mut server = Server::start().await;
    let mut alice = connect(server.address, "alice", "acme").await;
    alice.send("keep").await;
    alice.hears("kept").await;
    let mut again = connect(server.address, "alice", "acme").await;
    again.send("use what was kept").await;
    again.hears("[true]").await;
    for (user, tenant) in [("bob", "acme"), ("alice", "globex")] {
        let mut other = connect(server.address, user, tenant).await;
        other.send("use what was kept").await;
        other.hears("[false]").await;
    }
    let alarms = server.shared.alarms.swap(0, Ordering::SeqCst);
    assert_eq!(alarms, 2, "and each attempt is audited");
    drop((alice, again));
    lock(&server.shared.elsewhere).clear();
    for _ in 0..4 {
        server.closing().await;
    }
    server.assert_empty().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b30_events_reach_every_socket_of_their_own_user_and_no_other() {
    let mut server = Server::start().await;
    // The same name in two tenants is two users.
    let mut sockets = Vec::new();
    for (user, tenant) in [("alice", "acme"), ("bob", "acme"), ("alice", "globex")] {
        for _ in 0..3 {
            sockets.push(connect(server.address, user, tenant).await);
        }
    }
    for number in 0..10 {
        for speaker in [0, 3, 6] {
            let text = format!("{number} by socket {speaker}");
            sockets[speaker].send(&text).await;
            for socket in &mut sockets[speaker..speaker + 3] {
                socket.hears(&text).await;
            }
        }
        for socket in &mut sockets {
            socket.is_still_its_own().await;
        }
    }
    drop(sockets);
    for _ in 0..9 {
        server.closing().await;
    }
    server.assert_empty().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn b30_the_same_holds_for_many_users_that_connect_drop_and_come_back() {
    const USERS: usize = 30;
    const ROUNDS: usize = 6;
    const SOCKETS: usize = 3;
    let mut server = Server::start().await;
    let address = server.address;
    let mut users = JoinSet::new();
    for number in 0..USERS {
        users.spawn(async move {
            let user = format!("user-{}", number / 2);
            let tenant = ["acme", "globex"][number % 2];
            for round in 0..ROUNDS {
                let sockets = (0..SOCKETS).map(|_| connect(address, &user, tenant));
                let mut sockets = join_all(sockets).await;
                let text = format!("round {round}");
                sockets[round % SOCKETS].send(&text).await;
                for (place, mut socket) in sockets.into_iter().enumerate() {
                    socket.hears(&text).await;
                    socket.is_still_its_own().await;
                    let how = Leaves::ALL[(number + round + place) % Leaves::ALL.len()];
                    socket.leave(how).await;
                }
            }
        });
    }
    while let Some(user) = users.join_next().await {
        user.expect("every socket heard its own");
    }
    let mut closed = HashMap::<_, usize>::new();
    for _ in 0..USERS * ROUNDS * SOCKETS {
        *closed.entry(server.closing().await.0).or_default() += 1;
    }
    assert_eq!(closed.len(), USERS, "every user's");
    assert!(
        closed.values().all(|count| *count == ROUNDS * SOCKETS),
        "one closing for each socket of each user: {closed:?}"
    );
    let opened = server.shared.opened.load(Ordering::SeqCst);
    assert_eq!(opened, USERS * ROUNDS * SOCKETS, "and no others opened");
    server.assert_empty().await;
}

/// RFC 8441: many sockets share one connection, and each has its own user.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b31_sockets_of_two_users_on_one_http2_connection_keep_their_own() {
    let (router, shared, closings) = app();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let (stream, peer) = listener.accept().await.expect("a connection");
        let service = tower::ServiceBuilder::new()
            .layer(tower_http::add_extension::AddExtensionLayer::new(PeerAddr(
                peer,
            )))
            .service(router);
        let service = TowerToHyperService::new(service);
        hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .enable_connect_protocol()
            .serve_connection(TokioIo::new(stream), service)
            .await
    });
    let mut server = Server {
        address,
        shared,
        closings,
    };
    let stream = TcpStream::connect(address).await.expect("a connection");
    let io = TokioIo::new(stream);
    let (sender, connection) =
        hyper::client::conn::http2::handshake::<_, _, Body>(TokioExecutor::new(), io)
            .await
            .expect("an HTTP/2 connection");
    tokio::spawn(connection);

    let mut sockets = Vec::new();
    for user in ["alice", "bob"] {
        let mut request = handshake(address, user, "acme").map(|()| Body::empty());
        *request.method_mut() = Method::CONNECT;
        *request.uri_mut() = format!("http://{address}/").parse().expect("a URI");
        for name in ["connection", "upgrade", "sec-websocket-key", "host"] {
            request.headers_mut().remove(name);
        }
        let protocol = hyper::ext::Protocol::from_static("websocket");
        request.extensions_mut().insert(protocol);
        let response = sender.clone().send_request(request).await;
        let mut response = response.expect("an answer");
        assert_eq!(response.status(), StatusCode::OK, "a tunnel for {user}");
        let io = hyper::upgrade::on(&mut response).await.expect("a tunnel");
        let stream = WebSocketStream::from_raw_socket(TokioIo::new(io), Role::Client, None).await;
        sockets.push(Socket::ready(stream, user, "acme").await);
    }
    for _ in 0..20 {
        for socket in &mut sockets {
            socket.is_still_its_own().await;
        }
    }
    assert!(server.closings.try_recv().is_err(), "both live");
    for owner in ["bob@acme", "alice@acme"] {
        drop(sockets.pop());
        let (closed, ending, alive) = server.closing().await;
        assert_eq!((closed.as_str(), ending), (owner, Ending::Completed));
        assert_eq!(alive, sockets.len(), "{owner}'s factory is gone, no other");
        for socket in &mut sockets {
            socket.is_still_its_own().await;
        }
    }
    server.assert_empty().await;
}
