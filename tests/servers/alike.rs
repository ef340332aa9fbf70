//! One table of requests with the same results on four real servers: the principal, the refusal, and the
//! headers that reach the handler.

use bytes::Bytes;
use http::{HeaderValue, Request, header::CONTENT_TYPE};
use http_body::Body;
use http_body_util::Empty;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tonic::Code;

use crate::support::{
    Sent, Server,
    cases::{CASES, Case, IDENTITY_HEADERS},
    grpc_code,
};

/// Sends a case to its own server and returns the differences from the expected result.
async fn try_case(server: Server, case: &Case) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut expect = |as_expected: bool, what: String| {
        if !as_expected {
            wrong.push(format!("{server:?}, {}: {what}", case.name));
        }
    };
    let running = server.start(&case.rules).await;
    let mut client = running.connect().await;
    let answer = client.ask(&Sent::with(case.sent)).await;
    drop(client);
    let office = &running.office;
    office.is_empty().await;

    let heard = office.audit.take();
    let counts = [office.built(), office.answered() / server.answers()];
    match (&case.expected, &answer) {
        (Ok((who, strategy)), Ok(seen)) => {
            match seen.whose() {
                Ok(whose) => expect(whose.who == *who, format!("it was {}", whose.who)),
                Err(mixed) => expect(false, mixed),
            }
            expect(seen.strategy == *strategy, format!("by {}", seen.strategy));
            for name in IDENTITY_HEADERS {
                let (reached, kept) = (seen.values_of(name), case.kept.contains(&name));
                expect(
                    reached == u32::from(kept),
                    format!("{reached} {name} reached it"),
                );
            }
            expect(
                heard.accepted.len() == 1,
                format!("accepted {:?}", heard.accepted),
            );
            expect(
                heard.refused.is_empty(),
                format!("refused {:?}", heard.refused),
            );
            expect(counts == [1, 1], format!("built, answered: {counts:?}"));
        }
        (Err((status, why)), Err(refusal)) => {
            expect(refusal.says(*status), format!("answered {refusal:?}"));
            expect(
                heard.accepted.is_empty(),
                format!("accepted {:?}", heard.accepted),
            );
            expect(
                heard.refused == [*why],
                format!("refused {:?}", heard.refused),
            );
            expect(counts == [0, 0], format!("built, answered: {counts:?}"));
        }
        _ => expect(false, format!("answered {answer:?}")),
    }
    let stripped: Vec<_> = heard
        .stripped
        .iter()
        .map(|(name, why)| (name.as_str(), *why))
        .collect();
    expect(stripped == case.stripped, format!("stripped {stripped:?}"));
    let waits = office.waits();
    expect((waits > 0) == case.waits, format!("waited {waits} times"));
    expect(
        heard.alarms.is_empty(),
        format!("alarms {:?}", heard.alarms),
    );
    wrong
}

async fn answers_every_case(server: Server) {
    let mut wrong = Vec::new();
    for case in CASES {
        wrong.extend(try_case(server, case).await);
    }
    assert!(
        wrong.is_empty(),
        "not as it should be:\n{}",
        wrong.join("\n")
    );
}

#[tokio::test]
async fn axum_answers_every_case() {
    answers_every_case(Server::Axum).await;
}

#[tokio::test]
async fn hyper_answers_every_case_over_http1() {
    answers_every_case(Server::HyperHttp1).await;
}

#[tokio::test]
async fn hyper_answers_every_case_over_http2() {
    answers_every_case(Server::HyperHttp2).await;
}

#[tokio::test]
async fn tonic_answers_every_case_of_a_unary_call() {
    answers_every_case(Server::TonicUnary).await;
}

#[tokio::test]
async fn tonic_answers_every_case_of_a_stream() {
    answers_every_case(Server::TonicStreaming).await;
}

#[tokio::test]
async fn the_bare_stack_answers_every_case() {
    answers_every_case(Server::Bare).await;
}

/// A generated client also understands a plain HTTP refusal, but other clients do not.
#[tokio::test]
async fn every_refusal_over_grpc_is_a_trailers_only_status() {
    let http = Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http::<Empty<Bytes>>();
    for case in CASES {
        let Err((status, _)) = case.expected else {
            continue;
        };
        let running = Server::TonicUnary.start(&case.rules).await;
        let uri = format!("http://{}/whoami.WhoAmI/Ask", running.address());
        let mut request = Request::post(uri).body(Empty::new()).expect("a request");
        *request.headers_mut() = Sent::with(case.sent).headers;
        let sent = HeaderValue::from_static("application/grpc+proto");
        request.headers_mut().insert(CONTENT_TYPE, sent);

        let response = http.request(request).await.expect("an answer");
        let name = case.name;
        let headers = response.headers();
        assert_eq!(
            response.status(),
            status,
            "{name}: HTTP's status is the real one"
        );
        assert_eq!(
            headers[CONTENT_TYPE], "application/grpc",
            "{name}: gRPC's type, and nothing that the client wrote"
        );
        let said = headers
            .get("grpc-status")
            .map(|code| Code::from_bytes(code.as_bytes()));
        assert_eq!(
            said,
            grpc_code(status),
            "{name}: the status is in the headers"
        );
        assert!(headers.contains_key("grpc-message"), "{name}: it says why");
        assert!(
            response.body().is_end_stream(),
            "{name}: and nothing follows"
        );
    }
}
