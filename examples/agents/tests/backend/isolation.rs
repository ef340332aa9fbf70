//! The checks for leaks, from outside: they find nothing in the program as it is, and each of its planted
//! bugs.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    Request, Uri,
    header::{ACCEPT, CONTENT_TYPE, COOKIE},
    uri::Authority,
};
use hyper_util::{
    client::legacy::{Client as HttpClient, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::json;
use tower::ServiceBuilder;
use tower_user_scope::testing::{
    Client, Finding, IsolationCheck, IsolationReport, Location, ScenarioCheck, TestBody, TestUser,
};

use crate::support::Backend;

/// Whether a finding is of this kind.
type Is = fn(&Finding) -> bool;

/// The machine may be busy.
const LIMIT: Duration = Duration::from_secs(400);

fn client() -> HttpClient<HttpConnector, TestBody> {
    HttpClient::builder(TokioExecutor::new()).build_http()
}

/// Sends a request to the program.
fn at<B>(backend: &Backend, request: Request<B>) -> Request<B> {
    let (mut head, body) = request.into_parts();
    let authority: Authority = backend.url["http://".len()..].parse().expect("an address");
    let path = head.uri.path_and_query().expect("a path").as_str();
    head.uri = Uri::builder()
        .scheme("http")
        .authority(authority)
        .path_and_query(path)
        .build()
        .expect("a URI");
    Request::from_parts(head, body)
}

fn run_in(thread: &str, agent: &str, input: &str) -> Request<Bytes> {
    Request::post(format!("/api/threads/{thread}/runs"))
        .header(CONTENT_TYPE, "application/json")
        .header(ACCEPT, "text/event-stream")
        .body(json!({ "agent": agent, "input": input }).to_string().into())
        .expect("a request")
}

/// What one user does, from the first visit on.
async fn scenario(client: Client) {
    let account = json!({ "name": client.id(), "password": "correct horse" });
    client.post_json("/sign-up", account).await;
    client.get("/api/me").await;
    let title = json!({ "title": client.secret("title") });
    let thread = client.post_json("/api/threads", title).await.json("/id");
    client.created("thread", &thread);
    client.get("/api/threads").await;
    client
        .send(run_in(&thread, "recall", &client.secret("task")))
        .await;
    client.get(&format!("/api/threads/{thread}")).await;
    client.post_json("/api/keys", "{}").await;
    client.get("/api/keys").await;
    client.get("/api/me").await;
}

/// Plays the scenario, each time with a program of its own.
async fn scenario_report(arguments: &[&str]) -> IsolationReport {
    let service = async || {
        let backend = Arc::new(Backend::start(arguments).await);
        let to_backend = move |request: Request<TestBody>| at(&backend, request);
        ServiceBuilder::new()
            .map_request(to_backend)
            .service(client())
    };
    ScenarioCheck::new()
        .users(2)
        .interleaved_rounds(1)
        .time_limit(LIMIT)
        .foreign("thread", |id| {
            let path = format!("/api/threads/{id}");
            Request::get(path).body(Bytes::new()).expect("a path")
        })
        .run(service, scenario)
        .await
}

/// Lets many runs of several users go on at the same time, in one program.
async fn concurrent_report(arguments: &[&str]) -> IsolationReport {
    let backend = Arc::new(Backend::start(arguments).await);
    let mut accounts = HashMap::new();
    let mut users = Vec::new();
    for name in ["alice-4c1d", "bobby-77e0", "carol-0b92", "david-5a3f"] {
        let user = backend.sign_up(name).await;
        let thread = user.add_thread("runs").await;
        accounts.insert(name.to_owned(), (user.cookie, thread));
        users.push(TestUser::new(name).with_secret("task", format!("task of {name} 9f2e")));
    }
    let to_backend = move |request: Request<Bytes>| at(&backend, request).map(TestBody::from);
    let service = ServiceBuilder::new()
        .map_request(to_backend)
        .service(client());
    IsolationCheck::new()
        .known_users(users)
        .requests_of_each(6)
        .in_flight(12)
        .time_limit(LIMIT)
        .run(service, |user| {
            let (cookie, thread) = &accounts[user.id()];
            let mut request = run_in(thread, "answer", &user.secret("task"));
            let cookie = cookie.parse().expect("a header's value");
            request.headers_mut().insert(COOKIE, cookie);
            request
        })
        .await
}

#[tokio::test]
async fn nothing_that_one_user_sees_depends_on_others() {
    let report = scenario_report(&["--model-delay", "0"]).await;
    report.assert_isolated();
    assert!(report.succeeded() > 100, "{report}");
}

#[tokio::test]
async fn no_event_of_many_runs_at_once_goes_to_another_user() {
    let report = concurrent_report(&["--model-delay", "2"]).await;
    report.assert_isolated();
    assert!(report.succeeded() > 12, "{report}");
}

#[tokio::test]
async fn each_planted_bug_is_found() {
    let is_foreign: Is = |finding: &Finding| matches!(finding, Finding::ForeignBytes { .. });
    let is_dependent: Is = |finding: &Finding| matches!(finding, Finding::Interference { .. });
    let is_of_another: Is = |finding: &Finding| matches!(finding, Finding::ForeignThing { .. });
    let cases: [(&str, &str, Is); 5] = [
        ("cached-list", "GET /api/threads", is_foreign),
        ("any-thread", "GET /api/threads/", is_of_another),
        // The layer refuses it, so that the second user gets an error, and nothing of the first one.
        ("kept-factory", "GET /api/me", is_dependent),
        ("first-user", "POST /api/threads/", is_foreign),
        ("total-count", "GET /api/me", is_dependent),
    ];
    for (plant, request, is) in cases {
        let report = scenario_report(&["--model-delay", "0", "--plant", plant]).await;
        let found = report.findings().iter().any(|finding| {
            let location = finding.location().map(Location::request);
            is(finding) && location.is_some_and(|found| found.starts_with(request))
        });
        assert!(found, "{plant}: {report}");
    }
    // What only happens while two users are at work is looked for by the other check.
    let report = concurrent_report(&["--model-delay", "2", "--plant", "one-channel"]).await;
    assert!(report.findings().iter().any(is_foreign), "{report}");
}
