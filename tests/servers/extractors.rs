//! Handlers get the context and the factory through their server's own API. A missing layer is an error
//! with advice.

use std::convert::Infallible;

use axum::{Router, body::Body, routing::get};
use http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use tonic::{Code, Status};
use tower::{ServiceExt, service_fn};
use tower_layer::Layer;
use tower_user_scope::{
    ExistingContext, Fallback, Identity, Principal, Scoped, UserContext, UserId, UserScopeExt,
    UserScopeLayer,
    context::ServiceName,
    factory::{FactoryError, FactoryUnavailableError, Lazy},
};

#[derive(Debug)]
struct Agents(String);

struct Other;

fn agents(user: &UserContext) -> Agents {
    Agents(format!("{:?}", user.principal()))
}

fn context(principal: impl Into<Principal>) -> UserContext {
    UserContext::builder(Identity::asserted(principal)).build()
}

fn alice() -> UserContext {
    context(UserId::try_from("alice").expect("a valid user id"))
}

fn internal() -> UserContext {
    context(ServiceName::try_from("internal").expect("a valid name"))
}

async fn scoped(agents: Scoped<Agents>) -> String {
    agents.0.clone()
}

async fn scoped_option(agents: Option<Scoped<Agents>>) -> String {
    agents.map_or_else(|| "none".to_owned(), |agents| agents.0.clone())
}

async fn whose(context: UserContext) -> String {
    context.strategy().to_owned()
}

async fn whose_option(context: Option<UserContext>) -> String {
    context
        .map_or("none", |context| context.strategy())
        .to_owned()
}

async fn user(id: UserId) -> String {
    id.to_string()
}

async fn user_option(id: Option<UserId>) -> String {
    id.map_or_else(|| "none".to_owned(), |id| id.to_string())
}

async fn other(_: Scoped<Other>) {}

async fn lazy(lazy: Scoped<Lazy<Agents>>) -> Result<String, FactoryError> {
    Ok(lazy.get()?.0.clone())
}

fn routes() -> Router {
    Router::new()
        .route("/scoped", get(scoped))
        .route("/scoped-option", get(scoped_option))
        .route("/context", get(whose))
        .route("/context-option", get(whose_option))
        .route("/user", get(user))
        .route("/user-option", get(user_option))
        .route("/other", get(other))
        .route("/lazy", get(lazy))
}

fn layered() -> Router {
    let layer = UserScopeLayer::builder()
        .strategy(ExistingContext::new())
        .fallback(Fallback::anonymous())
        .factory(agents)
        .build();
    routes().layer(layer.expect("a valid configuration"))
}

async fn ask(app: Router, path: &str, who: Option<UserContext>) -> (StatusCode, String) {
    let mut request = Request::get(path).body(Body::empty()).expect("a request");
    if let Some(context) = who {
        request.extensions_mut().insert(context);
    }
    let response = app.oneshot(request).await.expect("infallible");
    let status = response.status();
    if status == StatusCode::UNAUTHORIZED {
        assert!(
            response.headers().contains_key(header::WWW_AUTHENTICATE),
            "{path}: a 401 has a challenge"
        );
    }
    let body = response.into_body().collect().await.expect("a body");
    let body = String::from_utf8(body.to_bytes().to_vec()).expect("text");
    (status, body)
}

#[tokio::test]
async fn inside_the_layer_each_extractor_gives_what_it_is_named_after() {
    const OK: StatusCode = StatusCode::OK;
    for (path, who, status, body) in [
        ("/scoped", Some(alice()), OK, "User(UserId(\"alice\"))"),
        (
            "/scoped-option",
            Some(alice()),
            OK,
            "User(UserId(\"alice\"))",
        ),
        ("/context", Some(alice()), OK, "existing_context"),
        ("/context-option", Some(alice()), OK, "existing_context"),
        ("/context", None, OK, "anonymous_fallback"),
        ("/user", Some(alice()), OK, "alice"),
        ("/user-option", Some(alice()), OK, "alice"),
        ("/user-option", Some(internal()), OK, "none"),
        ("/user-option", None, OK, "none"),
        ("/user", Some(internal()), StatusCode::FORBIDDEN, ""),
        ("/user", None, StatusCode::UNAUTHORIZED, ""),
    ] {
        let answer = ask(layered(), path, who.clone()).await;
        assert_eq!(answer, (status, body.to_owned()), "{path} for {who:?}");
    }
}

#[tokio::test]
async fn outside_the_layer_an_extractor_is_500_and_an_option_is_none() {
    for path in ["/scoped", "/context", "/user", "/user-option"] {
        let (status, body) = ask(routes(), path, None).await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR, "{path}");
        assert_eq!(body, "", "{path}: that a route is open is for the log");
    }
    let missing = Request::new(())
        .user_context()
        .expect_err("no layer")
        .to_string();
    assert!(
        missing.contains("UserScopeLayer") && missing.contains(".layer("),
        "the log says what to do: {missing}"
    );
    for path in ["/scoped-option", "/context-option"] {
        let answer = ask(routes(), path, None).await;
        assert_eq!(answer, (StatusCode::OK, "none".to_owned()), "{path}");
    }
}

