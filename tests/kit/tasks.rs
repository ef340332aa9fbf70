//! B80, B82: Services that stream events, start tasks and use threads: honest ones have no finding
//! with any seed, and what an open stream shows of others is found.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    extract::State,
    response::sse::{Event, Sse},
    routing::{get, post},
};
use futures::{Stream, StreamExt, channel::mpsc, stream};
use tower_user_scope::{
    ExistingContext, Scoped, UserContext, UserScopeLayer,
    testing::{AsUser, Client, Finding, IsolationReport, Recorder, ScenarioCheck},
};

use super::support::{Agents, lock, waits};

/// The open event streams, by user.
#[derive(Clone, Default)]
struct Hub(Arc<Mutex<HashMap<String, Vec<mpsc::UnboundedSender<String>>>>>);

impl Hub {
    fn subscribe(&self, user: &str) -> impl Stream<Item = String> + use<> {
        let (sender, receiver) = mpsc::unbounded();
        lock(&self.0)
            .entry(user.to_owned())
            .or_default()
            .push(sender);
        receiver
    }

    fn publish(&self, to: impl Fn(&str) -> bool, text: &str) {
        for (_, senders) in lock(&self.0).iter().filter(|(user, _)| to(user)) {
            for sender in senders {
                // A client that has gone gets nothing.
                let _ = sender.unbounded_send(text.to_owned());
            }
        }
    }
}

async fn events(
    State(hub): State<Hub>,
    agents: Scoped<Agents>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let news = hub
        .subscribe(&agents.owner)
        .map(|text| Event::default().event("note").data(text));
    Sse::new(
        stream::iter([Event::default().comment("alive")])
            .chain(news)
            .map(Ok),
    )
}

/// Sends the events to everybody where `TO_ALL` is true: the bug.
async fn publish<const TO_ALL: bool>(State(hub): State<Hub>, agents: Scoped<Agents>, text: String) {
    hub.publish(|user| TO_ALL || *user == agents.owner, &text);
}

/// Tells everybody how many notes there are, and nothing else.
async fn count(State(hub): State<Hub>, agents: Scoped<Agents>, text: String) {
    let own = agents.owner.clone();
    hub.publish(|user| user == own, &text);
    hub.publish(|user| user != own, "somebody has written");
}

async fn joined(agents: Scoped<Agents>) -> String {
    let task = tokio::spawn(async move {
        waits(10).await;
        agents.owner.clone()
    });
    task.await.expect("no panic")
}

async fn blocking(agents: Scoped<Agents>) -> String {
    let task = tokio::task::spawn_blocking(move || agents.owner.clone());
    task.await.expect("no panic")
}

/// A task that goes on after the answer, for a while.
async fn left_behind(agents: Scoped<Agents>) -> &'static str {
    tokio::spawn(async move {
        waits(20).await;
        drop(agents);
    });
    "started"
}

/// A body that a task produces.
async fn produced(agents: Scoped<Agents>) -> axum::body::Body {
    let (sender, receiver) = mpsc::unbounded();
    tokio::spawn(async move {
        for number in 0..8 {
            waits(1).await;
            let line = format!("{number} of {}\n", agents.owner);
            if sender.unbounded_send(Ok::<_, Infallible>(line)).is_err() {
                return;
            }
        }
    });
    axum::body::Body::from_stream(receiver)
}

fn app(recorder: &Recorder, publish: axum::routing::MethodRouter<Hub>) -> Router {
    let layer = UserScopeLayer::builder()
        .strategy(ExistingContext::new())
        .factory(|user: &UserContext| Agents {
            owner: user.user_id().map_or_else(String::new, ToString::to_string),
        })
        .observer(recorder.clone())
        .build()
        .expect("a valid configuration");
    Router::new()
        .route("/events", get(events))
        .route("/notes", publish)
        .route("/joined", get(joined))
        .route("/blocking", get(blocking))
        .route("/left-behind", post(left_behind))
        .route("/produced", get(produced))
        .layer(layer)
        .with_state(Hub::default())
}

async fn play(
    seed: u64,
    publish: fn() -> axum::routing::MethodRouter<Hub>,
    scenario: impl AsyncFn(Client),
) -> IsolationReport {
    let recorder = Recorder::new();
    ScenarioCheck::new()
        .users(2)
        .seed(seed)
        .recorder(&recorder)
        .authenticate(|user, request| request.as_user(user.id()))
        .run(async || app(&recorder, publish()), scenario)
        .await
}

/// Reads what the user's own notes publish.
async fn listens(client: Client) {
    let mut events = client.events("/events").await;
    for name in ["first", "second"] {
        client.post("/notes", client.secret(name)).await;
        let event = events.next().await.expect("an event");
        assert_eq!(event.headers()["event"], "note");
        assert_eq!(event.text(), client.secret(name));
    }
}

#[tokio::test]
async fn b82_honest_streams_and_tasks_have_no_finding_with_any_seed() {
    for seed in 0..20 {
        play(seed, || post(publish::<false>), listens)
            .await
            .assert_isolated();
        for path in ["/joined", "/blocking", "/produced"] {
            let scenario = async |client: Client| {
                for _ in 0..3 {
                    client.get(path).await;
                }
            };
            let report = play(seed, || post(publish::<false>), scenario).await;
            report.assert_isolated();
        }
        let scenario = async |client: Client| {
            client.post("/left-behind", "").await;
            client.get("/joined").await;
        };
        play(seed, || post(publish::<false>), scenario)
            .await
            .assert_isolated();
    }
}

#[tokio::test]
async fn b80_what_an_open_event_stream_shows_of_others_is_found_with_each_seed() {
    for seed in 0..20 {
        let report = play(seed, || post(publish::<true>), listens).await;
        let found = |finding: &Finding| {
            matches!(finding, Finding::ForeignBytes { location, .. }
                if location.request() == "EVENT /events")
        };
        assert!(report.findings().iter().any(found), "seed {seed}: {report}");

        let report = play(
            seed,
            || post(count),
            async |client: Client| {
                let mut events = client.events("/events").await;
                client.post("/notes", client.secret("note")).await;
                let _ = events.next().await;
            },
        )
        .await;
        let found = |finding: &Finding| {
            matches!(finding, Finding::Interference { location, because, .. }
                if location.request() == "EVENT /events" && because.iter().any(|sent| sent.ends_with("POST /notes")))
        };
        assert!(report.findings().iter().any(found), "seed {seed}: {report}");
    }
}

#[tokio::test]
async fn an_event_stream_that_ends_or_is_refused_is_no_event() {
    let short = async || {
        let events = stream::iter(["one", "two"])
            .map(|text| Ok::<_, Infallible>(Event::default().data(text)));
        Sse::new(events)
    };
    let seen = std::cell::RefCell::new(Vec::new());
    let report = ScenarioCheck::new()
        .run(
            async || Router::new().route("/short", get(short)),
            async |client: Client| {
                let mut short = client.events("/short").await;
                let mut refused = client.events("/nowhere").await;
                let texts = [
                    short.next().await,
                    short.next().await,
                    short.next().await,
                    refused.next().await,
                ];
                let texts = texts.map(|event| event.map(|event| event.text()));
                *seen.borrow_mut() = vec![short.status().as_u16(), refused.status().as_u16()];
                assert_eq!(
                    texts,
                    [Some("one".to_owned()), Some("two".to_owned()), None, None]
                );
            },
        )
        .await;
    assert_eq!(*seen.borrow(), [200, 404]);
    let failed = |finding: &Finding| matches!(finding, Finding::ScenarioFailed { .. });
    assert!(!report.findings().iter().any(failed), "{report}");
}
