//! Scenarios log in by themselves, wait between two looks at what they share, log what they should
//! not, and fail; what a check then says.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::IntoResponse,
    routing::{get, post},
};
use bytes::Bytes;
use http::{Method, Request};
use tower_user_scope::{
    ExistingContext, Scoped, UserId, UserScopeLayer,
    testing::{AsUser, Client, Finding, IsolationReport, Recorder, ScenarioCheck, TestUser},
};

use super::{
    services::{Handle, honest, play, random},
    support::{kinds, lock, waits},
};

/// Sessions and accounts as services keep them.
#[derive(Default)]
struct Accounts {
    sessions: HashMap<String, String>,
    notes: HashMap<String, (String, String)>,
}

type Shared = Arc<Mutex<Accounts>>;

fn user(accounts: &Accounts, headers: &HeaderMap) -> Option<String> {
    let cookie = headers.get("cookie")?.to_str().ok()?;
    let id = cookie
        .split("; ")
        .find_map(|pair| pair.strip_prefix("sid="))?;
    accounts.sessions.get(id).cloned()
}

async fn log_in(State(accounts): State<Shared>, body: String) -> impl IntoResponse {
    let (name, password) = body.split_once('&').unwrap_or_default();
    if password.is_empty() {
        return (StatusCode::UNAUTHORIZED, HeaderMap::new());
    }
    let id = random();
    lock(&accounts).sessions.insert(id.clone(), name.to_owned());
    let cookie = format!("sid={id}; Path=/; HttpOnly")
        .parse()
        .expect("visible");
    (
        StatusCode::NO_CONTENT,
        HeaderMap::from_iter([(http::header::SET_COOKIE, cookie)]),
    )
}

async fn log_out(State(accounts): State<Shared>, headers: HeaderMap) -> impl IntoResponse {
    let mut accounts = lock(&accounts);
    if let Some(user) = user(&accounts, &headers) {
        accounts.sessions.retain(|_, name| *name != user);
    }
    [("set-cookie", "sid=; Max-Age=0; Path=/")]
}

async fn add(
    State(accounts): State<Shared>,
    headers: HeaderMap,
    text: String,
) -> impl IntoResponse {
    let mut accounts = lock(&accounts);
    let Some(user) = user(&accounts, &headers) else {
        return (StatusCode::UNAUTHORIZED, String::new());
    };
    let id = random();
    accounts.notes.insert(id.clone(), (user, text));
    (
        StatusCode::CREATED,
        serde_json::json!({ "id": id }).to_string(),
    )
}

