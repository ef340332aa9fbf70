//! Revocations between replicas over a real Redis, which crashes, hangs and loses its data: what is
//! revoked on one replica ends on all (B55), and a replica knows that it has lost the feed (B58).

use std::{convert::Infallible, env, time::Duration};

use axum::{Router, body::Body, routing::get};
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{Response, header, request::Parts};
use redis::{Client, cmd};
use tokio::net::TcpListener;
use tower_user_scope::{
    CredentialSource, Identity, Outcome, UserId, UserScopeLayer,
    context::Subject,
    from_fn,
    open_scopes::{Credential, OnFeedLost, OpenScopes, Revocation},
    redis::RedisFeed,
};

use crate::support::{
    processes::Process,
    servers::{Server, redis_connection, skip},
    soon,
};

const HOUR: Duration = Duration::from_secs(3_600);
const KEY: &str = "shop:revocations";
/// In the environment of a process that is a replica: the address of Redis.
const IS_REPLICA: &str = "TEST_REPLICA_OF_REDIS";

/// A service of its own, with a socket.
struct Replica {
    open: OpenScopes,
    url: String,
}

fn identity(head: &Parts) -> Outcome {
    let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let Some(user) = text("x-user") else {
        return Outcome::Absent;
    };
    let identity = Identity::proved(user.parse::<UserId>().expect("an id"));
    let session = text("x-session").unwrap_or("none");
    identity
        .with_attribute(Credential::new().with_session_id(session))
        .into()
}

/// An event stream of one event that stays open.
async fn events() -> Response<Body> {
    let first = stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"data: 1\n\n"))]);
    let mut response = Response::new(Body::from_stream(first.chain(stream::pending())));
    let value = "text/event-stream".parse().expect("a value");
    response.headers_mut().insert(header::CONTENT_TYPE, value);
    response
}

impl Replica {
    async fn new(redis: &str, on_lost: OnFeedLost) -> Self {
        let client = Client::open(redis).expect("a URL of Redis");
        let open = OpenScopes::new(HOUR).with_feed(RedisFeed::new(client, KEY), on_lost);
        let users = UserScopeLayer::builder()
            .strategy(from_fn(CredentialSource::header("x-user"), identity))
            .open_scopes(&open)
            .context_only()
            .build()
            .expect("a valid configuration");
        let app = Router::new().route("/events", get(events)).layer(users);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self {
            open,
            url: format!("http://{address}/events"),
        }
    }

    async fn connected(redis: &str, on_lost: OnFeedLost) -> Self {
        let replica = Self::new(redis, on_lost).await;
        soon("the feed is connected", replica.open.connected()).await;
        replica
    }

    async fn is_lost(&self) {
        let lost = async {
            while self.open.is_connected() {
                tokio::task::yield_now().await;
            }
        };
        soon("the replica knows that the feed is lost", lost).await;
    }

    fn revoke_session(&self, id: &str) {
        self.open.revoke(Revocation::of_session(id)).expect("room");
    }
}

async fn ask(url: &str, user: &str, session: &str) -> reqwest::Response {
    let request = reqwest::Client::new().get(url);
    let request = request.header("x-user", user).header("x-session", session);
    request.send().await.expect("an answer")
}

/// Opens a stream and reads its first event.
async fn open(url: &str, user: &str, session: &str) -> reqwest::Response {
    let mut response = ask(url, user, session).await;
    assert_eq!(response.status(), 200);
    let first = response.chunk().await.expect("no error").expect("an event");
    assert_eq!(first, "data: 1\n\n");
    response
}

/// Waits for the last event.
async fn end(stream: &mut reqwest::Response) -> String {
    let chunk = soon("the stream ends", stream.chunk()).await;
    let chunk = chunk.expect("no error").expect("a last event");
    String::from_utf8(chunk.to_vec()).expect("text")
}

