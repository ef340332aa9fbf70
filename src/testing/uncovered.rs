//! Which routes a layer doesn't cover.

use http::{Request, Response};
use tower::Service;

use crate::rejection::Rejection;

/// The paths at which a service answers although no layer of this crate stands before them.
///
/// In axum a layer covers only the routes that were added before it; one that was added after it
/// is open to everybody. Each path is asked with a request that every layer refuses: it carries
/// two `x-request-id`s. What answers it without a [`Rejection`] was never asked who it is, so the
/// method is `HEAD`, for which handlers should change nothing.
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
/// Where a path is none, or the service fails.
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
