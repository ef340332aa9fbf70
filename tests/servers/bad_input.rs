//! Bad input gets a clear error. The server continues, and so does the connection if HTTP allows it.

use http::{HeaderValue, header::COOKIE};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tower_user_scope::{
    UserId,
    context::{CorrelationErrorKind, CorrelationSources, IdErrorKind},
    strategy::InvalidErrorKind,
};

use crate::support::{Client, Rules, Running, Sent, Server, Why, soon};

/// A header's value, and the user or the reason of a 400.
struct Bad {
    name: &'static str,
    headers: Vec<(&'static str, Vec<u8>)>,
    expected: Result<String, Why>,
}

fn bad(name: &'static str, headers: &[(&'static str, &[u8])], expected: Result<&str, Why>) -> Bad {
    Bad {
        name,
        headers: headers
            .iter()
            .map(|(name, value)| (*name, value.to_vec()))
            .collect(),
        expected: expected.map(str::to_owned),
    }
}

/// The user's header with this error.
fn user(reason: InvalidErrorKind) -> Result<&'static str, Why> {
    Err(Why::Invalid("trusted_header", reason))
}

/// The user's header with an invalid id.
fn user_id(problem: IdErrorKind) -> Result<&'static str, Why> {
    user(InvalidErrorKind::Id(problem))
}

