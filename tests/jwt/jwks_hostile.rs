//! The cost of a hostile issuer: for each misbehaviour of its server, how a fetch ends, and an upper
//! bound of its requests, bytes and log lines.

use std::{error::Error, net::Shutdown, time::Duration};

use serde_json::json;
use tower_user_scope::{
    jwt::{Algorithm, HttpsFetch, RemoteKeys, TokenErrorKind},
    testing::TestClock,
};

use crate::{
    issuer::jwk,
    raw::{Connection, RawServer, Serve, hears},
    tokens::{Why, asking_at, claims, jwt, minted},
};

const ED: Algorithm = Algorithm::EdDSA;
/// The number of unread bytes that the sockets' buffers may hold.
const BUFFERS: usize = 16 << 20;

fn token(id: &str) -> String {
    minted(ED, Some(id), &claims("alice"))
}

fn good() -> String {
    json!({"keys": [jwk(ED, "a")]}).to_string()
}

/// Waits for the fetch and returns its error.
async fn why(keys: &RemoteKeys) -> Option<String> {
    let error = keys.ready().await.err()?;
    Some(error.source().expect("a reason").to_string())
}

const ENDS_BY_ITSELF: Duration = Duration::from_secs(60);
const ENDS_BY_ITS_LIMIT: Duration = Duration::from_millis(200);

