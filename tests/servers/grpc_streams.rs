//! B31, B34: a gRPC stream, one-way or two-way, keeps its user until it ends, and its
//! scope closes once, with the right ending, whichever side ends it.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use futures::{
    FutureExt, Stream, StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use http::uri::PathAndQuery;
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinSet,
};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{
    Code, Request, Response, Status, Streaming, async_trait,
    body::Body,
    metadata::MetadataMap,
    server::{NamedService, StreamingService},
    transport::{
        Channel,
        server::{Server, TcpIncoming},
    },
};
use tonic_prost::ProstCodec;
use tower::Service;
use tower_user_scope::{
    Scoped, TrustedHeader, UserContext, UserScopeExt, UserScopeLayer, audit::AuditEvent,
    scope::Ending,
};

use crate::support::{
    Seen, Sent, Whose, soon,
    tonic::whoami::{
        Question,
        who_am_i_client::WhoAmIClient,
        who_am_i_server::{WhoAmI, WhoAmIServer},
    },
};

/// The number of messages of a stream before it ends in the requested way.
const ANSWERS: usize = 5;

/// The server's action at the end.
#[derive(Clone, Copy, Debug)]
enum Finish {
    Well,
    WithAnError,
    InAPanic,
    /// The stream continues for ever.
    Never,
}

impl Finish {
    const ALL: [Self; 4] = [Self::Well, Self::WithAnError, Self::InAPanic, Self::Never];

    fn asked_for<T>(request: &Request<T>) -> Self {
        let name = request.metadata().get("x-finish").expect("every test says");
        let finish = Self::ALL.into_iter().find(|it| *name == *it.name());
        finish.expect("one that there is")
    }

    fn name(self) -> String {
        format!("{self:?}")
    }

    async fn happen(self) -> Option<Result<Seen, Status>> {
        match self {
            Self::Well => None,
            Self::WithAnError => Some(Err(Status::data_loss("planted"))),
            Self::InAPanic => panic!("planted in a gRPC stream"),
            Self::Never => std::future::pending().await,
        }
    }
}

/// The counters of all requests.
struct Shared {
    alive: watch::Sender<usize>,
    entered: watch::Sender<usize>,
    alarms: AtomicUsize,
}

struct Agents {
    owner: UserContext,
    shared: Arc<Shared>,
}

impl Drop for Agents {
    fn drop(&mut self) {
        self.shared.alive.send_modify(|alive| *alive -= 1);
    }
}

fn look(agents: &Scoped<Agents>, context: &UserContext) -> Seen {
    let whose = |user: &UserContext| Whose {
        who: user.user_id().map_or_else(String::new, ToString::to_string),
        request_id: user.request_id().to_string(),
    };
    Seen {
        context: Some(whose(context)),
        factory: Some(whose(&agents.owner)),
        handle: Some(whose(Scoped::context(agents))),
        scope: UserContext::current().as_ref().map(whose),
        ..Seen::default()
    }
}

/// One message for each question, and then the requested end.
fn answers<T>(
    request: &Request<T>,
    questions: impl Stream<Item = Result<Question, Status>> + Send + 'static,
) -> Result<BoxStream<'static, Result<Seen, Status>>, Status> {
    let agents = request.scoped::<Agents>()?.clone();
    let context = request.user_context()?.clone();
    agents.shared.entered.send_modify(|entered| *entered += 1);
    let finish = Finish::asked_for(request);
    let looks = questions.then(move |question| {
        let (agents, context) = (agents.clone(), context.clone());
        async move {
            tokio::task::yield_now().await;
            question.map(|_| look(&agents, &context))
        }
    });
    let end = stream::once(finish.happen()).filter_map(std::future::ready);
    Ok(looks.chain(end).boxed())
}

struct Generated;

#[async_trait]
impl WhoAmI for Generated {
    /// Ends before the first message.
    async fn ask(&self, request: Request<Question>) -> Result<Response<Seen>, Status> {
        let mut end = answers(&request, stream::empty())?;
        match end.next().await {
            Some(end) => end.map(Response::new),
            None => Ok(Response::new(Seen::default())),
        }
    }

    type WatchStream = BoxStream<'static, Result<Seen, Status>>;

    async fn watch(
        &self,
        request: Request<Question>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let times = request.get_ref().times as usize;
        let questions = stream::repeat(Question::default()).map(Ok).take(times);
        answers(&request, questions).map(Response::new)
    }
}

/// The same with a stream of questions, for which the proto file has no method.
#[derive(Clone)]
struct Chat;