#[tokio::test]
async fn a_layer_that_builds_another_type_is_told_apart_from_a_missing_one() {
    let (status, body) = ask(layered(), "/other", Some(alice())).await;
    assert_eq!((status, &*body), (StatusCode::INTERNAL_SERVER_ERROR, ""));
    let inner = service_fn(async |request: Request<()>| {
        let missing = request.scoped::<Other>().expect_err("another type");
        Ok::<_, Infallible>(Response::new(missing.to_string()))
    });
    let layer = UserScopeLayer::builder()
        .fallback(Fallback::anonymous())
        .factory(|_| 7_u8)
        .build()
        .expect("good");
    let response = layer.layer(inner).oneshot(Request::new(())).await;
    let body = response.expect("infallible").into_body().collect().await;
    let missing = body.expect("a body").to_bytes();
    let missing = String::from_utf8_lossy(&missing);
    assert!(
        missing.contains("extractors::Other") && missing.contains("builds `u8`"),
        "both types are named in the log: {missing}"
    );
}

#[tokio::test]
async fn a_lazy_factory_that_fails_is_the_handlers_error() {
    let layer = |error: fn() -> Box<dyn std::error::Error + Send + Sync>| {
        let layer = UserScopeLayer::builder()
            .strategy(ExistingContext::new())
            .lazy_factory(move |_| Err::<Agents, _>(error()))
            .build();
        routes().layer(layer.expect("a valid configuration"))
    };
    let down = layer(|| FactoryUnavailableError::new("canary").into());
    let (status, body) = ask(down, "/lazy", Some(alice())).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(
        !body.contains("canary"),
        "the reason stays in the log: {body}"
    );
    let broken = layer(|| "canary".into());
    let (status, body) = ask(broken, "/lazy", Some(alice())).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(
        !body.contains("canary"),
        "the reason stays in the log: {body}"
    );
}

#[test]
fn the_accessors_work_wherever_there_are_extensions() {
    let mut request = Request::new(());
    let context = alice();
    request.extensions_mut().insert(context.clone());
    let mut grpc = tonic::Request::new(());
    *grpc.extensions_mut() = request.extensions().clone();
    assert_eq!(request.user_context(), Ok(&context), "a request");
    assert_eq!(
        request.extensions().user_context(),
        Ok(&context),
        "its extensions"
    );
    assert_eq!(grpc.user_context(), Ok(&context), "a tonic request");
    let (head, ()) = request.into_parts();
    assert_eq!(head.user_context(), Ok(&context), "its head");
    assert!(
        head.scoped::<Agents>().is_err(),
        "and no factory that nobody built"
    );
}

#[tokio::test]
async fn errors_become_grpc_statuses() {
    let grpc = tonic::Request::new(());
    let required = |context: UserContext| {
        let required = context.require_user().map(|_| ());
        Status::from(required.expect_err("no user"))
    };
    let missing = grpc.user_context().map(|_| ());
    let factory = grpc.scoped::<Agents>().map(|_| ());
    let (missing, factory) = (
        missing.expect_err("no layer"),
        factory.expect_err("no layer"),
    );
    for (status, code) in [
        (missing.into(), Code::Internal),
        (factory.into(), Code::Internal),
        (
            required(context(Principal::Anonymous)),
            Code::Unauthenticated,
        ),
        (required(internal()), Code::PermissionDenied),
        (lazy_failure("canary").await.into(), Code::Internal),
        (
            lazy_failure(FactoryUnavailableError::new("canary"))
                .await
                .into(),
            Code::Unavailable,
        ),
    ] {
        let status: Status = status;
        assert_eq!(status.code(), code, "{status:?}");
        let said = status.message();
        assert!(
            !said.contains("canary"),
            "the reason stays in the log: {said}"
        );
        assert!(!said.contains("internal"), "and who it was: {said}");
    }
}

/// The handler's error for a lazy factory that fails in this way.
async fn lazy_failure(
    error: impl Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
) -> FactoryError {
    let error = std::sync::Mutex::new(Some(error.into()));
    let layer = UserScopeLayer::builder()
        .strategy(ExistingContext::new())
        .lazy_factory(move |_| {
            let mut error = error.lock().expect("no thread panics");
            Err::<Agents, _>(error.take().expect("built once"))
        })
        .build()
        .expect("a valid configuration");
    let service = layer.layer(service_fn(async |request: Request<()>| {
        let lazy = request.scoped::<Lazy<Agents>>().expect("inside the layer");
        Err::<Response<()>, _>(lazy.get().expect_err("fails"))
    }));
    let mut request = Request::new(());
    request.extensions_mut().insert(alice());
    let answer = service.oneshot(request).await.map(|_| ());
    answer.expect_err("the handler passes it on")
}
