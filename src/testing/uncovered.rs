//! Finds routes that no layer covers.

use http::{Request, Response};
use tower::Service;

use crate::rejection::Rejection;

/// Returns the paths that no layer of this crate covers.
///
/// In axum a layer covers only the routes that were added before it, and later ones are open to
/// everybody. Each path gets a request that every layer refuses, as it has two `x-request-id`s. A
/// response without a [`Rejection`] is from a path that no layer covers; its handler has run, so the
/// method is `HEAD`, which should change nothing.
///
/// It needs the layer's [`CorrelationSources`](crate::context::CorrelationSources) to read `x-request-id`, as they do
/// by default.
///
/// ```
/// use axum::{Router, body::Body, routing::get};
/// use tower_user_scope::{ExistingContext, UserScopeLayer, testing::uncovered};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tower_user_scope::ConfigError> {
/// let users = UserScopeLayer::builder()
///     .strategy(ExistingContext::new())
///     .context_only()
///     .build()?;
/// let app: Router = Router::new()
///     .route("/agents", get(async || "covered"))
///     .layer(users)
///     .route("/reports", get(async || "forgotten"));
///
/// let open = uncovered(app, ["/agents", "/reports"], Body::empty).await;
/// assert_eq!(open, ["/reports"]);
/// # Ok(())
/// # }
/// ```
///
/// # Panics
/// If a path is not valid, or the service fails.
pub async fn uncovered<S, B, R>(
    mut service: S,
    paths: impl IntoIterator<Item = impl Into<String>>,
    body: impl Fn() -> B,
) -> Vec<String>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    let mut open = Vec::new();
    for path in paths {
        let path = path.into();
        let request = Request::head(&path)
            .header("x-request-id", "one")
            .header("x-request-id", "another")
            .body(body());
        let request = request.unwrap_or_else(|error| panic!("{path} is not a path: {error}"));
        let ready = std::future::poll_fn(|cx| service.poll_ready(cx)).await;
        let answered = match ready {
            Ok(()) => service.call(request).await,
            Err(error) => Err(error),
        };
        let Ok(response) = answered else {
            panic!("the service failed at {path}");
        };
        if response.extensions().get::<Rejection>().is_none() {
            open.push(path);
        }
    }
    open
}
