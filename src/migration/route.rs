//! The route whose request is handled now.

use std::{
    cell::RefCell,
    fmt,
    future::Future,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, request::Parts};
use pin_project::pin_project;
use tower::Service;
use tower_layer::Layer;

const MAX_LEN: usize = 256;

thread_local! {
    static ROUTE: RefCell<Option<Arc<str>>> = const { RefCell::new(None) };
}

/// Returns the route whose request this thread handles now.
pub(super) fn current() -> Option<Arc<str>> {
    // There is none while the thread ends.
    ROUTE
        .try_with(|route| route.borrow().clone())
        .ok()
        .flatten()
}

/// Sets the route until it is dropped.
struct Entered(Option<Arc<str>>);

impl Entered {
    fn new(route: Option<&Arc<str>>) -> Self {
        Self(replace(route.cloned()))
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        replace(self.0.take());
    }
}

fn replace(route: Option<Arc<str>>) -> Option<Arc<str>> {
    let replaced = ROUTE.try_with(|current| mem::replace(&mut *current.borrow_mut(), route));
    replaced.ok().flatten()
}

/// Returns the name of a route without control characters, which could begin a line of their own.
fn bounded(route: &str) -> Arc<str> {
    let visible = route.chars().filter(|c| !c.is_control());
    visible.take(MAX_LEN).collect::<String>().into()
}

/// Says which route a request is of, so that the uses of a [`Singleton`](super::Singleton) are listed by
/// route as well as by place.
///
/// The closure returns the name of the route, and never the path with its ids: each route is a series
/// of a metric. With axum that is `MatchedPath`. Names are cut off at 256 characters.
///
/// Tasks that a handler spawns have no route.
///
/// ```
/// use axum::{Router, extract::{MatchedPath, State}, routing::get};
/// use tower_user_scope::migration::{RouteLayer, Singleton};
///
/// async fn count(State(orders): State<Singleton<Vec<String>>>) -> String {
///     orders.len().to_string()
/// }
///
/// let orders = Singleton::new(Vec::<String>::new());
/// let app: Router = Router::new()
///     .route("/orders/{customer}", get(count))
///     .layer(RouteLayer::new(|head| {
///         let route = head.extensions.get::<MatchedPath>()?;
///         Some(format!("{} {}", head.method, route.as_str()))
///     }))
///     .with_state(orders.clone());
/// # let _ = app;
/// println!("{}", Singleton::report(&orders));
/// ```
#[derive(Clone)]
pub struct RouteLayer<N>(N);

impl<N> RouteLayer<N>
where
    N: Fn(&Parts) -> Option<String>,
{
    /// Creates a layer for requests whose route is what the closure returns.
    pub fn new(route: N) -> Self {
        Self(route)
    }
}

impl<S, N: Clone> Layer<S> for RouteLayer<N> {
    type Service = RouteService<S, N>;

    fn layer(&self, inner: S) -> Self::Service {
        RouteService {
            inner,
            route: self.0.clone(),
        }
    }
}

impl<N> fmt::Debug for RouteLayer<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouteLayer").finish_non_exhaustive()
    }
}

/// The service of a [`RouteLayer`].
#[derive(Clone)]
pub struct RouteService<S, N> {
    inner: S,
    route: N,
}

impl<S, N, B> Service<Request<B>> for RouteService<S, N>
where
    S: Service<Request<B>>,
    N: Fn(&Parts) -> Option<String>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = RouteFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (head, body) = request.into_parts();
        let route = (self.route)(&head).map(|route| bounded(&route));
        let request = Request::from_parts(head, body);
        let entered = Entered::new(route.as_ref());
        let inner = self.inner.call(request);
        drop(entered);
        RouteFuture { inner, route }
    }
}

impl<S: fmt::Debug, N> fmt::Debug for RouteService<S, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouteService")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

/// The future of a [`RouteService`].
#[derive(Debug)]
#[pin_project]
pub struct RouteFuture<F> {
    #[pin]
    inner: F,
    route: Option<Arc<str>>,
}

impl<F: Future> Future for RouteFuture<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let _entered = Entered::new(this.route.as_ref());
        this.inner.poll(cx)
    }
}
