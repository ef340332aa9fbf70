//! What the compiler promises: no bound that is not needed, and an understandable error for
//! wrong use.

use std::{
    cell::Cell,
    convert::Infallible,
    future::{Future, Ready, ready},
    process::Command,
    rc::Rc,
    task::{Context, Poll},
};

use http::{Request, Response};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_user_scope::{
    Builder, ExistingContext, ProvideFactory, ResponseBody, UserScope, UserScopeExt,
    UserScopeLayer,
    strategy::{Empty, Then},
    testing::AsUser,
};

fn builder() -> Builder<Then<Empty, ExistingContext>> {
    UserScopeLayer::builder().strategy(ExistingContext::new())
}

/// Bodies of which nothing is known.
struct NoRequestBody;
struct NoResponseBody;

fn is_send<T: Send>(_: &T) {}
fn is_clone_send_sync<T: Clone + Send + Sync + 'static>(_: &T) {}

async fn answer(request: Request<NoRequestBody>) -> Result<Response<NoResponseBody>, Infallible> {
    assert!(request.user_context().is_ok(), "inside the layer");
    Ok(Response::new(NoResponseBody))
}

#[tokio::test]
async fn nothing_is_asked_of_either_body() {
    let layer = builder().context_only().build().expect("valid");
    let request = Request::new(NoRequestBody).as_user("alice");
    let response = layer.layer(service_fn(answer)).oneshot(request).await;
    let body: ResponseBody<NoResponseBody> = response.expect("infallible").into_body();
    drop(body);
}

#[test]
fn a_layer_and_its_service_can_be_shared_and_the_future_sent() {
    let layer = builder().factory(|_| 7_u8).build().expect("valid");
    is_clone_send_sync(&layer);
    let mut service = layer.layer(service_fn(answer));
    is_clone_send_sync(&service);
    let future = service.call(Request::new(NoRequestBody).as_user("alice"));
    is_send(&future);
}

/// An inner service, a future, and bodies that stay on their thread.
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
async fn what_stays_on_its_thread_is_served_there() {
    let calls = Local(Rc::default());
    let layer = builder().context_only().build().expect("valid");
    let request = Request::new(calls.clone()).as_user("alice");
    let response = layer.layer(calls.clone()).oneshot(request).await;
    assert!(response.is_ok());
    assert_eq!(calls.0.get(), 1, "the inner service was called");
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
    let response = layer
        .layer(Borrows(&calls))
        .oneshot(Request::new(()).as_user("alice"));
    assert!(response.await.is_ok());
    assert_eq!(calls.get(), 1, "the inner service was called");
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

/// The compiler whose words `tests/ui` keeps.
const COMPILER: &str = "rustc 1.95.";

#[test]
fn wrong_use_is_an_error_that_says_what_to_do() {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("--version").output();
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let version = version.expect("rustc says its version");
    if !version.starts_with(COMPILER) {
        println!("SKIPPED: the compiler's words are kept for {COMPILER}x, and this is {version}");
        return;
    }
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
