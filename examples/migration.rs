//! From a singleton to a factory for each request, without a changed line in the handlers.
//!
//! `/old` and `/new` have the same handler. Under `/old` it gets the one shared object, which
//! still knows what the last user did; under `/new` the layer gives it a fresh one in the shape
//! that it asks for. So a service moves route by route.

mod support;

use std::{
    error::Error,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Extension, Router,
    http::{HeaderMap, StatusCode},
    routing::get,
};
use tokio::net::TcpListener;
use tower_user_scope::{TrustedHeader, UserScopeLayer};

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

/// The handler as it always was.
async fn run_agent(Extension(agents): Extension<Arc<AgentFactory>>, headers: HeaderMap) -> String {
    let user = headers.get("x-user-id").and_then(|id| id.to_str().ok());
    agents.start(user.unwrap_or("default"))
}

fn app() -> Result<Router, Box<dyn Error>> {
    let singleton = Arc::new(AgentFactory::default());
    let user_scope = UserScopeLayer::builder()
        .strategy(
            TrustedHeader::new("x-user-id")
                .from_proxies(["127.0.0.1"])?
                .shared_secret("x-proxy-secret", PROXY_SECRET),
        )
        .factory(|_user| AgentFactory::default())
        .insert_as_arc()
        .build()?;
    let old = Router::new()
        .route("/old", get(run_agent))
        .layer(Extension(singleton));
    let new = Router::new()
        .route("/new", get(run_agent))
        .layer(user_scope);
    Ok(old.merge(new))
}

const CASES: &[Case<'_>] = &[
    Case::get(
        "old: alice",
        "/old",
        &[("x-user-id", "alice")],
        Ok("alice, with an empty memory"),
    ),
    Case::get(
        "old: bob",
        "/old",
        &[("x-user-id", "bob")],
        Ok("bob, who reads what alice wrote"),
    ),
    Case::get(
        "old: nobody",
        "/old",
        &[],
        Ok("default, who reads what bob wrote"),
    ),
    Case::get(
        "new: alice",
        "/new",
        &[("x-user-id", "alice")],
        Ok("alice, with an empty memory"),
    ),
    Case::get(
        "new: bob",
        "/new",
        &[("x-user-id", "bob")],
        Ok("bob, with an empty memory"),
    ),
    Case::get("new: nobody", "/new", &[], Err(StatusCode::UNAUTHORIZED)),
];

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let app = app()?.into_make_service_with_connect_info::<SocketAddr>();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    serve_and_ask(address, axum::serve(listener, app).into_future(), CASES).await
}