#[tokio::test]
async fn each_misbehaviour_costs_one_request_one_line_and_a_bounded_number_of_bytes() {
    const NO_KEYS: &str = "the text is not a JSON Web Key or a set of them";
    let (lines, _guard) = hears();
    let table: [(&str, Serve, Duration, usize, &str); 22] = [
        (
            "hangs up",
            |_| {},
            ENDS_BY_ITSELF,
            0,
            "could not be reached",
        ),
        (
            "says nothing",
            Connection::hang,
            ENDS_BY_ITS_LIMIT,
            0,
            "the fetch did not end within its time limit",
        ),
        (
            "stops in its head",
            |to| {
                to.send("HTTP/1.1 200 OK\r\ncontent-le");
                to.hang();
            },
            ENDS_BY_ITS_LIMIT,
            100,
            "the fetch did not end within its time limit",
        ),
        (
            "stops in its body",
            |to| {
                to.send("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{\"keys\":");
                to.hang();
            },
            ENDS_BY_ITS_LIMIT,
            100,
            "the fetch did not end within its time limit",
        ),
        (
            "closes one half in its body",
            |to| {
                to.send("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{\"keys\":");
                let _ = to.stream.shutdown(Shutdown::Write);
                to.hang();
            },
            ENDS_BY_ITSELF,
            100,
            "could not be reached",
        ),
        (
            "closes in a good body that is to be longer",
            |to| {
                to.send("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n");
                to.send(good());
            },
            ENDS_BY_ITSELF,
            300,
            "could not be reached",
        ),
        (
            "says that it is longer than memory",
            |to| {
                to.send("HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551615\r\n\r\n");
                while to.send([b' '; 16_384]) {}
            },
            ENDS_BY_ITSELF,
            HttpsFetch::MAX_LEN + BUFFERS,
            "could not be reached",
        ),
        (
            "is long, and says so",
            |to| {
                to.send("HTTP/1.1 200 OK\r\ncontent-length: 8589934592\r\n\r\n");
                while to.send([b' '; 16_384]) {}
            },
            ENDS_BY_ITSELF,
            HttpsFetch::MAX_LEN + BUFFERS,
            "the document has more than 1048576 bytes",
        ),
        (
            "never ends, without a length",
            |to| {
                to.send("HTTP/1.1 200 OK\r\n\r\n{\"keys\":[");
                while to.send(b"1,".repeat(32_768)) {}
            },
            ENDS_BY_ITSELF,
            HttpsFetch::MAX_LEN + BUFFERS,
            "the document has more than 1048576 bytes",
        ),
        (
            "never ends, in chunks of one byte",
            |to| {
                to.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
                while to.send(b"1\r\n \r\n".repeat(8_192)) {}
            },
            ENDS_BY_ITSELF,
            HttpsFetch::MAX_LEN + BUFFERS,
            "the document comes in more than 16384 pieces",
        ),
        (
            "has chunks of negative length",
            |to| {
                to.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n-1\r\n");
                to.hang();
            },
            ENDS_BY_ITSELF,
            100,
            "could not be reached",
        ),
        (
            "has headers without end",
            |to| {
                to.send("HTTP/1.1 200 OK\r\n");
                while to.send(b"x-a: b\r\n".repeat(1_024)) {}
            },
            ENDS_BY_ITSELF,
            BUFFERS,
            "could not be reached",
        ),
        (
            "informs ten thousand times (100), and hangs",
            |to| {
                to.send("HTTP/1.1 100 Continue\r\n\r\n".repeat(10_000));
                to.hang();
            },
            ENDS_BY_ITS_LIMIT,
            HttpsFetch::MAX_LEN,
            "the fetch did not end within its time limit",
        ),
        (
            "redirects to itself",
            |to| {
                let port = to.port;
                to.answer(
                    &format!("302 Found\r\nlocation: http://127.0.0.1:{port}/keys"),
                    good(),
                );
            },
            ENDS_BY_ITSELF,
            500,
            "status 302",
        ),
        (
            "redirects to a file",
            |to| to.answer("301 Moved\r\nlocation: file:///etc/passwd", ""),
            ENDS_BY_ITSELF,
            500,
            "status 301",
        ),
        (
            "says that what nobody knows has not changed",
            |to| to.answer("304 Not Modified\r\netag: \"a\"", ""),
            ENDS_BY_ITSELF,
            500,
            "status 304",
        ),
        (
            "speaks no HTTP",
            |to| {
                to.send("SSH-2.0-OpenSSH_9.6\r\n");
            },
            ENDS_BY_ITSELF,
            100,
            "could not be reached",
        ),
        (
            "sends a bomb (gzip)",
            |to| {
                to.answer(
                    "200 OK\r\ncontent-encoding: gzip",
                    b"\x1f\x8b\x08\0\0\0\0\0\0\x03",
                );
            },
            ENDS_BY_ITSELF,
            500,
            NO_KEYS,
        ),
        (
            "is nested deeply",
            |to| to.answer("200 OK", format!("{{\"keys\":{}", "[".repeat(1_000_000))),
            ENDS_BY_ITSELF,
            HttpsFetch::MAX_LEN,
            NO_KEYS,
        ),
        (
            "has another type",
            |to| to.answer("200 OK\r\ncontent-type: text/html", "<html>"),
            ENDS_BY_ITSELF,
            500,
            NO_KEYS,
        ),
        (
            "has half a million members that are no keys",
            |to| {
                let ones = "1,".repeat(500_000);
                to.answer("200 OK", format!("{{\"keys\":[{ones}1]}}"));
            },
            ENDS_BY_ITSELF,
            HttpsFetch::MAX_LEN,
            "the set has no key that can be used",
        ),
        (
            "has keys under two names",
            |to| to.answer("200 OK", r#"{"keys":[],"keys":[]}"#),
            ENDS_BY_ITSELF,
            500,
            NO_KEYS,
        ),
    ];
    for (what, serve, limit, bytes, told) in table {
        let server = RawServer::start(serve);
        let keys = server.keys().fetch_time_limit(limit);
        let error = why(&keys).await.expect("nothing good comes of it");
        assert!(error.contains(told), "{what}: {error}");
        // Requests with tokens then get a response without another fetch.
        let asked = asking_at(jwt(keys), TestClock::now());
        for stranger in 0..20 {
            let answer = asked.user(&token(&format!("x-{stranger}"))).await;
            assert_eq!(answer, Err(Why::Unavailable), "{what}");
        }
        // On a busy machine the limit may pass before the request is sent.
        let requests = server.requests();
        let is_late = limit == ENDS_BY_ITS_LIMIT && requests == 0;
        assert!(requests == 1 || is_late, "{what}: {requests} requests");
        let sent = server.sent();
        assert!(sent <= bytes, "{what}: {sent} bytes");
        let lines = lines.take();
        assert_eq!(lines.len(), 1, "{what}: {lines:?}");
        assert!(lines[0].contains(told), "{what}: {lines:?}");
        assert!(lines[0].len() < 1_000, "{what}: {lines:?}");
    }
}

#[tokio::test]
async fn metadata_that_misbehaves_costs_one_request_more_at_most() {
    let (lines, _guard) = hears();
    let table: [(&str, Serve, usize, &str); 5] = [
        (
            "is there, and its keys are not",
            |to| {
                let (issuer, keys) = (format!("http://127.0.0.1:{}", to.port), "/keys");
                match to.index {
                    0 => {
                        let metadata = json!({"issuer": issuer, "jwks_uri": issuer.clone() + keys});
                        to.answer("200 OK", metadata.to_string());
                    }
                    _ => to.answer("500 Oh no", ""),
                }
            },
            2,
            "status 500",
        ),
        (
            "names itself as its keys",
            |to| {
                let issuer = format!("http://127.0.0.1:{}", to.port);
                let keys = format!("{issuer}/.well-known/openid-configuration");
                let metadata = json!({"issuer": issuer, "jwks_uri": keys});
                to.answer("200 OK", metadata.to_string());
            },
            2,
            "not a JSON Web Key",
        ),
        (
            "is endless",
            |to| {
                to.send("HTTP/1.1 200 OK\r\n\r\n");
                while to.send([b' '; 16_384]) {}
            },
            1,
            "metadata could not be fetched: the document has more than",
        ),
        (
            "has a name of a megabyte",
            |to| {
                let metadata = json!({"issuer": "a".repeat(1_000_000), "jwks_uri": "b"});
                to.answer("200 OK", metadata.to_string());
            },
            1,
            "the metadata is that of the issuer",
        ),
        (
            "has another machine's keys, whose name takes a megabyte",
            |to| {
                let issuer = format!("http://127.0.0.1:{}", to.port);
                let keys = format!("http://id.example/{}", "a".repeat(1_000_000));
                let metadata = json!({"issuer": issuer, "jwks_uri": keys});
                to.answer("200 OK", metadata.to_string());
            },
            1,
            "it is not an https URL",
        ),
    ];
    for (what, serve, requests, told) in table {
        let server = RawServer::start(serve);
        let keys = RemoteKeys::discover(format!("http://127.0.0.1:{}", server.address.port()));
        let error = why(&keys).await.expect("nothing good comes of it");
        assert!(error.contains(told), "{what}: {error}");
        assert_eq!(server.requests(), requests, "{what}");
        let lines = lines.take();
        assert_eq!(lines.len(), 1, "{what}: {lines:?}");
        assert!(lines[0].len() < 1_000, "{what}: {lines:?}");
    }
}

#[tokio::test]
async fn an_issuer_that_flaps_costs_one_request_for_each_time_that_one_may_be_sent() {
    let server = RawServer::start(|to| match to.index % 3 {
        0 => to.answer("200 OK", good()),
        1 => to.answer("500 Oh no", ""),
        _ => to.answer("200 OK", "{"),
    });
    let (lines, _guard) = hears();
    let clock = TestClock::now();
    let asked = asking_at(jwt(server.keys()), clock.clone());
    for round in 0..12 {
        for stranger in 0..20 {
            assert_eq!(asked.user(&token("a")).await, Ok("alice".to_owned()));
            let stranger = asked.user(&token(&format!("x-{stranger}"))).await;
            let wanted = match round % 3 {
                0 => Why::Token(TokenErrorKind::UnknownKey),
                _ => Why::Unavailable,
            };
            assert_eq!(stranger, Err(wanted), "{round}");
        }
        assert_eq!(server.requests(), round + 1);
        assert_eq!(lines.take().len(), usize::from(round % 3 != 0), "{round}");
        clock.advance(Duration::from_secs(10));
    }
}

#[tokio::test]
async fn what_is_left_out_of_a_set_is_one_line_however_much_it_is() {
    let server = RawServer::start(|to| {
        let bad = r#"{"kty":"EC","kid":"x"},1,"#.repeat(20_000);
        let good = jwk(ED, "a");
        to.answer("200 OK", format!("{{\"keys\":[{good},{bad}1]}}"));
    });
    let (lines, _guard) = hears();
    let asked = asking_at(jwt(server.keys()), TestClock::now());
    assert_eq!(asked.user(&token("a")).await, Ok("alice".to_owned()));
    let lines = lines.take();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].len() < 1_000, "{lines:?}");
}
