//! B33: no response of one user contains another user's id, and no error contains an id: on the wire,
//! with headers, body and trailers, on every server, under a mix of responses and of refusals of every
//! kind.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::task::JoinSet;
use tonic::Code;

use crate::support::{Rules, Sent, Server, grpc_code};

const USERS: [&str; 8] = [
    "alice-of-acme",
    "bob-of-acme",
    "carol-of-acme",
    "dave-of-acme",
    // A user whose factory fails, and a user whose factory is unavailable.
    "frank",
    "fiona",
    "erin-of-acme",
    "alice",
];

/// The credential of a user, and the response to it.
#[derive(Clone, Copy, Debug)]
enum Way {
    Header,
    Session,
    Key,
    WrongKey,
    LostKey,
    ThreadOfAlice,
    MalformedId,
    Nothing,
}

const WAYS: [Way; 8] = [
    Way::Header,
    Way::Session,
    Way::Key,
    Way::WrongKey,
    Way::LostKey,
    Way::ThreadOfAlice,
    Way::MalformedId,
    Way::Nothing,
];

impl Way {
    fn sent(self, user: &str) -> Sent {
        let one = |name, value: &str| Sent::with(&[(name, value)]);
        match self {
            Self::Header => one("x-user-id", user),
            Self::Session => one("x-session-of", user),
            Self::Key => one("x-api-key", &format!("key-of-{user}")),
            Self::WrongKey => one("x-api-key", &format!("key-stolen-from-{user}")),
            Self::LostKey => one("x-api-key", "key-lost"),
            Self::ThreadOfAlice => {
                Sent::with(&[("x-user-id", user), ("x-thread-id", "thread-of-alice")])
            }
            Self::MalformedId => {
                let bad = format!("{user} {user}");
                Sent::with(&[("x-user-id", user), ("x-request-id", &bad)])
            }
            Self::Nothing => Sent::default(),
        }
    }

    fn status(self, user: &str) -> u16 {
        match (self, user) {
            (Self::WrongKey | Self::Nothing, _) => 401,
            (Self::LostKey, _) => 503,
            (Self::MalformedId, _) => 400,
            (Self::ThreadOfAlice, "alice") => 200,
            (Self::ThreadOfAlice, _) => 403,
            (_, "frank") => 500,
            (_, "fiona") => 503,
            _ => 200,
        }
    }
}

/// All bytes of a response.
#[derive(Debug)]
struct Wire {
    headers: HeaderMap,
    body: Bytes,
    trailers: HeaderMap,
    status: u16,
}

impl Wire {
    fn contains(&self, id: &str) -> bool {
        let lines = self.headers.iter().chain(&self.trailers);
        let lines = lines.flat_map(|(name, value)| [name.as_ref(), value.as_bytes()]);
        let mut parts = lines.chain([&self.body[..]]);
        parts.any(|part| part.windows(id.len()).any(|bytes| bytes == id.as_bytes()))
    }

    fn grpc_code(&self) -> Option<Code> {
        let status = self.headers.get("grpc-status");
        let status = status.or_else(|| self.trailers.get("grpc-status"))?;
        Some(Code::from_bytes(status.as_bytes()))
    }
}

type Http = Client<hyper_util::client::legacy::connect::HttpConnector, Full<Bytes>>;

/// Sends a request and does not check the response.
async fn send(http: &Http, origin: &str, server: Server, sent: &Sent) -> Wire {
    let (path, body) = match server {
        // An empty message: the flag for no compression, and the length zero.
        Server::TonicUnary => ("/whoami.WhoAmI/Ask", &[0_u8; 5][..]),
        _ => ("/", &[][..]),
    };
    let mut request = Request::post(format!("{origin}{path}"))
        .body(Full::from(body))
        .expect("a request");
    *request.headers_mut() = sent.headers.clone();
    if server == Server::TonicUnary {
        let grpc = HeaderValue::from_static("application/grpc");
        request.headers_mut().insert(CONTENT_TYPE, grpc);
    }
    let (head, body) = http.request(request).await.expect("an answer").into_parts();
    let body = body.collect().await.expect("the whole answer");
    let trailers = body.trailers().cloned().unwrap_or_default();
    Wire {
        headers: head.headers,
        body: body.to_bytes(),
        trailers,
        status: head.status.as_u16(),
    }
}

/// Sends a request for each user with each credential, all at the same time, several times.
async fn mix(server: Server, http2: bool) {
    const ROUNDS: usize = 6;
    let running = server.start(&Rules::DEFAULT).await;
    let origin = format!("http://{}", running.address());
    let http: Http = Client::builder(TokioExecutor::new())
        .http2_only(http2)
        .build_http();
    let mut requests = JoinSet::new();
    for round in 0..ROUNDS {
        for (place, user) in USERS.into_iter().enumerate() {
            for way in 0..WAYS.len() {
                let way = WAYS[(way + place + round) % WAYS.len()];
                let (http, origin) = (http.clone(), origin.clone());
                requests.spawn(async move {
                    let wire = send(&http, &origin, server, &way.sent(user)).await;
                    (user, way, wire)
                });
            }
        }
    }
    let mut answered = 0;
    while let Some(request) = requests.join_next().await {
        let (user, way, wire) = request.expect("an answer to each request");
        let expected = way.status(user);
        match server {
            Server::TonicUnary if expected == 200 => {
                assert_eq!(wire.grpc_code(), Some(Code::Ok), "{user} {way:?}");
            }
            Server::TonicUnary => {
                assert_eq!(wire.grpc_code(), grpc_code(expected), "{user} {way:?}");
            }
            _ => assert_eq!(wire.status, expected, "{user} {way:?}"),
        }
        if expected == 200 {
            assert!(wire.contains(user), "their own answer: {user} {way:?}");
            answered += 1;
        }
        for id in USERS {
            // `alice` is the prefix of another id, which must not hide it.
            let own = user.contains(id);
            assert!(
                !wire.contains(id) || (own && expected == 200),
                "{server:?}: what {user} got with {way:?} names {id}: {wire:?}"
            );
        }
    }
    assert_eq!(running.office.answered(), answered, "and nobody else's");
    running.office.is_empty().await;
    let heard = running.office.audit.take();
    assert!(heard.alarms.is_empty(), "{:?}", heard.alarms);
    let all = (USERS.len() * WAYS.len() * ROUNDS) as u64;
    let (accepted, refused) = (heard.accepted.len() as u64, heard.refused.len() as u64);
    assert_eq!(accepted, answered, "accepted, each with its answer");
    assert_eq!(
        accepted + refused,
        all,
        "every request is accepted or refused"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn b33_over_axum_nobody_reads_of_another() {
    mix(Server::Axum, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn b33_over_http1_nobody_reads_of_another() {
    mix(Server::HyperHttp1, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn b33_over_one_http2_connection_nobody_reads_of_another() {
    mix(Server::HyperHttp2, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn b33_over_grpc_nobody_reads_of_another() {
    mix(Server::TonicUnary, true).await;
}
