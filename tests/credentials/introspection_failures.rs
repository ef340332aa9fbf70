//! B29: an introspection endpoint that is down, slow, huge or lying: 503 for the token, nobody is let in,
//! and nothing of it is remembered.

use std::{
    error::Error,
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::StatusCode;
use serde_json::json;
use tower_user_scope::{
    introspection::{
        ClientAuthentication, FormRequest, Introspection, IntrospectionError, PostForm,
    },
    jwt::FetchError,
    rejection::RejectionKind,
    strategy::Strategy,
};

use crate::{
    introspection::{TOKEN, answer_with, bearer, strategy},
    support::{
        Answer, Asked, Came, Setup,
        endpoint::{Endpoint, Reply},
        request,
    },
};

fn service(strategy: impl Strategy<Future: Send + 'static> + Send + Sync + 'static) -> Asked {
    let mut setup = Setup::new([strategy.boxed()]);
    setup.visitors = true;
    setup.service()
}

fn why(answer: &Answer) -> IntrospectionError {
    let Err(rejection) = &answer.outcome else {
        panic!("accepted");
    };
    let RejectionKind::Unavailable { unavailable, .. } = rejection.kind() else {
        panic!("{rejection}");
    };
    let source = unavailable
        .source()
        .and_then(|source| source.downcast_ref());
    source.cloned().expect("the endpoint's error")
}

fn json_with(body: &str) -> Reply {
    Reply::Http("200 OK".to_owned(), body.into())
}

#[tokio::test]
async fn an_answer_that_says_nothing_is_a_503_and_is_not_remembered() {
    let good = answer_with(json!({})).to_string();
    let without_active = good.replace("\"active\":true,", "");
    let bodies = [
        String::new(),
        "garbage".to_owned(),
        // A signed answer (RFC 9701).
        "eyJhbGciOiJFUzI1NiIsInR5cCI6InRva2VuLWludHJvc3BlY3Rpb24rand0In0.e30.c2ln".to_owned(),
        "[]".to_owned(),
        "true".to_owned(),
        "{}".to_owned(),
        without_active,
        good.replace("true", "\"true\""),
        good.replace("true", "1"),
        good.replace("true", "null"),
        good.replace("true", "[true]"),
        // Which of the two counts is anybody's guess.
        good.replace("true,", "true,\"active\":false,"),
        good.replace("true,", "false,\"active\":true,"),
        format!("{good}{good}"),
        good[..good.len() - 1].to_owned(),
        good.replace("alice", "\u{1}"),
        good.replace("alice", "\\ud800"),
        format!("{}{}", "[".repeat(30_000), "]".repeat(30_000)),
    ];
    for body in bodies {
        let sent = body.clone();
        let endpoint = Endpoint::start(move |_| json_with(&sent));
        let asked = service(strategy(&endpoint));
        for _ in 0..2 {
            let answer = asked.send(bearer(TOKEN)).await;
            assert_eq!(answer.came(), Came::Unavailable, "{body}");
            assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
            assert!(matches!(why(&answer), IntrospectionError::Answer), "{body}");
        }
        assert_eq!(endpoint.asked(), 2, "{body}");
    }
}

type MakeReply = Box<dyn Fn() -> Reply + Send + Sync>;
type Check = fn(&FetchError) -> bool;

#[tokio::test]
async fn an_endpoint_that_fails_is_a_503() {
    let huge = |len: usize| {
        let mut answer = answer_with(json!({})).to_string();
        answer.push_str(&" ".repeat(len - answer.len()));
        answer
    };
    let head = "HTTP/1.1 200 OK\r\n";
    let status: Check = |error| matches!(error, FetchError::Status(_));
    let transport: Check = |error| matches!(error, FetchError::Transport(_));
    let too_long: Check = |error| matches!(error, FetchError::TooLong { .. });
    let pieces: Check = |error| matches!(error, FetchError::TooManyPieces { .. });
    let good = answer_with(json!({})).to_string();
    let cases: Vec<(&str, MakeReply, Check)> = vec![
        // The client's secret is wrong.
        (
            "401",
            Box::new({
                let good = good.clone();
                move || Reply::Http("401 Unauthorized".to_owned(), good.clone().into())
            }),
            status,
        ),
        (
            "403",
            Box::new(|| Reply::Http("403 Forbidden".to_owned(), b"{}".to_vec())),
            status,
        ),
        (
            "500",
            Box::new(|| Reply::Http("500 Oops".to_owned(), b"{\"active\":true}".to_vec())),
            status,
        ),
        (
            "204",
            Box::new(|| Reply::Bytes(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec())),
            status,
        ),
        (
            "201",
            Box::new({
                let good = good.clone();
                move || Reply::Http("201 Created".to_owned(), good.clone().into())
            }),
            status,
        ),
        (
            "no HTTP",
            Box::new(|| Reply::Bytes(b"SSH-2.0-OpenSSH\r\n".to_vec())),
            transport,
        ),
        ("nothing", Box::new(|| Reply::Bytes(Vec::new())), transport),
        (
            "half",
            Box::new(move || {
                Reply::Bytes(
                    format!("{head}content-length: 500\r\n\r\n{{\"active\":true").into_bytes(),
                )
            }),
            transport,
        ),
        (
            "one byte too long",
            Box::new(move || json_with(&huge(65_537))),
            too_long,
        ),
        (
            "endless",
            Box::new(move || Reply::Endless(format!("{head}\r\n").into_bytes())),
            too_long,
        ),
        (
            "pieces",
            Box::new(move || {
                let chunks = "1\r\n \r\n".repeat(17_000);
                Reply::Bytes(
                    format!("{head}transfer-encoding: chunked\r\n\r\n{chunks}0\r\n\r\n")
                        .into_bytes(),
                )
            }),
            pieces,
        ),
    ];
    for (case, reply, is_expected) in cases {
        let endpoint = Endpoint::start(move |_| reply());
        let answer = service(strategy(&endpoint)).send(bearer(TOKEN)).await;
        assert_eq!(answer.came(), Came::Unavailable, "{case}");
        match why(&answer) {
            // Bytes that arrive together are one piece to the client.
            IntrospectionError::Call(FetchError::TooLong { .. }) if case == "pieces" => {}
            IntrospectionError::Call(error) => assert!(is_expected(&error), "{case}: {error:?}"),
            other => panic!("{case}: {other:?}"),
        }
    }
    let longest = Endpoint::start(move |_| json_with(&huge(65_536)));
    assert_eq!(
        service(strategy(&longest)).came(bearer(TOKEN)).await,
        Came::alice()
    );
}

#[tokio::test]
async fn an_endpoint_that_is_down_is_a_503_until_it_is_up() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    let client = ClientAuthentication::none();
    let down = Introspection::new(format!("http://{address}/"), client).audience("api");
    let asked = service(down);
    assert_eq!(asked.came(bearer(TOKEN)).await, Came::Unavailable);
    assert_eq!(asked.came(request(&[])).await, Came::Visitor);

    let fails = Arc::new(AtomicUsize::new(1));
    let endpoint = Endpoint::start(move |_| {
        if fails.swap(0, Ordering::SeqCst) == 1 {
            Reply::Http("503 Starting".to_owned(), Vec::new())
        } else {
            Reply::Json(answer_with(json!({})))
        }
    });
    let asked = service(strategy(&endpoint));
    assert_eq!(asked.came(bearer(TOKEN)).await, Came::Unavailable);
    assert_eq!(asked.came(bearer(TOKEN)).await, Came::alice());
}