/// Forgets to compare the owner where `CHECKED` is false.
async fn read<const CHECKED: bool>(
    State(accounts): State<Shared>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> impl IntoResponse {
    let accounts = lock(&accounts);
    let user = user(&accounts, &headers);
    let note = accounts.notes.get(&id);
    match (note, user) {
        (_, None) => (StatusCode::UNAUTHORIZED, String::new()),
        (Some((owner, text)), Some(user)) if !CHECKED || *owner == user => {
            (StatusCode::OK, text.clone())
        }
        _ => (StatusCode::NOT_FOUND, "no such note".to_owned()),
    }
}

fn app<const CHECKED: bool>() -> Router {
    Router::new()
        .route("/log-in", post(log_in))
        .route("/log-out", post(log_out))
        .route("/notes", post(add))
        .route("/notes/{id}", get(read::<CHECKED>))
        .with_state(Shared::default())
}

/// Logs in, creates, reads, logs out.
async fn visit(client: Client) {
    let form = format!("{}&{}", client.id(), client.secret("password"));
    client.post("/log-in", form).await;
    let note = client.post("/notes", client.secret("note")).await;
    let id = note.json("/id");
    client.created("note", &id);
    let read = client.get(&format!("/notes/{id}")).await;
    assert_eq!(read.text(), client.secret("note"));
    client.post("/log-out", "").await;
    let after = client.get(&format!("/notes/{id}")).await;
    assert_eq!(after.status(), StatusCode::UNAUTHORIZED);
}

fn note(id: &str) -> Request<Bytes> {
    Request::get(format!("/notes/{id}"))
        .body(Bytes::new())
        .expect("a path")
}

#[tokio::test]
async fn a_scenario_logs_in_by_a_form_and_others_ask_for_what_it_created() {
    for seed in 0..3 {
        let check = || ScenarioCheck::new().seed(seed).foreign("note", note);
        check()
            .run(async || app::<true>(), visit)
            .await
            .assert_isolated();

        let report = check().run(async || app::<false>(), visit).await;
        let found = |finding: &Finding| {
            matches!(finding, Finding::ForeignThing { kind, location, missing, foreign, .. }
                if kind == "note" && location.place() == "status"
                    && missing.as_deref() == Some("404") && foreign.as_deref() == Some("200"))
        };
        assert!(
            report.findings().iter().all(found) && !report.findings().is_empty(),
            "{report}"
        );
    }
}

/// The user whom the service acts for, as a singleton remembers it.
#[derive(Default)]
struct Current(Mutex<String>);

#[tokio::test]
async fn a_current_user_that_requests_share_is_found_with_each_seed() {
    let service = || {
        let layer = UserScopeLayer::builder()
            .strategy(ExistingContext::new())
            .context_only()
            .build()
            .expect("a valid configuration");
        let handler = async |State(current): State<Arc<Current>>, user: UserId, body: String| {
            *lock(&current.0) = format!("{user} wrote {body}");
            waits(2).await;
            lock(&current.0).clone()
        };
        Router::new()
            .fallback(handler)
            .layer(layer)
            .with_state(Arc::<Current>::default())
    };
    for seed in 0..20 {
        let report = ScenarioCheck::new()
            .seed(seed)
            .authenticate(|user, request| request.as_user(user.id()))
            .run(
                async || service(),
                async |client: Client| {
                    for _ in 0..4 {
                        client.post("/", client.secret("note")).await;
                    }
                },
            )
            .await;
        assert_eq!(kinds(&report)[0], "foreign_bytes", "{report}");
    }
}

struct Orders;

#[tokio::test]
async fn what_the_guard_reports_comes_first() {
    let recorder = Recorder::new();
    let of_layer = recorder.clone();
    let service = move || {
        let layer = UserScopeLayer::builder()
            .strategy(ExistingContext::new())
            .factory(|_: &tower_user_scope::UserContext| Orders)
            .observer(of_layer.clone())
            .build()
            .expect("a valid configuration");
        let first: Arc<Mutex<Option<Scoped<Orders>>>> = Arc::default();
        let handler = async move |orders: Scoped<Orders>| {
            let first = lock(&first).get_or_insert(orders).clone();
            match Scoped::try_get(&first) {
                Ok(_) => StatusCode::OK,
                Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
            }
        };
        Router::new().fallback(get(handler)).layer(layer)
    };
    let report = ScenarioCheck::new()
        .recorder(&recorder)
        .authenticate(|user, request| request.as_user(user.id()))
        .run(
            async || service(),
            async |client: Client| {
                client.get("/").await;
            },
        )
        .await;
    let kinds = kinds(&report);
    assert_eq!(
        kinds[..2],
        ["cross_user_access", "factory_retained"],
        "{report}"
    );
    assert!(kinds.contains(&"interference"), "{report}");
}

#[tokio::test]
async fn a_secret_in_a_log_is_found() {
    for logs_note in [true, false] {
        let handle: Handle = if logs_note {
            |world, ask| {
                tracing::debug!(target: "shop::orders", size = ask.body.len(), "saving {}", ask.body);
                honest(world, ask)
            }
        } else {
            |world, ask| {
                tracing::debug!(target: "shop::orders", user = ask.user, "saving");
                honest(world, ask)
            }
        };
        let report = play(ScenarioCheck::new().logs(), handle).await;
        if logs_note {
            let found = |finding: &Finding| matches!(finding, Finding::Logged { what, target, .. } if what == "note" && target == "shop::orders");
            assert!(report.findings().iter().any(found), "{report}");
        } else {
            report.assert_isolated();
        }
    }
}

async fn says(check: ScenarioCheck, scenario: impl AsyncFn(Client)) -> IsolationReport {
    check.run(async || app::<true>(), scenario).await
}

#[tokio::test]
async fn b81_a_scenario_that_shows_nothing_fails_and_says_why() {
    let refused = says(ScenarioCheck::new(), async |client: Client| {
        client.post("/notes", client.secret("note")).await;
    });
    let same_for_all = says(ScenarioCheck::new(), async |client: Client| {
        client
            .post("/log-in", format!("{}&password", client.id()))
            .await;
    });
    let not_created = says(ScenarioCheck::new().foreign("order", note), visit);
    let deleted = says(
        ScenarioCheck::new().foreign("note", note),
        async |client: Client| {
            client
                .post("/log-in", format!("{}&password", client.id()))
                .await;
            client.post("/notes", client.secret("note")).await;
            client.created("note", "nowhere");
            client.get("/notes/nowhere").await;
        },
    );
    for (report, reason) in [
        (refused.await, "times 401 Unauthorized"),
        (same_for_all.await, "taken for another one sees the same"),
        (
            not_created.await,
            "nobody created a thing of the kind `order`",
        ),
        (
            deleted.await,
            "its owner gets the answer for what does not exist",
        ),
    ] {
        let says = |finding: &Finding| matches!(finding, Finding::ShowsNothing { reason: found, .. } if found.contains(reason));
        assert!(report.findings().iter().any(says), "{reason}: {report}");
    }
}

#[tokio::test]
async fn b81_a_scenario_that_fails_alone_is_a_finding_with_its_message() {
    let report = says(ScenarioCheck::new(), async |client: Client| {
        let reply = client.get("/notes/1").await;
        let _ = reply.json("/id");
    })
    .await;
    let found = |finding: &Finding| matches!(finding, Finding::ScenarioFailed { message, .. } if message.contains("no value at \"/id\" in 401"));
    assert!(report.findings().iter().any(found), "{report}");
}

#[tokio::test]
async fn b81_where_nearly_everything_is_random_there_is_no_verdict() {
    let page = async || {
        let words: Vec<String> = (0..20).map(|_| random()).collect();
        words.join(" ")
    };
    let report = ScenarioCheck::new()
        .run(
            async || Router::new().fallback(page),
            async |client: Client| {
                client.get("/").await;
            },
        )
        .await;
    let found = |finding: &Finding| matches!(finding, Finding::TooMuchNoise { differing, places, .. } if differing * 2 > *places);
    assert!(report.findings().iter().any(found), "{report}");
}

#[tokio::test]
async fn b81_a_scenario_without_an_end_ends_with_the_time() {
    let report = ScenarioCheck::new()
        .time_limit(Duration::from_millis(50))
        .run(
            async || Router::new().fallback(get(async || std::future::pending::<()>().await)),
            async |client: Client| {
                client.get("/slow").await;
            },
        )
        .await;
    let found = |finding: &Finding| matches!(finding, Finding::Unfinished { request, .. } if request == "GET /slow");
    assert!(
        report.findings().iter().all(found) && !report.findings().is_empty(),
        "{report}"
    );
}

#[tokio::test]
async fn users_of_the_application_s_own_play_with_tokens() {
    let known = || {
        [
            TestUser::new("1001").with_secret("token", "token-of-alice"),
            TestUser::new("1002").with_secret("token", "token-of-bob"),
        ]
    };
    let service = || {
        let orders: Arc<Mutex<Vec<String>>> = Arc::default();
        let handler = async move |method: Method, headers: HeaderMap| {
            let user = match headers
                .get("authorization")
                .map(http::HeaderValue::as_bytes)
            {
                Some(b"Bearer token-of-alice") => "1001",
                Some(b"Bearer token-of-bob") => "1002",
                _ => return (StatusCode::UNAUTHORIZED, String::new()),
            };
            let mut orders = lock(&orders);
            if method == Method::POST {
                orders.push(user.to_owned());
            }
            (StatusCode::OK, format!("{user} of {}", orders.len()))
        };
        Router::new().fallback(handler)
    };
    let report = ScenarioCheck::new()
        .known_users(known())
        .run(
            async || service(),
            async |client: Client| {
                client.set_header(
                    "authorization",
                    format!("Bearer {}", client.secret("token")),
                );
                client.post("/orders", "").await;
                client.get("/orders").await;
            },
        )
        .await;
    assert_eq!(kinds(&report), ["interference"], "{report}");
    let text = report.to_string();
    assert!(text.contains("because 1001 sent POST /orders"), "{text}");
}
