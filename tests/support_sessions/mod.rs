//! What the session tests share: the layer's answer as a value, stores that can be watched and
//! broken, and servers of Redis and `PostgreSQL` that can be killed.

#![allow(dead_code, reason = "each test file uses its own part of it")]

pub(crate) mod servers;
pub(crate) mod store;
pub(crate) mod verdict;

use std::{convert::Infallible, future::Ready, time::Duration};

use http::{Request, Response, header};
use tower::{Service, ServiceExt, service_fn};
use tower_layer::Layer;
use tower_user_scope::{Rejection, UserContext, UserScopeExt};

/// The context that the inner service saw, or why it saw none.
pub(crate) type Answered = Result<UserContext, Rejection>;

type Answer = Ready<Result<Response<()>, Infallible>>;
pub(crate) type Inner = tower::util::ServiceFn<fn(Request<()>) -> Answer>;

pub(crate) async fn send<L, S, B>(layer: &L, request: Request<()>) -> Answered
where
    L: Layer<Inner, Service = S>,
    S: Service<Request<()>, Response = Response<B>, Error = Infallible>,
{
    fn answer(request: Request<()>) -> Answer {
        let mut response = Response::new(());
        let (head, ()) = request.into_parts();
        if let Ok(context) = head.user_context() {
            response.extensions_mut().insert(context.clone());
        }
        std::future::ready(Ok(response))
    }
    let inner: Inner = service_fn(answer);
    let response = layer.layer(inner).oneshot(request).await;
    let mut response = response.expect("infallible");
    let extensions = response.extensions_mut();
    extensions
        .remove::<UserContext>()
        .ok_or_else(|| extensions.remove().expect("a context or a reason"))
}

/// A request with these `Cookie` lines.
pub(crate) fn with_cookies<T: AsRef<[u8]>>(lines: impl IntoIterator<Item = T>) -> Request<()> {
    let mut request = Request::new(());
    for line in lines {
        let line = line.as_ref().try_into().expect("a header value");
        request.headers_mut().append(header::COOKIE, line);
    }
    request
}

/// Waits for what is about to happen; a test that would hang fails instead.
pub(crate) async fn soon<T>(what: &str, happens: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), happens)
        .await
        .unwrap_or_else(|_| panic!("never happened: {what}"))
}