#[tokio::test]
async fn an_endpoint_that_hangs_is_a_503_after_the_time_limit() {
    let replies: [fn() -> Reply; 2] = [
        || Reply::Hang,
        || Reply::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 99".to_vec()),
    ];
    for (case, reply) in replies.into_iter().enumerate() {
        let endpoint = Endpoint::start(move |_| reply());
        let asked = service(strategy(&endpoint).call_time_limit(Duration::from_millis(50)));
        let answer = asked.send(bearer(TOKEN)).await;
        assert_eq!(answer.came(), Came::Unavailable);
        let is_late = matches!(why(&answer), IntrospectionError::Call(FetchError::TimedOut));
        assert_eq!(is_late, case == 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_hang_give_their_place_to_others() {
    let endpoint = Endpoint::start(|call| {
        if call.token().starts_with("hang") {
            Reply::Hang
        } else {
            Reply::Json(answer_with(json!({})))
        }
    });
    let strategy = strategy(&endpoint)
        .max_calls(2)
        .call_time_limit(Duration::from_millis(100));
    let asked = service(strategy);
    let hanging: Vec<_> = (0..2)
        .map(|index| {
            let asked = asked.clone();
            tokio::spawn(async move { asked.came(bearer(&format!("hang{index}"))).await })
        })
        .collect();
    endpoint.is_asked(2);
    assert_eq!(asked.came(bearer(TOKEN)).await, Came::alice());
    for came in futures::future::join_all(hanging).await {
        assert_eq!(came.expect("no panic"), Came::Unavailable);
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    for status in ["301", "302", "303", "307", "308"] {
        let thief = Endpoint::always(answer_with(json!({})));
        let to = thief.url();
        let endpoint = Endpoint::start(move |_| {
            Reply::Http(format!("{status} Elsewhere\r\nlocation: {to}"), Vec::new())
        });
        let answer = service(strategy(&endpoint)).send(bearer(TOKEN)).await;
        assert_eq!(answer.came(), Came::Unavailable);
        let code = status.parse::<u16>().expect("a number");
        let error = why(&answer);
        assert!(
            matches!(error, IntrospectionError::Call(FetchError::Status(found)) if found == code),
            "{error:?}"
        );
        assert_eq!(thief.asked(), 0, "{status}");
    }
}

/// An implementation of the application's, for what the bundled client does not do.
struct Own(Posted);

type Posted = fn() -> Result<Bytes, FetchError>;

impl PostForm for Own {
    async fn post(&self, request: FormRequest) -> Result<Bytes, FetchError> {
        assert_eq!(request.url(), "https://id.example/introspect");
        assert!(request.body().starts_with(&format!("token={TOKEN}&")));
        assert!(request.authorization().expect("basic").is_sensitive());
        assert_eq!(format!("{request:?}"), "FormRequest(..)");
        (self.0)()
    }
}

/// A good answer, filled up with white space.
fn answer_of_len(len: usize) -> Bytes {
    let mut answer = answer_with(json!({})).to_string().into_bytes();
    answer.resize(len, b' ');
    answer.into()
}

#[tokio::test]
async fn an_own_implementation_is_bounded_too() {
    let posts: [(Posted, Came); 5] = [
        (
            || Ok(answer_with(json!({})).to_string().into()),
            Came::alice(),
        ),
        (|| Ok(answer_of_len(65_536)), Came::alice()),
        (|| Ok(answer_of_len(65_537)), Came::Unavailable),
        (|| Err(FetchError::TimedOut), Came::Unavailable),
        (|| panic!("a mistake"), Came::Unavailable),
    ];
    for (post, came) in posts {
        let client = ClientAuthentication::basic("orders-api", "secret");
        let strategy = Introspection::new("https://id.example/introspect", client)
            .audience("api")
            .post_with(Own(post));
        assert_eq!(service(strategy).came(bearer(TOKEN)).await, came);
    }
}

#[tokio::test]
async fn an_assertion_that_cannot_be_made_is_a_503() {
    let endpoint = Endpoint::always(answer_with(json!({})));
    let client = ClientAuthentication::assertion("a", || Err(std::fmt::Error));
    let strategy = Introspection::new(endpoint.url(), client).audience("api");
    let answer = service(strategy).send(bearer(TOKEN)).await;
    assert!(matches!(why(&answer), IntrospectionError::Assertion(_)));
    let panics = ClientAuthentication::assertion("a", || -> Result<String, std::fmt::Error> {
        panic!("a mistake")
    });
    let strategy = Introspection::new(endpoint.url(), panics).audience("api");
    let answer = service(strategy).send(bearer(TOKEN)).await;
    assert!(matches!(
        why(&answer),
        IntrospectionError::Call(FetchError::Panicked)
    ));
    assert_eq!(endpoint.asked(), 0);
}

#[test]
fn without_a_runtime_that_has_timers_it_is_a_503() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let endpoint = Endpoint::always(answer_with(json!({})));
    let asked = service(strategy(&endpoint));
    let came = runtime.block_on(asked.came(bearer(TOKEN)));
    assert_eq!(came, Came::Unavailable);
    let came = futures::executor::block_on(service(strategy(&endpoint)).came(bearer(TOKEN)));
    assert_eq!(came, Came::Unavailable);
}
