//! The strategies and their order are read from configuration, not from the code.
//!
//! They come from a TOML text, or from the environment:
//! `USER_SCOPE_ORDER=api_key,trusted_header cargo run --example configured_order`.

#[path = "../../support/mod.rs"]
mod support;

use std::{env, error::Error, net::SocketAddr};

use axum::{
    Router,
    extract::Request,
    http::{HeaderValue, StatusCode},
    middleware::{self, Next},
    response::Response,
    routing::get,
};
use tokio::net::TcpListener;
use tower_user_scope::{
    CredentialSource, FromExtension, Identity, InvalidError, Outcome, TrustedHeader, UserContext,
    UserId, UserScopeLayer, from_fn,
    strategy::{BoxStrategy, InvalidErrorKind, Strategy},
};

use self::support::{Case, PROXY_SECRET, serve_and_ask};

/// What an operator can change without a build.
const CONFIGURATION: &str = r#"
[user_scope]
order = ["trusted_header", "auth_middleware", "api_key"]
"#;

/// What the auth middleware leaves behind.
#[derive(Clone)]
struct AuthenticatedUser(&'static str);

/// Every strategy that configuration can name. The names are those in audit events too.
fn strategy(name: &str) -> Result<BoxStrategy, Box<dyn Error>> {
    Ok(match name {
        "trusted_header" => TrustedHeader::new("x-user-id")
            .from_proxies(["127.0.0.1"])?
            .shared_secret("x-proxy-secret", PROXY_SECRET)
            .boxed(),
        "auth_middleware" => FromExtension::<AuthenticatedUser>::new(|user| user.0.parse())
            .named("auth_middleware")
            .boxed(),
        "api_key" => from_fn(CredentialSource::header("x-api-key"), |head| {
            match head.headers.get("x-api-key").map(HeaderValue::as_bytes) {
                None => Outcome::Absent,
                Some(b"carols-key") => match UserId::try_from("carol") {
                    Ok(carol) => Identity::proved(carol).into(),
                    Err(error) => Outcome::Invalid(error.into()),
                },
                Some(_) => InvalidError::new(InvalidErrorKind::Rejected("api_key_unknown")).into(),
            }
        })
        .named("api_key")
        .boxed(),
        unknown => {
            return Err(format!(
                "`{unknown}` is no strategy; there are trusted_header, auth_middleware, api_key"
            )
            .into());
        }
    })
}

/// The order from the environment, else from the TOML text.
fn configured_order() -> Result<Vec<String>, Box<dyn Error>> {
    if let Ok(order) = env::var("USER_SCOPE_ORDER") {
        return Ok(order
            .split(',')
            .map(|name| name.trim().to_owned())
            .collect());
    }
    let configuration: toml::Table = CONFIGURATION.parse()?;
    Ok(configuration["user_scope"]["order"].clone().try_into()?)
}

/// A name that is no strategy, and a list of none, end the program here and not a request later.
fn app(order: &[String]) -> Result<Router, Box<dyn Error>> {
    let strategies: Vec<BoxStrategy> = order
        .iter()
        .map(|name| strategy(name))
        .collect::<Result<_, _>>()?;
    let user_scope = UserScopeLayer::builder()
        .strategies(strategies)
        .context_only()
        .build()?;
    Ok(Router::new()
        .route("/", get(who_am_i))
        .layer(user_scope)
        .layer(middleware::from_fn(authenticate)))
}

async fn who_am_i(user_id: UserId, context: UserContext) -> String {
    format!("{user_id}, by {}", context.strategy())
}

async fn authenticate(mut request: Request, next: Next) -> Response {
    let password = request.headers().get("x-password");
    if password.is_some_and(|password| password == "bobs-password") {
        request.extensions_mut().insert(AuthenticatedUser("bob"));
    }
    next.run(request).await
}

/// What a client can send, the strategy that it is for, and the answer where that one decides.
const CREDENTIALS: [(&str, &str, Headers, &str); 3] = [
    (
        "alice, in the proxy's header",
        "trusted_header",
        &[("x-user-id", "alice")],
        "alice, by trusted_header",
    ),
    (
        "bob, from the auth middleware",
        "auth_middleware",
        &[("x-password", "bobs-password")],
        "bob, by auth_middleware",
    ),
    (
        "carol, by her API key",
        "api_key",
        &[("x-api-key", "carols-key")],
        "carol, by api_key",
    ),
];

type Headers = &'static [(&'static str, &'static str)];

/// Each credential alone, and all of them in one request: the first of the order decides there.
/// (With `.unanimous()` such a request would be refused, which is the better choice where some
/// credentials are only asserted.)
fn cases(order: &[String]) -> Vec<Case<'static>> {
    let answer_to = |sent: &[&str]| {
        order
            .iter()
            .find(|name| sent.contains(&name.as_str()))
            .and_then(|first| CREDENTIALS.iter().find(|credential| credential.1 == first))
            .map_or(Err(StatusCode::UNAUTHORIZED), |credential| Ok(credential.3))
    };
    let mut cases: Vec<Case<'static>> = CREDENTIALS
        .iter()
        .map(|(what, strategy, headers, _)| Case::get(what, "/", headers, answer_to(&[strategy])))
        .collect();
    cases.push(Case::get(
        "all three in one request",
        "/",
        &[
            ("x-user-id", "alice"),
            ("x-password", "bobs-password"),
            ("x-api-key", "carols-key"),
        ],
        answer_to(&CREDENTIALS.map(|credential| credential.1)),
    ));
    cases
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let order = configured_order()?;
    println!("order: {}\n", order.join(", "));
    let app = app(&order)?.into_make_service_with_connect_info::<SocketAddr>();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = axum::serve(listener, app).into_future();
    serve_and_ask(address, server, &cases(&order)).await
}