const REVOKED: &str = "event: scope-ended\ndata: revoked\n\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b55_a_revocation_on_one_replica_ends_the_streams_on_the_other_and_nobody_elses() {
    let name = "b55_a_revocation_on_one_replica_ends_the_streams_on_the_other_and_nobody_elses";
    let Some(server) = Server::redis() else {
        return skip(name, "redis-server");
    };
    // By both protocols of Redis.
    for protocol in ["resp2", "resp3"] {
        let url = format!("{}/?protocol={protocol}", server.url());
        let a = Replica::connected(&url, OnFeedLost::Refuse).await;
        let b = Replica::connected(&url, OnFeedLost::Refuse).await;
        let session = format!("s-{protocol}");
        let mut revoked = open(&b.url, "alice", &session).await;
        let bobs = open(&b.url, "bob", "r").await;
        a.revoke_session(&session);
        assert_eq!(end(&mut revoked).await, REVOKED);
        assert_eq!(ask(&b.url, "alice", &session).await.status(), 401);
        assert_eq!(ask(&a.url, "alice", &session).await.status(), 401);
        assert_eq!(ask(&b.url, "alice", "t").await.status(), 200);
        let bob = Subject::new("bob".parse::<UserId>().expect("an id"));
        assert_eq!(b.open.count(&bob), 1);
        drop(bobs);
    }
    let mut redis = redis_connection(&server.url()).await;
    let ttl: i64 = cmd("PTTL")
        .arg(KEY)
        .query_async(&mut redis)
        .await
        .expect("a number");
    assert!((3_500_000..=3_600_000).contains(&ttl), "{ttl}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b58_redis_crashes_and_comes_back_and_nothing_is_lost() {
    let name = "b58_redis_crashes_and_comes_back_and_nothing_is_lost";
    let Some(mut server) = Server::redis() else {
        return skip(name, "redis-server");
    };
    let a = Replica::connected(&server.url(), OnFeedLost::Allow).await;
    let b = Replica::connected(&server.url(), OnFeedLost::Refuse).await;
    a.revoke_session("before");
    soon("it is published", a.open.published()).await;
    let mut alices = open(&b.url, "alice", "s").await;
    server.kill();
    a.is_lost().await;
    b.is_lost().await;
    a.revoke_session("s");
    assert_eq!(ask(&a.url, "alice", "s").await.status(), 401);
    assert_eq!(ask(&a.url, "alice", "t").await.status(), 200);
    let refused = ask(&b.url, "alice", "t").await;
    assert_eq!(refused.status(), 503);
    server.start();
    assert_eq!(end(&mut alices).await, REVOKED);
    soon("b is connected", b.open.connected()).await;
    assert_eq!(ask(&b.url, "alice", "t").await.status(), 200);
    assert_eq!(ask(&b.url, "alice", "s").await.status(), 401);
    // A replica that begins knows it all.
    let begins = Replica::connected(&server.url(), OnFeedLost::Refuse).await;
    for session in ["before", "s"] {
        assert_eq!(
            ask(&begins.url, "alice", session).await.status(),
            401,
            "{session}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b58_a_redis_that_hangs_is_a_feed_that_is_lost() {
    let Some(server) = Server::redis() else {
        return skip(
            "b58_a_redis_that_hangs_is_a_feed_that_is_lost",
            "redis-server",
        );
    };
    let a = Replica::connected(&server.url(), OnFeedLost::Refuse).await;
    let b = Replica::connected(&server.url(), OnFeedLost::Refuse).await;
    let mut alices = open(&b.url, "alice", "s").await;
    server.stop();
    b.is_lost().await;
    assert_eq!(ask(&b.url, "alice", "t").await.status(), 503);
    a.revoke_session("s");
    server.go_on();
    assert_eq!(end(&mut alices).await, REVOKED);
    soon("b is connected", b.open.connected()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_was_lost_or_set_back_is_followed_from_its_beginning() {
    let name = "a_record_that_was_lost_or_set_back_is_followed_from_its_beginning";
    let Some(mut server) = Server::redis() else {
        return skip(name, "redis-server");
    };
    let a = Replica::connected(&server.url(), OnFeedLost::Refuse).await;
    let mut alices = open(&a.url, "alice", "s").await;
    let message = {
        let b = Replica::connected(&server.url(), OnFeedLost::Refuse).await;
        b.revoke_session("other");
        soon("it is published", b.open.published()).await;
        let mut redis = redis_connection(&server.url()).await;
        let entries: Vec<(String, Vec<String>)> = cmd("XRANGE")
            .arg(KEY)
            .arg("-")
            .arg("+")
            .query_async(&mut redis)
            .await
            .expect("entries");
        entries[0].1[1].replace("other", "s")
    };
    while ask(&a.url, "alice", "other").await.status() != 401 {}
    // A record whose clock is behind: its entries come before the last one that is known.
    let mut redis = redis_connection(&server.url()).await;
    let () = cmd("DEL")
        .arg(KEY)
        .query_async(&mut redis)
        .await
        .expect("deleted");
    let () = cmd("XADD")
        .arg(KEY)
        .arg("1000-0")
        .arg("message")
        .arg(message)
        .query_async(&mut redis)
        .await
        .expect("added");
    server.kill();
    a.is_lost().await;
    server.start();
    assert_eq!(end(&mut alices).await, REVOKED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_that_is_no_message_is_skipped() {
    let Some(server) = Server::redis() else {
        return skip("an_entry_that_is_no_message_is_skipped", "redis-server");
    };
    let a = Replica::connected(&server.url(), OnFeedLost::Refuse).await;
    let b = Replica::connected(&server.url(), OnFeedLost::Refuse).await;
    let mut alices = open(&b.url, "alice", "s").await;
    let mut redis = redis_connection(&server.url()).await;
    let long = vec![b'a'; 1024 * 1024];
    let odd: [&[(&[u8], &[u8])]; 5] = [
        &[(b"other", b"1")],
        &[(b"message", b"\xff\xfe")],
        &[(b"\xff", b"\xff"), (b"\xfe", b"1")],
        &[(b"message", b"{}"), (b"message", b"")],
        &[(b"message", &long)],
    ];
    for fields in odd {
        let mut add = cmd("XADD");
        add.arg(KEY).arg("*");
        for (name, value) in fields {
            add.arg(*name).arg(*value);
        }
        let () = add.query_async(&mut redis).await.expect("added");
    }
    a.revoke_session("s");
    assert_eq!(end(&mut alices).await, REVOKED);
    assert!(b.open.is_connected());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_finds_the_record_full_waits_until_there_is_room() {
    let Some(server) = Server::redis() else {
        return skip(
            "what_finds_the_record_full_waits_until_there_is_room",
            "redis-server",
        );
    };
    let a = Replica::connected(&server.url(), OnFeedLost::Refuse).await;
    let mut redis = redis_connection(&server.url()).await;
    // Entries of which none is a message, and whose time is not over.
    let fill = "for i = 1, ARGV[1] do redis.call('XADD', KEYS[1], '*', 'other', '') end";
    let fill = redis::Script::new(fill);
    for _ in 0..RedisFeed::MAX_RECORDED / 1_000 {
        let filled = fill.key(KEY).arg(1_000).invoke_async(&mut redis).await;
        let () = filled.expect("filled");
    }
    a.revoke_session("s");
    let published = a.open.published();
    tokio::pin!(published);
    let b = Replica::connected(&server.url(), OnFeedLost::Refuse).await;
    let mut alices = open(&b.url, "alice", "s").await;
    assert!(futures::poll!(published.as_mut()).is_pending());
    let () = cmd("XTRIM")
        .arg(KEY)
        .arg("MAXLEN")
        .arg(RedisFeed::MAX_RECORDED - 1)
        .query_async(&mut redis)
        .await
        .expect("trimmed");
    soon("it is published", published).await;
    assert_eq!(end(&mut alices).await, REVOKED);
}

/// Does nothing, unless it is started by the test below.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_a_replica() {
    let Ok(redis) = env::var(IS_REPLICA) else {
        return;
    };
    let replica = Replica::connected(&redis, OnFeedLost::Refuse).await;
    println!("serves {}", replica.url);
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b55_replicas_are_processes_of_their_own() {
    let Some(server) = Server::redis() else {
        return skip("b55_replicas_are_processes_of_their_own", "redis-server");
    };
    let redis = server.url();
    let here = Replica::connected(&redis, OnFeedLost::Refuse).await;
    let begin = || {
        let test = "replicas::a_process_that_is_a_replica";
        Process::spawn(test, IS_REPLICA, &redis, "serves ")
    };
    let (_first, first) = begin();
    let (second, killed) = begin();
    let mut revoked = open(&first, "alice", "s").await;
    let mut kept = open(&first, "alice", "kept").await;
    let alice = Subject::new("alice".parse::<UserId>().expect("an id"));
    let others = Revocation::of_subject(alice.clone()).except_session("kept");
    // One of the replicas dies, is started again, and knows what it has missed.
    drop(second);
    assert!(reqwest::get(&killed).await.is_err());
    here.open.revoke(others).expect("room");
    assert_eq!(end(&mut revoked).await, REVOKED);
    let (_second, second) = begin();
    for url in [&here.url, &first, &second] {
        assert_eq!(ask(url, "alice", "s").await.status(), 401);
        assert_eq!(ask(url, "alice", "kept").await.status(), 200);
        assert_eq!(ask(url, "bob", "s").await.status(), 200);
    }
    // The stream of the other session is still open: what ends it is the next revocation.
    here.open
        .revoke(Revocation::of_subject(alice).as_log_out())
        .expect("room");
    assert_eq!(
        end(&mut kept).await,
        "event: scope-ended\ndata: logged_out\n\n"
    );
}
