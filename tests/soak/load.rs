//! B11, B15, B33, B34: under full load on real servers, with faults planted in every stage and
//! clients that disconnect, users stay apart, all requests are counted and no memory is retained. B60:
//! every slot that was taken has come back, and no scope stays in the registry. The metrics and the
//! audit log of all of it say what the test knows.
//!
//! It runs for a few seconds, or for `SOAK_SECONDS`.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    env,
    future::Future,
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    body::{Body, Bytes},
    http::{Request, Response, StatusCode},
};
use futures::{StreamExt, stream};
use http_body_util::BodyExt;
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    net::TcpStream,
    task::{AbortHandle, JoinSet},
};

use crate::{
    log,
    server::{Counts, ENDINGS, MOST_OPEN, Plan, Servers, read, serve, waits},
};

const USERS: u64 = 400;
const HTTP1_CONNECTIONS: u64 = 8;
const HTTP2_CONNECTIONS: u64 = 3;
const STREAMS: u64 = 8;

/// A connection that is reused until it closes.
enum Client {
    Http1(http1::SendRequest<Body>, AbortHandle),
    Http2(http2::SendRequest<Body>),
}

impl Client {
    async fn connect(address: std::net::SocketAddr, http2: bool) -> Self {
        let stream = TcpStream::connect(address).await.expect("a connection");
        stream.set_nodelay(true).expect("a TCP connection");
        let io = TokioIo::new(stream);
        if http2 {
            let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                // Streams are reset here on purpose, more often than the default limit allows.
                .max_local_error_reset_streams(None)
                .handshake(io)
                .await
                .expect("an HTTP/2 connection");
            tokio::spawn(connection);
            Self::Http2(sender)
        } else {
            let (sender, connection) = http1::handshake(io).await.expect("an HTTP connection");
            Self::Http1(sender, tokio::spawn(connection).abort_handle())
        }
    }

    async fn send(&mut self, request: Request<Body>) -> hyper::Result<Response<Incoming>> {
        match self {
            Self::Http1(sender, _) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
            Self::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }

    /// Closes an HTTP/1.1 connection, as a client that disconnects does.
    fn is_cut(&self) -> bool {
        if let Self::Http1(_, connection) = self {
            connection.abort();
        }
        matches!(self, Self::Http1(..))
    }
}

/// The counters of the clients.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) sent: u64,
    answered: u64,
    refused: u64,
    broken: u64,
    left: u64,
    timed_out: u64,
    /// Refusals by status.
    pub(super) refused_with: BTreeMap<u16, u64>,
    pub(super) users: BTreeMap<String, OfUser>,
}

/// The requests of one user.
#[derive(Clone, Copy, Default)]
pub(super) struct OfUser {
    pub(super) sent: u64,
    /// Those that were handled to their end. Of others the client does not know how far they came.
    pub(super) answered: u64,
}

/// Checks that every id in a text is the user's own.
fn assert_own(user: &str, text: &str, plan: Plan) {
    let mut ids = text.match_indices("user-");
    let foreign = ids.find(|(place, _)| !text[*place..].starts_with(user));
    assert_eq!(
        foreign, None,
        "another's id in what {user} got with {plan:?}: {text}"
    );
}

