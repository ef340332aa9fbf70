//! An axum server with every strategy, asked one request of every kind over TCP.
//!
//! `cargo run --example quickstart` prints a row for each request and goes on serving;
//! `-- --once` ends after the table. `RUST_LOG=info` shows the audit log beside it.

use std::{
    error::Error,
    net::SocketAddr,
    process::ExitCode,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderValue, StatusCode},
    middleware::{self, Next},
    response::Response,
    routing::get,
};
use http_body_util::BodyExt;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::net::TcpListener;
use tower_user_scope::{
    CredentialSource, DevelopmentUser, ExistingContext, Fallback, FromExtension, Identity,
    InvalidError, Outcome, Principal, Scoped, TrustedHeader, UnavailableError, UserContext, UserId,
    UserScopeLayer,
    audit::AuditEvent,
    authorize::ForbiddenError,
    factory::FactoryUnavailableError,
    from_async_fn,
    strategy::{InvalidErrorKind, Strategy},
};
use tracing_subscriber::{Layer, filter::Targets, prelude::*};

const SECRET: &str = "quickstart-proxy-secret";

/// What all users share. It knows none of them.
#[derive(Default)]
struct Infrastructure {
    factories_built: AtomicU64,
}

/// What each request gets: shared infrastructure, and one user.
struct AgentFactory {
    number: u64,
    user: UserContext,
}

impl AgentFactory {
    fn new(
        infrastructure: &Infrastructure,
        user: &UserContext,
    ) -> Result<Self, FactoryUnavailableError> {
        if user.user_id().is_some_and(|id| *id == "frank") {
            return Err(FactoryUnavailableError::new(
                "frank's database does not answer",
            ));
        }
        Ok(Self {
            number: infrastructure
                .factories_built
                .fetch_add(1, Ordering::Relaxed)
                + 1,
            user: user.clone(),
        })
    }

    fn start(&self) -> String {
        let who = match self.user.principal() {
            Principal::User(id) => id.to_string(),
            Principal::Service(name) => format!("service {name}"),
            _ => "nobody".to_owned(),
        };
        format!("{who}|{}|#{}", self.user.strategy(), self.number)
    }
}

/// The handler: no header, no guess, no default.
async fn run_agent(agents: Scoped<AgentFactory>) -> String {
    agents.start()
}

/// What an authentication middleware leaves behind, here for one known password.
#[derive(Clone)]
struct AuthenticatedUser {
    id: String,
}

async fn authenticate(mut request: Request, next: Next) -> Response {
    let password = request.headers().get("x-password");
    if password.is_some_and(|password| password == "bobs-password") {
        let user = AuthenticatedUser { id: "bob".into() };
        request.extensions_mut().insert(user);
    }
    next.run(request).await
}

/// A framework that resolved the user itself: whose job it is stands in its queue.
async fn run_job(mut request: Request, next: Next) -> Response {
    if let Ok(owner) = UserId::try_from("dave") {
        let context = UserContext::builder(Identity::asserted(owner))
            .strategy("job_queue")
            .build();
        request.extensions_mut().insert(context);
    }
    next.run(request).await
}

/// The application's own strategy: keys in a store that has to be waited for.
fn api_key() -> impl Strategy<Future: Send> + Send + Sync {
    from_async_fn(CredentialSource::header("x-api-key"), |head| {
        let key = head.headers.get("x-api-key").cloned();
        async move {
            tokio::task::yield_now().await;
            match key.as_ref().map(HeaderValue::as_bytes) {
                None => Outcome::Absent,
                Some(b"carols-key") => match UserId::try_from("carol") {
                    Ok(carol) => Identity::proved(carol).into(),
                    Err(error) => Outcome::Invalid(error.into()),
                },
                Some(b"store-is-down") => {
                    let down = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
                    UnavailableError::new(down).into()
                }
                Some(_) => InvalidError::new(InvalidErrorKind::Rejected("api_key_unknown")).into(),
            }
        }
    })
    .named("api_key")
}

/// Why the last request was refused, from the audit events.
type LastRefusal = Arc<Mutex<Option<String>>>;

