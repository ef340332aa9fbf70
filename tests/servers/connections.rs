//! B27: a request has no effect on the next one of the same keep-alive connection, HTTP/2 connection or
//! worker thread, refused requests included.

use std::collections::BTreeSet;

use futures::future::{join, join_all};

use crate::support::{Answer, Client, Office, Refusal, Rules, Running, Sent, Server, soon};

/// One of many requests: its user, or the status of its refusal.
struct Turn {
    request_id: String,
    sent: Sent,
    expected: Result<String, u16>,
}

/// The body of every request, which would be a request of mallory if a server read it as one.
const SMUGGLED: &str = "POST / HTTP/1.1\r\nhost: test\r\nx-user-id: mallory\r\n\r\n";

/// The credentials of a request for the next user, and whether they are that user's.
type Kind = (&'static [(&'static str, &'static str)], Result<(), u16>);

/// `%` stands for the user's name. Strategies that wait alternate with strategies that don't, and
/// refusals with accepted requests.
const KINDS: &[Kind] = &[
    (&[("x-user-id", "%")], Ok(())),
    (&[], Err(401)),
    (&[("x-api-key", "key-of-%")], Ok(())),
    (&[("x_user_id", "%")], Err(401)),
    (&[("x-session-of", "%")], Ok(())),
    (&[("x-user-id", "%"), ("x-user-id", "mallory")], Err(400)),
    (&[("x-job-of", "%")], Ok(())),
    (&[("x-api-key", "key-lost")], Err(503)),
    (&[("x-user-id", "%"), ("x-session-of", "mallory")], Ok(())),
    (
        &[("x-user-id", "undefined"), ("x-session-of", "%")],
        Err(400),
    ),
    (
        &[("x-user-id", "%"), ("x-thread-id", "thread-of-alice")],
        Err(403),
    ),
    (&[("x-api-key", "key-of-frank")], Err(500)),
];

fn turns(count: usize) -> Vec<Turn> {
    let turn = |number: usize| {
        let user = format!("user-{}", number % 31);
        let (headers, expected) = KINDS[number % KINDS.len()];
        let request_id = format!("request-{number}");
        let mut headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (*name, value.replace('%', &user)))
            .collect();
        headers.push(("x-request-id", request_id.clone()));
        let mut sent = Sent::with(&headers);
        sent.body = SMUGGLED.repeat(number % 5).into();
        Turn {
            request_id,
            sent,
            expected: expected.map(|()| user),
        }
    };
    (0..count).map(turn).collect()
}

impl Turn {
    /// Checks the response and returns the number of its factory.
    fn check(&self, answer: Answer, server: Server) -> Option<u64> {
        let what = format!("{server:?}, {}", self.request_id);
        match (&self.expected, answer) {
            (Ok(user), Ok(seen)) => {
                let whose = seen
                    .whose()
                    .unwrap_or_else(|mixed| panic!("{what}: {mixed}"));
                assert_eq!(whose.who, *user, "{what}: it is its own user's");
                assert_eq!(
                    whose.request_id, self.request_id,
                    "{what}: and its own request"
                );
                if matches!(
                    server,
                    Server::Axum | Server::HyperHttp1 | Server::HyperHttp2
                ) {
                    let length = self.sent.body.len() as u64;
                    assert_eq!(seen.body_length, length, "{what}: with its own body");
                }
                Some(seen.factory_number)
            }
            (Err(status), Err(refusal)) => {
                assert!(refusal.says(*status), "{what}: {refusal:?}, not {status}");
                None
            }
            (expected, answer) => panic!("{what}: {answer:?}, not {expected:?}"),
        }
    }
}

/// Checks that each factory served one request and was dropped.
async fn each_had_its_own(office: &Office, accepted: &[u64]) {
    let distinct: BTreeSet<_> = accepted.iter().collect();
    assert_eq!(distinct.len(), accepted.len(), "no factory answers twice");
    assert_eq!(
        office.built(),
        accepted.len() as u64,
        "built for nobody else"
    );
    office.is_empty().await;
    let heard = office.audit.take();
    assert_eq!(heard.accepted.len(), accepted.len(), "accepted nobody else");
    assert!(heard.alarms.is_empty(), "{:?}", heard.alarms);
}