/// Sends one request of a user. Returns whether the connection can be used again.
async fn one(
    client: &mut Client,
    user: &str,
    plan: Plan,
    patience: u64,
    tally: &mut Tally,
) -> bool {
    let body = match plan {
        Plan::LeavesInTheRequest => Body::from_stream(
            stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"half"))])
                .chain(stream::pending()),
        ),
        _ => Body::from("whole"),
    };
    let request = Request::post("http://localhost/")
        .header("host", "localhost")
        .header("x-user", user)
        .header("x-thread-id", log::thread_of(user))
        .header("x-plan", plan.name())
        .body(body)
        .expect("a request");
    tally.sent += 1;
    let of_user = tally.users.entry(user.to_owned()).or_default();
    of_user.sent += 1;
    let mut sending = Box::pin(client.send(request));
    if matches!(plan, Plan::LeavesEarly | Plan::LeavesInTheRequest) {
        for _ in 0..patience {
            if let std::task::Poll::Ready(answer) = futures::poll!(&mut sending) {
                panic!("{plan:?} is never answered, but {user} was: {answer:?}");
            }
            waits(1).await;
        }
        tally.left += 1;
        drop(sending);
        return !client.is_cut();
    }
    let answer = match sending.await {
        Ok(answer) => answer,
        // A panic closes an HTTP/1.1 connection or an HTTP/2 stream.
        Err(error) => {
            let panics = matches!(
                plan,
                Plan::HandlerPanics | Plan::BodyPanics | Plan::BodyFails
            );
            assert!(panics, "{user} with {plan:?}: {error:?}");
            tally.broken += 1;
            return !client.is_cut();
        }
    };
    assert_eq!(answer.status(), plan.status(), "{user} with {plan:?}");
    assert_own(user, &format!("{:?}", answer.headers()), plan);
    let accepted = plan.status() == StatusCode::OK;
    assert_eq!(
        answer.headers().contains_key("x-owner"),
        accepted,
        "an answer to {user} with {plan:?}"
    );
    let mut body = answer.into_body();
    let mut text = String::new();
    loop {
        match body.frame().await {
            None => break,
            Some(Ok(frame)) => {
                let data = frame.into_data().expect("data");
                text.push_str(std::str::from_utf8(&data).expect("text"));
                if plan == Plan::LeavesInTheBody && text.len() > 5_000 {
                    assert_own(user, &text, plan);
                    tally.left += 1;
                    drop(body);
                    return !client.is_cut();
                }
            }
            Some(Err(error)) => {
                let breaks = matches!(plan, Plan::BodyPanics | Plan::BodyFails);
                assert!(breaks, "{user} with {plan:?}: {error:?}");
                assert_own(user, &text, plan);
                tally.broken += 1;
                return !client.is_cut();
            }
        }
    }
    let breaks = matches!(
        plan,
        Plan::HandlerPanics | Plan::BodyPanics | Plan::BodyFails
    );
    assert!(!breaks, "{user} with {plan:?} was to be broken off: {text}");
    assert_own(user, &text, plan);
    if plan == Plan::TimesOut {
        tally.timed_out += 1;
    } else if accepted {
        assert!(
            text.matches(user).count() >= 3,
            "{user}'s own answer: {text}"
        );
        tally.answered += 1;
        tally.users.entry(user.to_owned()).or_default().answered += 1;
    } else {
        assert!(!text.contains("user-"), "a refusal names nobody: {text}");
        tally.refused += 1;
        *tally
            .refused_with
            .entry(plan.status().as_u16())
            .or_default() += 1;
    }
    true
}

/// Pseudo-random numbers that are the same in each run.
fn pick(seed: (u64, u64), below: u64) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one((seed, below)) % below
}

/// Sends requests of alternating users on one connection until the time is over.
async fn take_turns(
    mut client: Client,
    address: std::net::SocketAddr,
    number: u64,
    until: Instant,
) -> Tally {
    let mut tally = Tally::default();
    let mut turn = 0;
    while Instant::now() < until {
        turn += 1;
        let user = format!("user-{:04}", pick((number, turn), USERS));
        let plans = Plan::ALL.len();
        let plan = usize::try_from(pick((turn, number), plans as u64)).expect("a few");
        let patience = pick((number, turn), 40);
        if !one(&mut client, &user, Plan::ALL[plan], patience, &mut tally).await {
            client = Client::connect(address, false).await;
        }
    }
    tally
}

/// Takes all slots of a user: the storm has left every one of them free.
async fn use_up(servers: &Servers, user: &str, tally: &mut Tally) {
    let mut client = Client::connect(servers.addresses[1], true).await;
    let mut open = Vec::new();
    for number in 0..=MOST_OPEN {
        let request = Request::post("http://localhost/")
            .header("x-user", user)
            .header("x-thread-id", log::thread_of(user))
            .header("x-plan", Plan::LeavesInTheBody.name())
            .body(Body::empty())
            .expect("a request");
        let answer = client.send(request).await.expect("an answer");
        tally.sent += 1;
        tally.users.entry(user.to_owned()).or_default().sent += 1;
        if number < MOST_OPEN {
            assert_eq!(answer.status(), StatusCode::OK, "slot {number} of {user}");
            tally.left += 1;
            open.push(answer);
        } else {
            assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
            tally.refused += 1;
            *tally.refused_with.entry(429).or_default() += 1;
        }
    }
}

/// Waits until the condition holds. A test that would hang fails.
async fn soon<T>(what: &str, happens: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), happens)
        .await
        .unwrap_or_else(|_| panic!("never happened: {what}"))
}

