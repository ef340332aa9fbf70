//! The public types need no unnecessary bounds. The compiler's messages for wrong use are in
//! `tests/ui`.

use std::{
    cell::Cell,
    convert::Infallible,
    future::{Future, Ready, ready},
    rc::Rc,
    task::{Context, Poll},
};

use futures::FutureExt;
use http::{Request, Response, StatusCode};
use tokio::task::{LocalSet, yield_now};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_user_scope::{
    CredentialSource, ExistingContext, Outcome, UserScopeExt, UserScopeLayer,
    factory::ProvideFactory,
    from_async_fn,
    middleware::{Empty, LayerBuilder, ResponseBody, Then, UserScope},
    testing::AsUser,
};

fn builder() -> LayerBuilder<Then<Empty, ExistingContext>> {
    UserScopeLayer::builder().strategy(ExistingContext::new())
}

/// Body types without any bound.
struct NoRequestBody;
struct NoResponseBody;

fn is_clone_send_sync<T: Clone + Send + Sync + 'static>(_: &T) {}

async fn answer(request: Request<NoRequestBody>) -> Result<Response<NoResponseBody>, Infallible> {
    assert!(request.user_context().is_ok(), "inside the layer");
    let mut response = Response::new(NoResponseBody);
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}

#[tokio::test]
async fn bodies_need_no_bounds() {
    let layer = builder().context_only().build().expect("valid");
    let request = Request::new(NoRequestBody).as_user("alice");
    let Ok(response) = layer.layer(service_fn(answer)).oneshot(request).await;
    assert_eq!(response.status(), StatusCode::CREATED, "the inner answer");
    let _: ResponseBody<NoResponseBody> = response.into_body();
}

/// A strategy, an `authorize` step and a factory that all wait.
macro_rules! waiting {
    () => {
        UserScopeLayer::builder()
            .strategy(from_async_fn(
                CredentialSource::predicate(|_| true),
                |head| {
                    let found = head
                        .user_context()
                        .map(|context| context.identity().clone());
                    yield_now().map(|()| found.map_or(Outcome::Absent, Outcome::Found))
                },
            ))
            .strategy(ExistingContext::new())
            .authorize_async(|_, _| yield_now().map(Ok))
            .factory_async(|_| yield_now().map(|()| Ok::<_, Infallible>(7_u8)))
            .build()
            .expect("a valid configuration")
    };
}

#[tokio::test]
async fn a_layer_and_its_service_can_be_shared_and_the_future_sent() {
    macro_rules! check {
        ($layer:expr) => {
            let layer = $layer;
            is_clone_send_sync(&layer);
            let mut service = layer.layer(service_fn(answer));
            is_clone_send_sync(&service);
            let Ok(ready) = service.ready().await;
            let future = ready.call(Request::new(NoRequestBody).as_user("alice"));
            let response = tokio::spawn(future).await.expect("no panic");
            let status = response.map(|response| response.status());
            assert_eq!(status, Ok(StatusCode::CREATED), "on another task");
        };
    }
    check!(builder().factory(|_| 7_u8).build().expect("valid"));
    check!(waiting!());
}

/// An inner service, a future and bodies that are not `Send`.
#[derive(Clone)]
struct Local(Rc<Cell<usize>>);

impl Service<Request<Local>> for Local {
    type Response = Response<Local>;
    type Error = Infallible;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Response<Self>, Infallible>>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Self>) -> Self::Future {
        self.0.set(self.0.get() + 1);
        let body = request.into_body();
        Box::pin(async move { Ok(Response::new(body)) })
    }
}

#[tokio::test]
async fn services_and_bodies_that_are_not_send_are_served() {
    macro_rules! check {
        ($layer:expr) => {
            let calls = Local(Rc::default());
            let request = Request::new(calls.clone()).as_user("alice");
            let response = $layer.layer(calls.clone()).oneshot(request);
            let local = LocalSet::new();
            let task = local.spawn_local(response);
            let Ok(response) = local.run_until(task).await.expect("no panic");
            assert!(calls.0.get() == 1, "the inner service was called once");
            drop(response);
            assert_eq!(Rc::strong_count(&calls.0), 1, "and is gone with the body");
        };
    }
    check!(builder().context_only().build().expect("valid"));
    check!(waiting!());
}

/// An inner service that borrows from its caller's stack.
#[derive(Clone)]
struct Borrows<'a>(&'a Cell<usize>);

impl Service<Request<()>> for Borrows<'_> {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = Ready<Result<Response<()>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        self.0.set(self.0.get() + 1);
        ready(Ok(Response::new(())))
    }
}

#[tokio::test]
async fn an_inner_service_may_borrow() {
    let calls = Cell::new(0);
    let layer = builder().context_only().build().expect("valid");
    let request = Request::new(()).as_user("alice");
    let Ok(_) = layer.layer(Borrows(&calls)).oneshot(request).await;
    let layer = waiting!();
    let request = Request::new(()).as_user("alice");
    let Ok(_) = layer.layer(Borrows(&calls)).oneshot(request).await;
    assert_eq!(calls.get(), 2, "called at once, and after waiting");
}

#[test]
fn the_inner_service_can_be_reached_and_taken_back() {
    fn inner_of<L, M: ProvideFactory, A>(mut service: UserScope<u8, L, M, A>) -> [u8; 2] {
        *service.get_mut() += 1;
        [*service.get_ref(), service.into_inner()]
    }
    let layer = builder().context_only().build().expect("valid");
    assert_eq!(inner_of(layer.layer(7_u8)), [8, 8]);
}