/// A correlation id with this error.
fn id(field: &'static str, problem: CorrelationErrorKind) -> Result<&'static str, Why> {
    Err(Why::Correlation(field, problem))
}

const ALICE: (&str, &[u8]) = ("x-user-id", b"alice");
const THREAD: &str = "x-thread-id";
const TRACE: &[u8] = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const TRACE_OF_VERSION_FF: &[u8] = b"ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// B01, B07 and B23 over the wire, within every server's own limits.
fn bad_headers() -> Vec<Bad> {
    use CorrelationErrorKind::{Id, NotText, Repeated};

    let longest = [b'a'; UserId::MAX_LEN];
    let longest_text = "a".repeat(UserId::MAX_LEN);
    let too_long = user_id(IdErrorKind::TooLong { limit: 256 });
    let long_thread = Id(IdErrorKind::TooLong { limit: 128 });
    vec![
        bad("empty", &[("x-user-id", b"")], user_id(IdErrorKind::Empty)),
        bad(
            "only white space",
            &[("x-user-id", b" \t ")],
            user_id(IdErrorKind::Empty),
        ),
        bad(
            "white space around it",
            &[("x-user-id", b" alice\t")],
            Ok("alice"),
        ),
        bad(
            "not UTF-8",
            &[("x-user-id", b"ali\xffce")],
            user(InvalidErrorKind::NotText),
        ),
        bad("UTF-8", &[("x-user-id", "åsa".as_bytes())], Ok("åsa")),
        bad(
            "an invisible character",
            &[("x-user-id", "ali\u{200b}ce".as_bytes())],
            user_id(IdErrorKind::ForbiddenCharacter { at: 3 }),
        ),
        bad(
            "a tab inside",
            &[("x-user-id", b"ali\tce")],
            user_id(IdErrorKind::ForbiddenCharacter { at: 3 }),
        ),
        bad(
            "as long as may be",
            &[("x-user-id", &longest)],
            Ok(&longest_text),
        ),
        bad("a byte longer", &[("x-user-id", &[b'a'; 257])], too_long),
        bad("10,000 bytes", &[("x-user-id", &[b'a'; 10_000])], too_long),
        bad("80 times", &[ALICE; 80], user(InvalidErrorKind::Repeated)),
        bad(
            "an object printed by a script",
            &[("x-user-id", b"[object Object]")],
            user_id(IdErrorKind::Placeholder),
        ),
        bad(
            "an empty thread",
            &[ALICE, (THREAD, b"")],
            id("thread_id", Id(IdErrorKind::Empty)),
        ),
        bad(
            "a thread that is not UTF-8",
            &[ALICE, (THREAD, b"\xc3\x28")],
            id("thread_id", NotText),
        ),
        bad(
            "a thread of 129 bytes",
            &[ALICE, (THREAD, &[b't'; 129])],
            id("thread_id", long_thread),
        ),
        bad(
            "two threads",
            &[ALICE, (THREAD, b"t-1"), (THREAD, b"t-1")],
            id("thread_id", Repeated),
        ),
        bad(
            "a trace that W3C does not know",
            &[ALICE, ("traceparent", b"00-0-0-0")],
            Ok("alice"),
        ),
        bad(
            "a trace of the version that there is never",
            &[ALICE, ("traceparent", TRACE_OF_VERSION_FF)],
            Ok("alice"),
        ),
        bad(
            "two traces",
            &[ALICE, ("traceparent", TRACE), ("traceparent", TRACE)],
            Ok("alice"),
        ),
    ]
}

/// Sends a request, checks the response, and checks that the connection then serves a good request.
async fn check(
    what: &str,
    running: &Running,
    client: &mut Client,
    sent: &Sent,
    expected: &Result<String, Why>,
) {
    let answer = soon("an answer", client.ask(sent)).await;
    let refused = running.office.audit.take().refused;
    match expected {
        Ok(who) => {
            let seen = answer.unwrap_or_else(|refusal| panic!("{what}: {refusal:?}, {refused:?}"));
            let whose = seen
                .whose()
                .unwrap_or_else(|mixed| panic!("{what}: {mixed}"));
            assert_eq!(whose.who, *who, "{what}: the id is taken as it was sent");
        }
        Err(why) => {
            let refusal = answer.expect_err(what);
            assert!(refusal.says(400), "{what}: answered {refusal:?}");
            assert_eq!(
                refused,
                [*why],
                "{what}: the audit event says what is wrong"
            );
        }
    }

    let good = soon("an answer", client.ask(&Sent::with(&[ALICE]))).await;
    let good = good.unwrap_or_else(|refusal| panic!("after {what}: {refusal:?}"));
    assert_eq!(
        good.whose().map(|whose| whose.who.as_str()),
        Ok("alice"),
        "after {what}: a good request on the same connection"
    );
    running.office.audit.take();
}

#[tokio::test]
async fn a_bad_header_is_refused_with_400_and_its_connection_serves_on() {
    for server in Server::ALL {
        let running = server.start(&Rules::DEFAULT).await;
        let mut client = running.connect().await;
        for bad in bad_headers() {
            let what = format!("{server:?}, {}", bad.name);
            let sent = Sent::with(&bad.headers);
            check(&what, &running, &mut client, &sent, &bad.expected).await;
        }
    }
}

/// Bytes that a correct client does not send, and the status of hyper's own refusal.
const NO_HTTP: &[(&str, &str, &str)] = &[
    (
        "a folded line",
        "x-user-id: alice\r\n bob\r\n",
        "400 Bad Request",
    ),
    (
        "one folded by a tab",
        "x-user-id: alice\r\n\tbob\r\n",
        "400 Bad Request",
    ),
    (
        "an empty folded line",
        "x-user-id:\r\n alice\r\n",
        "400 Bad Request",
    ),
    (
        "white space before the colon",
        "x-user-id : alice\r\n",
        "400 Bad Request",
    ),
    ("a NUL", "x-user-id: ali\0ce\r\n", "400 Bad Request"),
    (
        "a lone carriage return",
        "x-user-id: alice\rx-y: z\r\n",
        "400 Bad Request",
    ),
    ("no colon", "x-user-id\r\n", "400 Bad Request"),
    (
        "a space in the name",
        "x user-id: alice\r\n",
        "400 Bad Request",
    ),
];

#[tokio::test]
async fn input_that_is_not_http_never_reaches_the_layer_and_the_next_connection_is_served() {
    let cookies = "cookie: a=1\r\n".repeat(200);
    let too_many = (
        "200 lines",
        &*cookies,
        "431 Request Header Fields Too Large",
    );
    for server in [Server::Axum, Server::HyperHttp1] {
        let running = server.start(&Rules::DEFAULT).await;
        for (name, lines, status) in NO_HTTP.iter().copied().chain([too_many]) {
            let what = format!("{server:?}, {name}");
            let request = format!("GET / HTTP/1.1\r\nhost: test\r\n{lines}\r\n");
            let answer = until_closed(&running, request.as_bytes()).await;
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status}\r\n")),
                "{what}: answered {answer}"
            );
            let heard = running.office.audit.take();
            assert_eq!(
                heard.accepted.len() + heard.refused.len(),
                0,
                "{what}: {heard:?}"
            );

            let good = running.connect().await.ask(&Sent::with(&[ALICE])).await;
            assert!(good.is_ok(), "after {what}: {good:?}");
            running.office.audit.take();
        }
    }
}

/// Sends raw bytes and reads the response until the server closes the connection.
async fn until_closed(running: &Running, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(running.address())
        .await
        .expect("a connection");
    stream.write_all(bytes).await.expect("the request is sent");
    let mut answer = Vec::new();
    soon("the server hangs up", stream.read_to_end(&mut answer))
        .await
        .expect("the answer");
    String::from_utf8(answer).expect("an answer in ASCII")
}

/// Servers, and the numbers of lines and cookies that each server's own limit on headers allows.
const COOKIES: &[(Server, usize, usize)] = &[
    (Server::Axum, 80, 125),
    (Server::HyperHttp1, 80, 125),
    (Server::HyperHttp2, 20, 75),
    (Server::TonicUnary, 20, 75),
    (Server::Bare, 80, 125),
    (Server::Bare, 10_000, 1),
    (Server::Axum, 1, 10_000),
    (Server::HyperHttp1, 1, 10_000),
    (Server::Bare, 1, 10_000),
];