impl NamedService for Chat {
    const NAME: &'static str = "whoami.Chat";
}

impl Service<http::Request<Body>> for Chat {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        async move {
            let codec = ProstCodec::<Seen, Question>::default();
            let mut server = tonic::server::Grpc::new(codec);
            Ok(server.streaming(Self, request).await)
        }
        .boxed()
    }
}

impl StreamingService<Question> for Chat {
    type Response = Seen;
    type ResponseStream = BoxStream<'static, Result<Seen, Status>>;
    type Future = BoxFuture<'static, Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<Question>>) -> Self::Future {
        let (metadata, extensions, questions) = request.into_parts();
        let request = Request::from_parts(metadata, extensions, ());
        let answers = answers(&request, questions).map(Response::new);
        async move { answers }.boxed()
    }
}

/// A closed scope: its user and its ending.
type Closing = (String, Ending);

struct Running {
    address: SocketAddr,
    shared: Arc<Shared>,
    closings: mpsc::UnboundedReceiver<Closing>,
}

impl Running {
    async fn start() -> Self {
        let shared = Arc::new(Shared {
            alive: watch::Sender::new(0),
            entered: watch::Sender::new(0),
            alarms: AtomicUsize::new(0),
        });
        let (closed, closings) = mpsc::unbounded_channel();
        let (builds, observes) = (shared.clone(), shared.clone());
        let layer = UserScopeLayer::builder()
            .strategy(
                TrustedHeader::new("x-user-id")
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
                if matches!(
                    event,
                    AuditEvent::CrossUserAccess { .. } | AuditEvent::FactoryRetained { .. }
                ) {
                    observes.alarms.fetch_add(1, Ordering::SeqCst);
                }
            })
            .on_close(move |scope| {
                let agents = scope.scoped::<Agents>().expect("still there");
                let owner = agents.owner.user_id().map(ToString::to_string);
                let _ = closed.send((owner.unwrap_or_default(), scope.ending()));
            })
            .build()
            .expect("a valid configuration");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(
            Server::builder()
                .layer(layer)
                .add_service(WhoAmIServer::new(Generated))
                .add_service(Chat)
                .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true))),
        );
        Self {
            address,
            shared,
            closings,
        }
    }

    async fn closing(&mut self) -> Closing {
        let closing = soon("a scope closes", self.closings.recv()).await;
        closing.expect("the layer lives")
    }

    async fn assert_empty(&mut self) {
        let mut alive = self.shared.alive.subscribe();
        soon("the last factory is gone", alive.wait_for(|n| *n == 0))
            .await
            .expect("the server lives");
        assert!(self.closings.try_recv().is_err(), "no scope closed twice");
        assert_eq!(self.shared.alarms.load(Ordering::SeqCst), 0, "no alarm");
    }
}

async fn connect(address: SocketAddr) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{address}")).expect("a URI");
    endpoint.connect().await.expect("a connection")
}

fn request<T>(user: &str, finish: Finish, message: T) -> Request<T> {
    let sent = Sent::with(&[("x-user-id", user), ("x-finish", &finish.name())]);
    let metadata = MetadataMap::from_headers(sent.headers);
    Request::from_parts(metadata, http::Extensions::new(), message)
}

/// An open stream, with the sender of questions if it is two-way.
struct Asking {
    user: String,
    request_id: Option<String>,
    answers: Streaming<Seen>,
    questions: Option<mpsc::UnboundedSender<Question>>,
}

impl Asking {
    async fn watch(channel: &Channel, user: &str, finish: Finish, times: u32) -> Self {
        let mut client = WhoAmIClient::new(channel.clone());
        let request = request(user, finish, Question { times });
        let answers = client.watch(request).await.expect("a stream").into_inner();
        Self {
            user: user.to_owned(),
            request_id: None,
            answers,
            questions: None,
        }
    }

    async fn chat(channel: &Channel, user: &str, finish: Finish) -> Self {
        let mut client = tonic::client::Grpc::new(channel.clone());
        client.ready().await.expect("an open connection");
        let (questions, asked) = mpsc::unbounded_channel();
        let request = request(user, finish, UnboundedReceiverStream::new(asked));
        let path = PathAndQuery::from_static("/whoami.Chat/Talk");
        let codec = ProstCodec::<Question, Seen>::default();
        let answers = client.streaming(request, path, codec).await;
        Self {
            user: user.to_owned(),
            request_id: None,
            answers: answers.expect("a stream").into_inner(),
            questions: Some(questions),
        }
    }