fn app(last_refusal: LastRefusal) -> Result<Router, Box<dyn Error>> {
    let infrastructure = Arc::new(Infrastructure::default());
    let remember = move |event: &AuditEvent<'_>| {
        if let AuditEvent::Refused { rejection, .. } = event {
            if let Ok(mut last) = last_refusal.lock() {
                *last = Some(rejection.to_string());
            }
        }
    };
    let shared = infrastructure.clone();
    let layer = UserScopeLayer::builder()
        .strategy(
            TrustedHeader::new("x-user-id")
                .from_proxies(["127.0.0.1"])?
                .shared_secret("x-proxy-secret", SECRET),
        )
        .strategy(FromExtension::<AuthenticatedUser>::new(|user| {
            user.id.parse()
        }))
        .strategy(ExistingContext::new())
        .strategy(api_key())
        .unanimous()
        .fallback(Fallback::service("health-check").only_if(|head| head.uri.path() == "/health"))
        // About the id that everything after this step uses, wherever it was read from.
        .authorize(|context, _| {
            let is_alice = context.user_id().is_some_and(|id| *id == "alice");
            if *context.thread_id() == "t-of-alice" && !is_alice {
                return Err(ForbiddenError::new("thread_of_somebody_else").into());
            }
            Ok(())
        })
        .try_factory(move |user| AgentFactory::new(&shared, user))
        .observer(remember)
        .build()?;
    // In a debug build alone: behind a proxy on this machine, everybody would be the developer.
    let development = UserScopeLayer::builder()
        .strategy(DevelopmentUser::new("developer").when(|_| cfg!(debug_assertions)))
        .try_factory(move |user| AgentFactory::new(&infrastructure, user))
        .build()?;

    // A layer is around the routes that stand above it, and what is below it runs before it.
    let jobs = Router::new()
        .route("/job", get(run_agent))
        .layer(layer.clone())
        .layer(middleware::from_fn(run_job));
    let development = Router::new()
        .route("/development", get(run_agent))
        .layer(development);
    Ok(Router::new()
        .route("/", get(run_agent))
        .route("/health", get(run_agent))
        .layer(layer)
        .layer(middleware::from_fn(authenticate))
        .merge(jobs)
        .merge(development))
}

/// One request of a kind.
struct Case {
    what: &'static str,
    path: &'static str,
    headers: &'static [(&'static str, &'static str)],
    /// The user that answers, or the status.
    expected: Result<&'static str, StatusCode>,
}

const fn case(
    what: &'static str,
    path: &'static str,
    headers: &'static [(&'static str, &'static str)],
    expected: Result<&'static str, StatusCode>,
) -> Case {
    Case {
        what,
        path,
        headers,
        expected,
    }
}

const PROXY: (&str, &str) = ("x-proxy-secret", SECRET);
const ALICE: (&str, &str) = ("x-user-id", "alice");
const NO: Result<&str, StatusCode> = Err(StatusCode::UNAUTHORIZED);
const BAD: Result<&str, StatusCode> = Err(StatusCode::BAD_REQUEST);
const DOWN: Result<&str, StatusCode> = Err(StatusCode::SERVICE_UNAVAILABLE);

const CASES: &[Case] = &[
    case(
        "alice, in the proxy's header",
        "/",
        &[ALICE, PROXY],
        Ok("alice"),
    ),
    case(
        "alice again: a fresh factory",
        "/",
        &[ALICE, PROXY],
        Ok("alice"),
    ),
    case(
        "bob, from the auth middleware",
        "/",
        &[("x-password", "bobs-password")],
        Ok("bob"),
    ),
    case(
        "carol, by her API key",
        "/",
        &[("x-api-key", "carols-key")],
        Ok("carol"),
    ),
    case("dave, in a context already there", "/job", &[], Ok("dave")),
    case(
        "a developer, on /development",
        "/development",
        &[],
        if cfg!(debug_assertions) {
            Ok("developer")
        } else {
            NO
        },
    ),
    case(
        "nobody, on /health",
        "/health",
        &[],
        Ok("service health-check"),
    ),
    case("nobody", "/", &[], NO),
    case("alice's header, not from the proxy", "/", &[ALICE], NO),
    case("the same, on /health", "/health", &[ALICE], NO),
    case(
        "x_user_id, which CGI would fold",
        "/",
        &[("x_user_id", "alice")],
        NO,
    ),
    case(
        "a placeholder from the proxy",
        "/",
        &[("x-user-id", "undefined"), PROXY],
        BAD,
    ),
    case(
        "two ids from the proxy",
        "/",
        &[ALICE, ("x-user-id", "bob"), PROXY],
        BAD,
    ),
    case(
        "alice's header and bob's password",
        "/",
        &[ALICE, PROXY, ("x-password", "bobs-password")],
        NO,
    ),
    case("an unknown API key", "/", &[("x-api-key", "guessed")], NO),
    case(
        "an API key, while the store is down",
        "/",
        &[("x-api-key", "store-is-down")],
        DOWN,
    ),
    case(
        "bob, naming alice's thread",
        "/",
        &[
            ("x-password", "bobs-password"),
            ("x-thread-id", "t-of-alice"),
        ],
        Err(StatusCode::FORBIDDEN),
    ),
    case(
        "alice, with a bad thread id",
        "/",
        &[ALICE, PROXY, ("x-thread-id", "a, b")],
        BAD,
    ),
    case(
        "frank, whose database is down",
        "/",
        &[("x-user-id", "frank"), PROXY],
        DOWN,
    ),
];

