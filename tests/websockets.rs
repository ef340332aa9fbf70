//! B30, B31: the events of a hub reach the sockets of their own user and no other, and a
//! WebSocket keeps its handshake's user, factory and scope until its last handle is gone.

use std::{
    collections::HashMap,
    future::Future,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{
        State,
        ws::{Message, WebSocket, WebSocketUpgrade},
    },
    response::Response,
    routing::any,
};
use futures::{SinkExt, StreamExt, future::join_all};
use http::{Method, Request, StatusCode};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot, watch},
    task::{JoinHandle, JoinSet},
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
use tower_user_scope::{
    AuditEvent, Ending, InstrumentScope, PeerAddr, Scoped, Subject, TrustedHeader, UserContext,
    UserScopeLayer,
};

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for what is about to happen; a test that would hang fails instead.
async fn soon<T>(what: &str, happens: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), happens)
        .await
        .unwrap_or_else(|_| panic!("never happened: {what}"))
}

/// Whose sockets want to hear what, as many a service has it.
struct Hub {
    rooms: Mutex<HashMap<Subject, HashMap<usize, mpsc::UnboundedSender<Event>>>>,
    next: AtomicUsize,
    connected: watch::Sender<usize>,
}

#[derive(Clone)]
struct Event {
    from: String,
    text: String,
}

impl Hub {
    fn publish(&self, to: &Subject, event: &Event) {
        for socket in lock(&self.rooms).get(to).into_iter().flatten() {
            // One that is about to leave hears nothing more.
            let _ = socket.1.send(event.clone());
        }
    }
}

/// A socket's place in the hub, until it is dropped.
struct Subscription {
    hub: Arc<Hub>,
    room: Subject,
    number: usize,
    events: mpsc::UnboundedReceiver<Event>,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut rooms = lock(&self.hub.rooms);
        if let Some(room) = rooms.get_mut(&self.room) {
            room.remove(&self.number);
            if room.is_empty() {
                rooms.remove(&self.room);
            }
        }
        self.hub.connected.send_modify(|connected| *connected -= 1);
    }
}

/// What each handshake gets.
struct Agents {
    owner: UserContext,
    shared: Arc<Shared>,
}

impl Agents {
    fn subscribe(&self) -> Subscription {
        let hub = Arc::clone(&self.shared.hub);
        let room = self.owner.subject().clone();
        let number = hub.next.fetch_add(1, Ordering::SeqCst);
        let (sender, events) = mpsc::unbounded_channel();
        let mut rooms = lock(&hub.rooms);
        rooms
            .entry(room.clone())
            .or_default()
            .insert(number, sender);
        drop(rooms);
        hub.connected.send_modify(|connected| *connected += 1);
        Subscription {
            hub,
            room,
            number,
            events,
        }
    }

    fn say(&self, text: &str) {
        let event = Event {
            from: label(&self.owner),
            text: text.to_owned(),
        };
        self.shared.hub.publish(self.owner.subject(), &event);
    }
}

impl Drop for Agents {
    fn drop(&mut self) {
        self.shared.alive.send_modify(|alive| *alive -= 1);
    }
}

/// What all users share.
struct Shared {
    hub: Arc<Hub>,
    alive: watch::Sender<usize>,
    opened: AtomicUsize,
    /// Factories in strange scopes, or held beyond their own.
    alarms: AtomicUsize,
    /// A place outside every request, for handles that outlive their socket.
    elsewhere: Mutex<Vec<Scoped<Agents>>>,
}

/// A scope that has closed: whose, how, and how many factories lived then.
type Closing = (String, Ending, usize);

fn label(user: &UserContext) -> String {
    let tenant = user.tenant_id().map_or("nowhere", |id| id.as_str());
    let user = user.user_id().map_or("nobody", |id| id.as_str());
    format!("{user}@{tenant}")
}

/// What the server says, and whose it is by everything that could tell.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Said {
    text: String,
    from: String,
    factory: String,
    handle: String,
    scope: String,
}

impl Said {
    fn new(event: Event, agents: &Scoped<Agents>) -> Self {
        Self {
            text: event.text,
            from: event.from,
            factory: label(&agents.owner),
            handle: label(Scoped::context(agents)),
            scope: UserContext::current().map_or_else(|| "none".to_owned(), |user| label(&user)),
        }
    }
}

async fn open(
    upgrade: WebSocketUpgrade,
    agents: Scoped<Agents>,
    context: UserContext,
    State(shared): State<Arc<Shared>>,
) -> Response {
    upgrade.on_upgrade(|socket| serve(socket, agents, shared).in_scope(context))
}

