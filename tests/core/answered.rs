//! The result of one request through a layer, as a value.

use std::{convert::Infallible, future::Ready};

use http::{Request, Response};
use tower::{Service, ServiceExt, service_fn};
use tower_layer::Layer;
use tower_user_scope::{Rejection, UserContext, UserScopeExt};

/// The context that the inner service saw, or the rejection.
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