#[tokio::test]
async fn users_in_turn_on_one_connection_leave_nothing_to_each_other() {
    for server in Server::ALL {
        let running = server.start(&Rules::DEFAULT).await;
        let mut client = running.connect().await;
        let mut accepted = Vec::new();
        for turn in turns(20 * KINDS.len()) {
            let answer = soon("an answer", client.ask(&turn.sent)).await;
            accepted.extend(turn.check(answer, server));
        }
        assert_eq!(accepted.len(), 100, "{server:?}: five in twelve are good");
        each_had_its_own(&running.office, &accepted).await;
    }
}

/// Sends all requests at the same time on one connection. No handler responds before all have arrived.
async fn interleaved(server: Server) {
    let turns = turns(12 * KINDS.len());
    let rules = Rules {
        meeting: turns.iter().filter(|turn| turn.expected.is_ok()).count(),
        ..Rules::DEFAULT
    };
    let running = server.start(&rules).await;
    let client = running.connect().await;
    let asked = turns.iter().map(|turn| {
        let mut stream = client.another_stream();
        async move { turn.check(stream.ask(&turn.sent).await, server) }
    });
    let answers = soon("all answers", join_all(asked)).await;
    let accepted: Vec<_> = answers.into_iter().flatten().collect();
    assert_eq!(
        accepted.len(),
        rules.meeting,
        "everybody came to the meeting"
    );
    each_had_its_own(&running.office, &accepted).await;
}

const MULTIPLEXED: [Server; 4] = [
    Server::HyperHttp2,
    Server::TonicUnary,
    Server::TonicStreaming,
    Server::Bare,
];

#[tokio::test]
async fn interleaved_streams_of_one_connection_keep_apart_on_one_thread() {
    for server in MULTIPLEXED {
        interleaved(server).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn interleaved_streams_of_one_connection_keep_apart_on_four_threads() {
    for server in MULTIPLEXED {
        interleaved(server).await;
    }
}

/// Reads a stream of one user to its end and checks that every message is that user's.
async fn watch(client: &Client, user: &str, times: u32) {
    let Client::GrpcStreaming(client) = client else {
        unreachable!("streams are tonic's");
    };
    let request = Sent::with(&[("x-user-id", user), ("x-request-id", user)]).to_grpc(times);
    let answer = client.clone().watch(request).await;
    let mut answers = answer.expect("a stream").into_inner();
    let mut read = 0;
    while let Some(seen) = answers.message().await.expect("an answer") {
        let whose = seen.whose().unwrap_or_else(|mixed| panic!("{mixed}"));
        assert_eq!(whose.who, user, "answer {read} of {user}'s stream");
        assert_eq!(whose.request_id, user, "answer {read} of {user}'s stream");
        read += 1;
    }
    assert_eq!(read, times, "all of {user}'s stream");
}

/// Two streams of one connection that advance in turn, with refused calls between them.
#[tokio::test]
async fn two_users_who_stream_at_once_each_see_only_themselves() {
    let in_step = Rules {
        meeting: 2,
        ..Rules::DEFAULT
    };
    let running: Running = Server::TonicStreaming.start(&in_step).await;
    let client = running.connect().await;
    let refused = async {
        for _ in 0..50 {
            let answer = client.another_stream().ask(&Sent::default()).await;
            assert_eq!(
                answer.err(),
                Some(Refusal::Grpc(tonic::Code::Unauthenticated))
            );
        }
    };
    let both = join(watch(&client, "alice", 100), watch(&client, "bob", 100));
    soon("both streams end", join(both, refused)).await;
    assert_eq!(running.office.answered(), 200, "every answer was made anew");
    assert_eq!(running.office.built(), 2, "one factory for each stream");
    running.office.is_empty().await;
    let alarms = running.office.audit.take().alarms;
    assert!(alarms.is_empty(), "{alarms:?}");
}