async fn serve(mut socket: WebSocket, agents: Scoped<Agents>, shared: Arc<Shared>) {
    let mut subscription = agents.subscribe();
    let own = |text: &str| Event {
        from: label(&agents.owner),
        text: text.to_owned(),
    };
    let mut event = own("ready");
    loop {
        let said = serde_json::to_string(&Said::new(event, &agents)).expect("plain text");
        if socket.send(Message::Text(said.into())).await.is_err() {
            return;
        }
        event = loop {
            let message = tokio::select! {
                Some(event) = subscription.events.recv() => break event,
                message = socket.recv() => message,
            };
            let text = match message {
                Some(Ok(Message::Text(text))) => text,
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => continue,
            };
            match text.as_str() {
                "whose" => break own("yours"),
                "end" => return,
                "panic" => panic!("planted in the task of a socket"),
                "keep" => {
                    lock(&shared.elsewhere).push(Scoped::keep(&agents));
                    break own("kept");
                }
                "use what was kept" => {
                    let used = lock(&shared.elsewhere)
                        .iter()
                        .map(|kept| Scoped::try_get(kept).is_ok())
                        .collect::<Vec<_>>();
                    break own(&format!("{used:?}"));
                }
                text => agents.say(text),
            }
        };
    }
}

struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    closings: mpsc::UnboundedReceiver<Closing>,
}

fn app() -> (Router, Arc<Shared>, mpsc::UnboundedReceiver<Closing>) {
    let hub = Arc::new(Hub {
        rooms: Mutex::default(),
        next: AtomicUsize::new(0),
        connected: watch::Sender::new(0),
    });
    let shared = Arc::new(Shared {
        hub,
        alive: watch::Sender::new(0),
        opened: AtomicUsize::new(0),
        alarms: AtomicUsize::new(0),
        elsewhere: Mutex::default(),
    });
    let (closed, closings) = mpsc::unbounded_channel();
    let (builds, observes, at_close) = (shared.clone(), shared.clone(), shared.clone());
    let layer = UserScopeLayer::builder()
        .strategy(
            TrustedHeader::new("x-user-id")
                .tenant_header("x-tenant-id")
                .from_proxies(["127.0.0.1"])
                .expect("an address"),
        )
        .factory(move |user: &UserContext| {
            builds.alive.send_modify(|alive| *alive += 1);
            Agents {
                owner: user.clone(),
                shared: builds.clone(),
            }
        })
        .observer(move |event: &AuditEvent<'_>| {
            let count = match event {
                AuditEvent::Accepted { .. } => &observes.opened,
                AuditEvent::CrossUserAccess { .. } | AuditEvent::FactoryRetained { .. } => {
                    &observes.alarms
                }
                _ => return,
            };
            count.fetch_add(1, Ordering::SeqCst);
        })
        .on_close(move |scope| {
            let closing = (
                label(scope.context()),
                scope.ending(),
                *at_close.alive.borrow(),
            );
            let _ = closed.send(closing);
        })
        .build()
        .expect("a valid configuration");
    let router = Router::new()
        .route("/", any(open))
        .with_state(shared.clone())
        .layer(layer);
    (router, shared, closings)
}

impl Server {
    async fn start() -> Self {
        Self::start_until(std::future::pending()).await.0
    }

    /// One that ends when it is told to and every connection is over.
    async fn start_until(
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> (Self, JoinHandle<()>) {
        let (router, shared, closings) = app();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        let serving = axum::serve(listener, service).with_graceful_shutdown(stop);
        let serving = tokio::spawn(async move { serving.await.expect("axum serves") });
        let server = Self {
            address,
            shared,
            closings,
        };
        (server, serving)
    }

    async fn closing(&mut self) -> Closing {
        let closing = soon("a scope closes", self.closings.recv()).await;
        closing.expect("the layer lives")
    }

    /// Nothing is left of anybody, and nobody was given what is another's.
    async fn assert_empty(&mut self) {
        let mut alive = self.shared.alive.subscribe();
        soon("the last factory is gone", alive.wait_for(|n| *n == 0))
            .await
            .expect("the server lives");
        assert!(self.closings.try_recv().is_err(), "no scope closed twice");
        assert!(lock(&self.shared.hub.rooms).is_empty(), "nobody listens");
        assert_eq!(self.shared.alarms.load(Ordering::SeqCst), 0, "no alarm");
    }
}

/// A client's end of a socket, and whose it is.
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

/// A socket that the server has put into its hub.
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

    /// The next thing that the server says is this, and in every respect the socket's own.
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

    /// Nothing but its own has reached the socket so far.
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
                // The system resets a connection that is dropped with something unread.
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
        assert_eq!(
            server.closing().await,
            ("alice@acme".to_owned(), Ending::Completed, 1),
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
            // Answered, and not read: the connection is reset.
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