    /// Sends a question if the stream is two-way, and checks that the message is the stream's own user's.
    async fn next(&mut self) {
        if let Some(questions) = &self.questions {
            questions
                .send(Question::default())
                .expect("the stream lives");
        }
        let next = soon("an answer", self.answers.message()).await;
        let seen = next.expect("no error yet").expect("not its end");
        let whose = seen.whose().expect("everything agrees");
        assert_eq!(whose.who, self.user, "the stream's own user");
        let first = self.request_id.get_or_insert(whose.request_id.clone());
        assert_eq!(*first, whose.request_id, "and its own request");
    }

    /// Sends no more questions and reads the rest.
    async fn end(mut self) -> Code {
        drop(self.questions.take());
        loop {
            match soon("the stream ends", self.answers.message()).await {
                Ok(None) => return Code::Ok,
                Ok(Some(seen)) => {
                    let whose = seen.whose().expect("everything agrees");
                    assert_eq!(whose.who, self.user, "the stream's own user");
                }
                Err(status) => return status.code(),
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Rpc {
    Ask,
    Watch,
    Chat,
}

/// The call, the server's action at the end, and the ending of the scope. A client reads to the end, or
/// disconnects if there is none.
const CASES: [(Rpc, Finish, Ending); 11] = [
    // A status is a complete response.
    (Rpc::Ask, Finish::WithAnError, Ending::Completed),
    (Rpc::Ask, Finish::InAPanic, Ending::Panicked),
    (Rpc::Ask, Finish::Never, Ending::Cancelled),
    (Rpc::Watch, Finish::Well, Ending::Completed),
    (Rpc::Watch, Finish::WithAnError, Ending::Completed),
    (Rpc::Watch, Finish::InAPanic, Ending::Panicked),
    (Rpc::Watch, Finish::Never, Ending::Cancelled),
    (Rpc::Chat, Finish::Well, Ending::Completed),
    (Rpc::Chat, Finish::WithAnError, Ending::Completed),
    (Rpc::Chat, Finish::InAPanic, Ending::Panicked),
    (Rpc::Chat, Finish::Never, Ending::Cancelled),
];

/// One call and how its user ends it.
async fn make(
    channel: Channel,
    entered: watch::Sender<usize>,
    user: &str,
    rpc: Rpc,
    finish: Finish,
) {
    let mut asking = match rpc {
        Rpc::Ask => {
            let before = *entered.borrow();
            let mut client = WhoAmIClient::new(channel);
            let call = client.ask(request(user, finish, Question::default()));
            if matches!(finish, Finish::Never) {
                let mut entered = entered.subscribe();
                tokio::select! {
                    answer = call => panic!("an answer: {answer:?}"),
                    handled = entered.wait_for(|entered| *entered > before) => {
                        drop(handled.expect("the server lives"));
                    }
                }
                return;
            }
            let status = soon("an answer", call).await.expect_err("no answer");
            assert_end(finish, status.code());
            return;
        }
        Rpc::Watch => {
            let times = u32::try_from(ANSWERS).expect("a few");
            Asking::watch(&channel, user, finish, times).await
        }
        Rpc::Chat => Asking::chat(&channel, user, finish).await,
    };
    // A panic resets the stream, and messages that were not read are lost.
    let sure = match (rpc, finish) {
        (Rpc::Watch, Finish::InAPanic) => 0,
        _ => ANSWERS,
    };
    for _ in 0..sure {
        asking.next().await;
    }
    if !matches!(finish, Finish::Never) {
        assert_end(finish, asking.end().await);
    }
}

fn assert_end(finish: Finish, code: Code) {
    match finish {
        Finish::Well | Finish::Never => assert_eq!(code, Code::Ok, "{finish:?}"),
        Finish::WithAnError => assert_eq!(code, Code::DataLoss, "{finish:?}"),
        Finish::InAPanic => assert_ne!(code, Code::Ok, "a stream that broke has no good end"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b31_a_stream_closes_once_with_the_right_ending_however_it_ends() {
    let mut running = Running::start().await;
    let channel = connect(running.address).await;
    let mut bystander = Asking::chat(&channel, "bob", Finish::Well).await;
    bystander.next().await;
    for (rpc, finish, ending) in CASES {
        let entered = running.shared.entered.clone();
        make(channel.clone(), entered, "alice", rpc, finish).await;
        assert_eq!(
            running.closing().await,
            ("alice".to_owned(), ending),
            "one closing for {rpc:?} that finishes {finish:?}"
        );
        bystander.next().await;
        assert!(
            running.closings.try_recv().is_err(),
            "bob's stream on the same connection goes on after {rpc:?} {finish:?}"
        );
    }
    assert_eq!(bystander.end().await, Code::Ok, "until he ends it");
    let last = running.closing().await;
    assert_eq!(last, ("bob".to_owned(), Ending::Completed));
    running.assert_empty().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b31_streams_of_two_users_on_one_connection_keep_their_own() {
    let mut running = Running::start().await;
    let channel = connect(running.address).await;
    let mut streams = Vec::new();
    for user in ["alice", "bob"] {
        streams.push(Asking::watch(&channel, user, Finish::Never, 1_000).await);
        streams.push(Asking::chat(&channel, user, Finish::Never).await);
    }
    for _ in 0..50 {
        futures::future::join_all(streams.iter_mut().map(Asking::next)).await;
    }
    assert!(running.closings.try_recv().is_err(), "all four live");
    while let Some(stream) = streams.pop() {
        let gone = (stream.user.clone(), Ending::Cancelled);
        drop(stream);
        assert_eq!(running.closing().await, gone, "broken off in the middle");
        for _ in 0..10 {
            futures::future::join_all(streams.iter_mut().map(Asking::next)).await;
        }
        assert!(running.closings.try_recv().is_err(), "the others go on");
    }
    running.assert_empty().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn b34_many_users_at_once_leave_nothing_and_mix_nothing() {
    const USERS: usize = 24;
    let mut running = Running::start().await;
    let channels = [
        connect(running.address).await,
        connect(running.address).await,
    ];
    let mut users = JoinSet::new();
    for number in 0..USERS {
        let channel = channels[number % channels.len()].clone();
        let entered = running.shared.entered.clone();
        users.spawn(async move {
            let user = format!("user-{number}");
            for place in 0..CASES.len() {
                let (rpc, finish, _) = CASES[(number + place) % CASES.len()];
                // The number of entered handlers is not known here, because others enter at the same time.
                if !matches!((rpc, finish), (Rpc::Ask, Finish::Never)) {
                    make(channel.clone(), entered.clone(), &user, rpc, finish).await;
                }
            }
        });
    }
    while let Some(user) = users.join_next().await {
        user.expect("every user was answered as they should be");
    }
    let mut expected = HashMap::new();
    for number in 0..USERS {
        for (rpc, finish, ending) in CASES {
            if !matches!((rpc, finish), (Rpc::Ask, Finish::Never)) {
                let closing = (format!("user-{number}"), ending);
                *expected.entry(closing).or_insert(0) += 1;
            }
        }
    }
    let mut closed = HashMap::new();
    for _ in 0..expected.values().sum() {
        *closed.entry(running.closing().await).or_insert(0) += 1;
    }
    assert_eq!(closed, expected, "each scope once, with its ending");
    running.assert_empty().await;
}

/// A network that drops all packets of the clients, as a server sees it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b34_a_connection_that_breaks_closes_the_scopes_of_all_its_streams() {
    const STREAMS: usize = 20;
    let mut running = Running::start().await;
    let elsewhere = tokio::runtime::Runtime::new().expect("a runtime");
    let (ready, mut streaming) = mpsc::unbounded_channel();
    let address = running.address;
    elsewhere.spawn(async move {
        let channel = connect(address).await;
        let mut streams = Vec::new();
        for number in 0..STREAMS {
            let user = format!("user-{number}");
            let mut stream = match number % 2 {
                0 => Asking::watch(&channel, &user, Finish::Never, 1).await,
                _ => Asking::chat(&channel, &user, Finish::Never).await,
            };
            stream.next().await;
            ready.send(user).expect("the test waits");
            streams.push(stream);
        }
        std::future::pending::<()>().await;
    });
    let mut open = Vec::new();
    for _ in 0..STREAMS {
        open.push(soon("a stream", streaming.recv()).await.expect("a user"));
    }
    assert!(running.closings.try_recv().is_err(), "all of them live");
    elsewhere.shutdown_background();
    let mut closed = Vec::new();
    for _ in 0..STREAMS {
        let (user, ending) = running.closing().await;
        assert_eq!(ending, Ending::Cancelled, "{user}'s stream was cut");
        closed.push(user);
    }
    open.sort();
    closed.sort();
    assert_eq!(closed, open, "each closed once");
    running.assert_empty().await;
}