#[tokio::test]
async fn ten_thousand_cookies_are_neither_lost_nor_in_the_way() {
    for (server, lines, each) in COOKIES {
        let what = format!("{server:?}, {lines} lines of {each} cookies");
        let running = server.start(&Rules::DEFAULT).await;
        let mut client = running.connect().await;
        let mut cookies = Sent::default();
        for line in 0..*lines {
            let line: Vec<_> = (0..*each)
                .map(|n| format!("c{}=v", line * each + n))
                .collect();
            let line = HeaderValue::try_from(line.join("; ")).expect("a header's value");
            cookies.headers.append(COOKIE, line);
        }

        let refusal = client.ask(&cookies).await.expect_err("cookies name nobody");
        assert!(refusal.says(401), "{what}: answered {refusal:?}");
        cookies
            .headers
            .insert("x-user-id", HeaderValue::from_static("alice"));
        let seen = client
            .ask(&cookies)
            .await
            .unwrap_or_else(|refusal| panic!("{what}: {refusal:?}"));
        assert_eq!(seen.whose().map(|whose| &*whose.who), Ok("alice"), "{what}");
        assert_eq!(
            usize::try_from(seen.values_of("cookie")),
            Ok(*lines),
            "{what}: all lines reach the handler"
        );
    }
}

/// A query, and its result in a layer that reads ids from it: the thread that it names (`None` if it
/// names none), or the reason of the refusal.
type Query = (&'static str, String, Result<Option<&'static str>, Why>);

fn queries(huge: usize) -> Vec<Query> {
    use CorrelationErrorKind::{Id, QueryTooLong, Repeated};

    let refused = |problem| Err(Why::Correlation("thread_id", problem));
    let named_at_the_end = |length: usize| {
        let thread = "&thread=t-1";
        format!("{}{thread}", "q".repeat(length - thread.len()))
    };
    let limit = CorrelationSources::MAX_QUERY_LEN;
    vec![
        ("none of it", "q=1".to_owned(), Ok(None)),
        ("the thread", "thread=t-1".to_owned(), Ok(Some("t-1"))),
        ("thousands of nothings", "&".repeat(limit), Ok(None)),
        ("the longest", named_at_the_end(limit), Ok(Some("t-1"))),
        (
            "a byte longer",
            named_at_the_end(limit + 1),
            refused(QueryTooLong),
        ),
        ("a huge one", named_at_the_end(huge), refused(QueryTooLong)),
        (
            "two threads",
            "thread=t-1&thread=t-1".to_owned(),
            refused(Repeated),
        ),
        (
            "an empty one",
            "thread=".to_owned(),
            refused(Id(IdErrorKind::Empty)),
        ),
        (
            "a placeholder",
            "thread=undefined".to_owned(),
            refused(Id(IdErrorKind::Placeholder)),
        ),
        (
            "not UTF-8 when it is decoded",
            "thread=t%FF".to_owned(),
            refused(Id(IdErrorKind::ForbiddenCharacter { at: 1 })),
        ),
        (
            "a line break when it is decoded",
            "thread=t%0D%0Ax-user-id:bob".to_owned(),
            refused(Id(IdErrorKind::ForbiddenCharacter { at: 1 })),
        ),
    ]
}

/// Servers whose requests have a query, and about the longest one that each of them allows.
const QUERIED: &[(Server, usize)] = &[
    (Server::Axum, 60_000),
    (Server::HyperHttp1, 60_000),
    (Server::HyperHttp2, 12_000),
    (Server::Bare, 60_000),
];

#[tokio::test]
async fn a_bad_or_huge_query_is_refused_where_ids_are_read_from_it() {
    let rules = Rules {
        ids_from_query: true,
        ..Rules::DEFAULT
    };
    for (server, huge) in QUERIED {
        let running = server.start(&rules).await;
        let mut client = running.connect().await;
        for (name, query, expected) in queries(*huge) {
            let what = format!("{server:?}, {name}");
            let mut sent = Sent::with(&[ALICE]);
            sent.query = Some(query);
            let who = expected.map(|_| "alice".to_owned());
            check(&what, &running, &mut client, &sent, &who).await;
            if let Ok(Some(thread)) = expected {
                let seen = client.ask(&sent).await.expect(&what);
                assert_eq!(seen.thread_id, thread, "{what}: the thread of the query");
            }
        }
    }
}

#[tokio::test]
async fn a_bad_or_huge_query_is_nothing_to_a_layer_that_reads_none() {
    for (server, huge) in QUERIED {
        let running = server.start(&Rules::DEFAULT).await;
        let mut client = running.connect().await;
        for (name, query, _) in queries(*huge) {
            let what = format!("{server:?}, {name}");
            let mut sent = Sent::with(&[ALICE, (THREAD, b"t-0")]);
            sent.query = Some(query);
            check(&what, &running, &mut client, &sent, &Ok("alice".to_owned())).await;
            let seen = client.ask(&sent).await.expect(&what);
            assert_eq!(seen.thread_id, "t-0", "{what}: the thread of the header");
        }
    }
}