async fn ask(address: SocketAddr, case: &Case) -> Result<(StatusCode, String), Box<dyn Error>> {
    let mut headers = HeaderMap::new();
    for (name, value) in case.headers {
        headers.append(*name, value.parse()?);
    }
    let mut request = Request::get(format!("http://{address}{}", case.path)).body(Body::empty())?;
    *request.headers_mut() = headers;
    let client = Client::builder(TokioExecutor::new()).build_http();
    let response = client.request(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    Ok((status, String::from_utf8(body.to_vec())?))
}

/// Sends every case and prints its row; `false` where one was not answered as expected.
async fn print_table(
    address: SocketAddr,
    last_refusal: &LastRefusal,
) -> Result<bool, Box<dyn Error>> {
    println!(
        "\n{:<36} {:<6} {:<21} {:<17} factory, or why not",
        "sent", "status", "resolved to", "by strategy"
    );
    println!("{}", "-".repeat(124));
    let mut all_as_expected = true;
    for case in CASES {
        let (status, body) = ask(address, case).await?;
        let why = last_refusal.lock().ok().and_then(|mut last| last.take());
        let mut parts = body.splitn(3, '|');
        let (who, strategy, factory) = match (status, parts.next(), parts.next(), parts.next()) {
            (StatusCode::OK, Some(who), Some(strategy), Some(factory)) => {
                (who, strategy, factory.to_owned())
            }
            _ => ("-", "-", why.unwrap_or_default()),
        };
        println!(
            "{:<36} {:<6} {who:<21} {strategy:<17} {factory}",
            case.what,
            status.as_u16()
        );
        let as_expected = match case.expected {
            Ok(expected) => status == StatusCode::OK && who == expected,
            Err(expected) => status == expected,
        };
        if !as_expected {
            println!("  ^ expected {:?}", case.expected);
            all_as_expected = false;
        }
    }
    Ok(all_as_expected)
}

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    // Nothing, or what `RUST_LOG` says.
    let logged = std::env::var("RUST_LOG").map_or(Ok(Targets::new()), |targets| targets.parse())?;
    tracing_subscriber::registry()
        .with(tracing_subscriber::fmt::layer().with_filter(logged))
        .init();
    let last_refusal = LastRefusal::default();
    let app = app(last_refusal.clone())?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = tokio::spawn(async move {
        // The peer's address is what a proxy is known by.
        let service = app.into_make_service_with_connect_info::<SocketAddr>();
        axum::serve(listener, service).await
    });

    if !print_table(address, &last_refusal).await? {
        return Ok(ExitCode::FAILURE);
    }
    if std::env::args().any(|argument| argument == "--once") {
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "\nServing on http://{address} until Ctrl-C. Try:\n\n\
         \x20 curl -i -H 'x-user-id: alice' -H 'x-proxy-secret: {SECRET}' http://{address}/\n\
         \x20 curl -i -H 'x-user-id: alice' http://{address}/\n\
         \x20 curl -i -H 'x-api-key: carols-key' http://{address}/\n\
         \x20 curl -i http://{address}/\n"
    );
    server.await??;
    Ok(ExitCode::SUCCESS)
}