async fn load(counts: &Arc<Counts>, until: Instant) -> Tally {
    let servers = serve(counts).await;
    let mut clients = JoinSet::new();
    for number in 0..HTTP1_CONNECTIONS {
        let address = servers.addresses[0];
        let client = Client::connect(address, false).await;
        clients.spawn(take_turns(client, address, number, until));
    }
    for connection in 0..HTTP2_CONNECTIONS {
        let address = servers.addresses[1];
        let Client::Http2(sender) = Client::connect(address, true).await else {
            unreachable!("HTTP/2 was asked for")
        };
        for stream in 0..STREAMS {
            let client = Client::Http2(sender.clone());
            let number = 1_000 * (connection + 1) + stream;
            clients.spawn(take_turns(client, address, number, until));
        }
    }
    let mut all = Tally::default();
    while let Some(tally) = clients.join_next().await {
        let tally = tally.expect("every answer was as it should be");
        all.sent += tally.sent;
        all.answered += tally.answered;
        all.refused += tally.refused;
        all.broken += tally.broken;
        all.left += tally.left;
        for (status, count) in tally.refused_with {
            *all.refused_with.entry(status).or_default() += count;
        }
        for (user, of_user) in tally.users {
            let sum = all.users.entry(user).or_default();
            sum.sent += of_user.sent;
            sum.answered += of_user.answered;
        }
        all.timed_out += tally.timed_out;
    }
    let all_back = async {
        while read(&counts.slots_back) < read(&counts.slots_out) {
            waits(1).await;
        }
    };
    soon("every slot comes back", all_back).await;
    for number in 0..3 {
        use_up(&servers, &format!("user-{number:04}"), &mut all).await;
    }
    counts.kept.lock().expect("no panic in there").take();
    let mut alive = counts.alive.subscribe();
    soon("the last factory is gone", alive.wait_for(|n| *n == 0))
        .await
        .expect("the servers live");
    for task in servers.tasks {
        task.abort();
    }
    all
}

#[test]
fn a_soak_with_planted_faults_mixes_nothing_and_leaves_nothing() {
    let seconds = env::var("SOAK_SECONDS").map_or(3, |it| it.parse().expect("a number"));
    let counts = Arc::new(Counts::default());
    let scrape = log::record_metrics();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .expect("a runtime");
    let until = Instant::now() + Duration::from_secs(seconds);
    let seen = runtime.block_on(load(&counts, until));
    // After the last connection is closed, everything that was not dropped is counted.
    drop(runtime);

    let [
        arrived,
        accepted,
        refused,
        given_up,
        built,
        mixed,
        stolen,
        caught,
        slots_out,
        slots_back,
    ] = [
        &counts.arrived,
        &counts.accepted,
        &counts.refused,
        &counts.given_up,
        &counts.built,
        &counts.mixed,
        &counts.stolen,
        &counts.caught,
        &counts.slots_out,
        &counts.slots_back,
    ]
    .map(read);
    let closed = [0, 1, 2, 3].map(|place: usize| read(&counts.closed[place]));
    println!(
        "sent {}, answered {}, refused {}, broken off by the server {}, left by the client {}, \
         timed out {}; slots {slots_out} out and {slots_back} back; \
         arrived {arrived}, accepted {accepted}, refused {refused}, given up before {given_up}; \
         built {built}, closed {closed:?} as {ENDINGS:?}, mixed {mixed}, \
         caught {caught} of {stolen}",
        seen.sent, seen.answered, seen.refused, seen.broken, seen.left, seen.timed_out
    );
    assert_eq!(slots_out, slots_back, "every slot has come back");
    assert!(slots_out >= accepted, "each that was accepted has had one");
    assert_eq!(counts.open.0.total(), 0, "no scope stays open");
    assert!(seen.timed_out > 0, "time limits have struck");
    assert_eq!(mixed, 0, "nobody held what is another's");
    assert_eq!(caught, stolen, "who used what is another's was caught");
    assert!(stolen > 0, "and it was tried");
    assert_eq!(
        accepted + refused + given_up,
        arrived,
        "all are accounted for"
    );
    assert_eq!(
        seen.answered + seen.refused + seen.broken + seen.left + seen.timed_out,
        seen.sent,
        "and so they are by those who sent them"
    );
    assert!(arrived <= seen.sent, "nothing arrived that nobody sent");
    assert!(
        arrived + seen.left >= seen.sent,
        "only one who goes away may be gone before the layer hears of it"
    );
    assert_eq!(refused, seen.refused, "who was refused was told so");
    assert_eq!(built, accepted, "one factory for each that was accepted");
    assert_eq!(closed.iter().sum::<u64>(), accepted, "and one closing");
    assert_eq!(*counts.alive.borrow(), 0, "and no factory is left");
    assert!(
        closed.into_iter().all(|count| count > 0),
        "every ending was seen: {closed:?}"
    );
    log::assert_metrics(&scrape.render(), accepted, refused);
    log::assert_answers(&counts.log.text(), accepted, &seen);
}
