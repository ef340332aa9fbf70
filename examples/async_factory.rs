//! A factory that has to wait, with a time limit; and before it is built the question "does the
//! thread that this request names belong to this user?"

mod support;

use std::{
    collections::HashMap, error::Error, future, io, net::SocketAddr, sync::Arc, time::Duration,
};

use axum::{Router, http::StatusCode, routing::get};
use tokio::net::TcpListener;
use tower_user_scope::{
    Scoped, TrustedHeader, UnavailableError, UserContext, UserId, UserScopeLayer,
    authorize::{AuthorizeError, ForbiddenError},
    context::{Subject, ThreadId},
    factory::FactoryUnavailableError,
};

use self::support::{Case, PROXY_SECRET, serve_and_ask};

/// What all users share. It stands in for a database on the network.
struct Database {
    threads: HashMap<ThreadId, Subject>,
}

impl Database {
    async fn owner_of(&self, thread: &ThreadId) -> io::Result<Option<&Subject>> {
        tokio::task::yield_now().await;
        if *thread == "t-on-a-lost-shard" {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        Ok(self.threads.get(thread))
    }

    async fn plan_of(&self, user: &UserId) -> io::Result<&'static str> {
        tokio::task::yield_now().await;
        match user.as_str() {
            "alice" => Ok("pro"),
            "hung" => future::pending().await,
            "lost" => Err(io::ErrorKind::ConnectionRefused.into()),
            _ => Ok("free"),
        }
    }
}

/// What each request gets.
struct AgentFactory {
    user_id: UserId,
    plan: &'static str,
}

impl AgentFactory {
    /// A `FactoryUnavailableError` is answered with 503, every other error with 500.
    async fn new(
        database: &Database,
        context: &UserContext,
    ) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let user_id = context.require_user()?.clone();
        let plan = database
            .plan_of(&user_id)
            .await
            .map_err(FactoryUnavailableError::new)?;
        Ok(Self { user_id, plan })
    }
}

/// Asks about the id that the context has, not about a header: it is the one that everything
/// after this step uses, wherever it was read from. A thread that nobody owns is a new one.
async fn thread_is_own(database: &Database, context: &UserContext) -> Result<(), AuthorizeError> {
    match database.owner_of(context.thread_id()).await {
        Ok(Some(owner)) if owner != context.subject() => {
            Err(ForbiddenError::new("thread_of_somebody_else").into())
        }
        Ok(_) => Ok(()),
        Err(error) => Err(UnavailableError::new(error).into()),
    }
}

async fn run_agent(agents: Scoped<AgentFactory>) -> String {
    format!(
        "an agent for {} on the {} plan",
        agents.user_id, agents.plan
    )
}

fn app(database: Arc<Database>) -> Result<Router, Box<dyn Error>> {
    let threads = database.clone();
    let user_scope = UserScopeLayer::builder()
        .strategy(
            TrustedHeader::new("x-user-id")
                .from_proxies(["127.0.0.1"])?
                .shared_secret("x-proxy-secret", PROXY_SECRET),
        )
        .authorize_async(move |context, _head| {
            let (threads, context) = (threads.clone(), context.clone());
            async move { thread_is_own(&threads, &context).await }
        })
        .factory_async(move |context| {
            let database = database.clone();
            async move { AgentFactory::new(&database, &context).await }
        })
        .factory_time_limit(Duration::from_millis(200))
        .build()?;
    Ok(Router::new().route("/", get(run_agent)).layer(user_scope))
}

const CASES: &[Case<'_>] = &[
    Case::get(
        "alice, in her own thread",
        "/",
        &[("x-user-id", "alice"), ("x-thread-id", "t-of-alice")],
        Ok("an agent for alice on the pro plan"),
    ),
    Case::get(
        "bob, in a new thread",
        "/",
        &[("x-user-id", "bob")],
        Ok("an agent for bob on the free plan"),
    ),
    Case::get(
        "bob, in alice's thread",
        "/",
        &[("x-user-id", "bob"), ("x-thread-id", "t-of-alice")],
        Err(StatusCode::FORBIDDEN),
    ),
    Case::get(
        "bob, in a thread that can't be looked up",
        "/",
        &[("x-user-id", "bob"), ("x-thread-id", "t-on-a-lost-shard")],
        Err(StatusCode::SERVICE_UNAVAILABLE),
    ),
    Case::get(
        "a user whose database refuses connections",
        "/",
        &[("x-user-id", "lost")],
        Err(StatusCode::SERVICE_UNAVAILABLE),
    ),
    Case::get(
        "a user whose database never answers",
        "/",
        &[("x-user-id", "hung")],
        Err(StatusCode::SERVICE_UNAVAILABLE),
    ),
];

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let alice = Subject::new(UserId::try_from("alice")?);
    let database = Arc::new(Database {
        threads: HashMap::from([(ThreadId::try_from("t-of-alice")?, alice)]),
    });
    let app = app(database)?.into_make_service_with_connect_info::<SocketAddr>();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    serve_and_ask(address, axum::serve(listener, app).into_future(), CASES).await
}
