//! From a singleton to a factory for each request, in the phases of the guide on migrating.
//!
//! First an isolation check sends requests of many users to each phase and prints its report: in
//! phase 0 users read what others wrote, from phase 1 on they don't. Then phases 0 and 1 are served
//! side by side under `/old` and `/new`, as a service moves route by route.
//!
//! Both have the same handler. It gets the one shared object, and then a fresh one in the shape
//! that it asks for. A `Singleton` holds the shared object, so that at the end there is a list of the
//! routes that still use it. In phase 2 handlers change their arguments one by one; phase 3 is the end.

mod support;

use std::{
    error::Error,
    net::SocketAddr,
    ops::Deref,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Extension, Router,
    body::Body,
    extract::MatchedPath,
    http::{HeaderMap, HeaderValue, Request, StatusCode, Uri},
    routing::get,
};
use tokio::net::TcpListener;
use tower_user_scope::{
    ConfigError, PeerAddr, Scoped, TrustedHeader, UserId, UserScopeLayer,
    migration::{RouteLayer, Singleton},
    scope::Isolation,
    strategy::Strategy,
    testing::{IsolationCheck, IsolationReport, Recorder, TestUser},
};

use self::support::{Case, PROXY_SECRET, serve_and_ask};

/// Written for one user at a time, and shared by all of them.
#[derive(Default)]
struct AgentFactory {
    memory: Mutex<Vec<String>>,
}

impl AgentFactory {
    fn start(&self, user: &str) -> String {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = match memory.last() {
            Some(last) => format!("{user}, who reads what {last} wrote"),
            None => format!("{user}, with an empty memory"),
        };
        memory.push(user.to_owned());
        answer
    }
}

/// The handler as it always was: the same in phases 0 and 1, for a `Singleton` and for an `Arc`.
async fn run_agent<A>(Extension(agents): Extension<A>, headers: HeaderMap) -> String
where
    A: Deref<Target = AgentFactory>,
{
    let user = headers.get("x-user-id").and_then(|id| id.to_str().ok());
    agents.start(user.unwrap_or("default"))
}

/// The handler of phase 3. Each access to its factory is checked.
async fn run_own_agent(agents: Scoped<AgentFactory>, user: UserId) -> String {
    agents.start(user.as_str())
}

/// Phase 0: one object for everybody. It knows the routes that use it.
fn singleton(agents: Singleton<AgentFactory>) -> Router {
    Router::new()
        .route("/agents", get(run_agent::<Singleton<AgentFactory>>))
        .layer(Extension(agents))
        .layer(RouteLayer::new(|head| {
            let route = head.extensions.get::<MatchedPath>()?;
            Some(format!("{} {}", head.method, route.as_str()))
        }))
}

/// Phase 1: a fresh object for each request, behind the same handler. Mistakes are reported.
fn fresh(recorder: &Recorder) -> Result<Router, ConfigError> {
    let user_scope = UserScopeLayer::builder()
        .strategy(proxy()?)
        .factory(|_user| AgentFactory::default())
        .insert_as_arc()
        .isolation(Isolation::Report)
        .observer(recorder.clone())
        .build()?;
    Ok(Router::new()
        .route("/agents", get(run_agent::<Arc<AgentFactory>>))
        .layer(user_scope))
}

/// Phase 3: mistakes are refused.
fn enforced(recorder: &Recorder) -> Result<Router, ConfigError> {
    let user_scope = UserScopeLayer::builder()
        .strategy(proxy()?)
        .factory(|_user| AgentFactory::default())
        .require_scope()
        .observer(recorder.clone())
        .build()?;
    Ok(Router::new()
        .route("/agents", get(run_own_agent))
        .layer(user_scope))
}

fn proxy() -> Result<impl Strategy<Future: Send> + Send + Sync, ConfigError> {
    Ok(TrustedHeader::new("x-user-id")
        .from_proxies(["127.0.0.1"])?
        .shared_secret("x-proxy-secret", PROXY_SECRET))
}

/// Sends requests of 16 users, interleaved and some of them cancelled, in an order that the seed
/// decides. In a service of your own this is a test that ends with `assert_isolated`.
async fn check(app: Router, recorder: Option<&Recorder>) -> IsolationReport {
    let mut check = IsolationCheck::new().seed(42);
    if let Some(recorder) = recorder {
        check = check.recorder(recorder);
    }
    let request = |user: &TestUser| {
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = Uri::from_static("/agents");
        let headers = request.headers_mut();
        headers.insert("x-proxy-secret", HeaderValue::from_static(PROXY_SECRET));
        if let Ok(id) = user.id().parse() {
            headers.insert("x-user-id", id);
        }
        let proxy = SocketAddr::from(([127, 0, 0, 1], 4711));
        request.extensions_mut().insert(PeerAddr(proxy));
        request
    };
    check.run(app, request).await
}

/// Checks each phase and prints its report. Only the first one may have findings.
async fn check_phases() -> Result<(), Box<dyn Error>> {
    let report = check(singleton(Singleton::default()), None).await;
    println!("phase 0, the singleton:\n{report}");
    if report.findings().is_empty() {
        return Err("the check did not find the leak of the singleton".into());
    }
    let phases: [(_, fn(&Recorder) -> _); 2] = [
        ("phase 1, fresh behind the same handler", fresh),
        ("phase 3, enforced", enforced),
    ];
    for (phase, app) in phases {
        let recorder = Recorder::new();
        let report = check(app(&recorder)?, Some(&recorder)).await;
        println!("{phase}:\n{report}");
        report.assert_isolated();
    }
    Ok(())
}

const CASES: &[Case<'_>] = &[
    Case::get(
        "old: alice",
        "/old/agents",
        &[("x-user-id", "alice")],
        Ok("alice, with an empty memory"),
    ),
    Case::get(
        "old: bob",
        "/old/agents",
        &[("x-user-id", "bob")],
        Ok("bob, who reads what alice wrote"),
    ),
    Case::get(
        "old: nobody",
        "/old/agents",
        &[],
        Ok("default, who reads what bob wrote"),
    ),
    Case::get(
        "new: alice",
        "/new/agents",
        &[("x-user-id", "alice")],
        Ok("alice, with an empty memory"),
    ),
    Case::get(
        "new: bob",
        "/new/agents",
        &[("x-user-id", "bob")],
        Ok("bob, with an empty memory"),
    ),
    Case::get(
        "new: nobody",
        "/new/agents",
        &[],
        Err(StatusCode::UNAUTHORIZED),
    ),
];

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    check_phases().await?;
    let agents = Singleton::<AgentFactory>::default();
    let app = Router::new()
        .nest("/old", singleton(agents.clone()))
        .nest("/new", fresh(&Recorder::new())?)
        .into_make_service_with_connect_info::<SocketAddr>();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    serve_and_ask(address, axum::serve(listener, app).into_future(), CASES).await?;
    let report = Singleton::report(&agents);
    println!("\nwhat still uses the singleton:\n{report}");
    match report.uses() {
        [used] if used.route() == Some("GET /old/agents") && used.count() == 3 => Ok(()),
        _ => Err("the report is not as expected".into()),
    }
}
