//! Tower's contract: the instance that was polled ready is the one that is called, readiness and
//! errors pass through, and bodies are left as they are.

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use bytes::{Buf, Bytes};
use futures::{FutureExt, StreamExt, stream};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, request::Parts};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::sync::Semaphore;
use tower::{
    Layer, Service, ServiceBuilder, ServiceExt, limit::GlobalConcurrencyLimitLayer, service_fn,
};
use tower_user_scope::{
    CredentialSource, ExistingContext, Identity, InvalidError, Outcome, UserContext, UserId,
    UserScopeExt, UserScopeLayer,
    authorize::AuthorizeError,
    from_async_fn,
    strategy::{InvalidErrorKind, Strategy},
    testing::{AsUser, Scripted, StrictService},
};

fn alice() -> Outcome {
    match UserId::try_from("alice") {
        Ok(id) => Identity::proved(id).into(),
        Err(error) => Outcome::Invalid(error.into()),
    }
}

fn bad() -> Outcome {
    InvalidError::new(InvalidErrorKind::Rejected("planted")).into()
}

/// A strategy that waits until it is released, or not at all.
fn waiting(outcome: fn() -> Outcome) -> impl Strategy<Future: Send> + Send + Sync + 'static {
    from_async_fn(CredentialSource::predicate(|_| true), move |_| async move {
        tokio::task::yield_now().await;
        outcome()
    })
}

fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

macro_rules! layer {
    ($strategy:expr) => {
        UserScopeLayer::builder()
            .strategy($strategy)
            .context_only()
            .build()
            .expect("a valid configuration")
    };
}

/// Responds with 201 and counts its clones.
struct Counted(Arc<AtomicUsize>);

impl Clone for Counted {
    fn clone(&self) -> Self {
        self.0.fetch_add(1, Ordering::SeqCst);
        Self(self.0.clone())
    }
}

impl Service<Request<()>> for Counted {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<()>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::CREATED;
        std::future::ready(Ok(response))
    }
}

fn strict(clones: &Arc<AtomicUsize>) -> StrictService<Counted> {
    StrictService::new(Counted(clones.clone()))
}

/// Sends three requests, one after the other, through a strict inner service.
async fn check<L, S, B>(what: &str, layer: L, status: StatusCode, clones_each: usize)
where
    L: Layer<StrictService<Counted>, Service = S>,
    S: Service<Request<()>, Response = Response<B>, Error = Infallible>,
{
    let clones = Arc::default();
    let mut service = layer.layer(strict(&clones));
    for nth in 1..=3 {
        let Ok(ready) = service.ready().await;
        let Ok(response) = ready.call(Request::new(())).await;
        assert_eq!(response.status(), status, "{what}, request {nth}");
        let expected = nth * clones_each;
        assert_eq!(clones.load(Ordering::SeqCst), expected, "{what}: clones");
    }
}

#[tokio::test]
async fn the_ready_instance_is_called_and_cloned_only_where_a_request_waits() {
    use StatusCode as S;
    let now = || UserScopeLayer::builder().strategy(Scripted::new(|_| alice()));
    let later = || UserScopeLayer::builder().strategy(waiting(alice));
    let allow = |_: &UserContext, _: &Parts| tokio::task::yield_now().map(Ok);
    let make = |_| tokio::task::yield_now().map(|()| Ok::<_, Infallible>(7_u8));
    /// Checks the status and the number of clones for each layer by name.
    macro_rules! table {
        ($($what:literal: $builder:expr => $status:expr, $clones:literal;)*) => {$(
            let layer = $builder.build().expect("a valid configuration");
            check($what, layer, $status, $clones).await;
        )*};
    }
    table! {
        "at once": now().context_only() => S::CREATED, 0;
        "at once, with a factory": now().factory(|_| 7_u8) => S::CREATED, 0;
        "boxed, at once": UserScopeLayer::builder()
            .strategies([Scripted::new(|_| alice()).boxed()])
            .context_only() => S::CREATED, 0;
        "refused at once": UserScopeLayer::builder()
            .strategy(Scripted::new(|_| bad()))
            .context_only() => S::UNAUTHORIZED, 1;
        "the strategy waits": later().context_only() => S::CREATED, 1;
        "refused after waiting": UserScopeLayer::builder()
            .strategy(waiting(bad))
            .context_only() => S::UNAUTHORIZED, 1;
        "authorize waits": now().authorize_async(allow).context_only() => S::CREATED, 1;
        "the factory waits": now().factory_async(make) => S::CREATED, 1;
        "all of them wait": later().authorize_async(allow).factory_async(make) => S::CREATED, 1;
    }
}

#[tokio::test]
async fn a_refusal_gives_back_what_the_ready_instance_held() {
    for (what, layer) in [
        ("at once", layer!(Scripted::new(|_| bad()).boxed())),
        ("after waiting", layer!(waiting(bad).boxed())),
    ] {
        let permits = Arc::new(Semaphore::new(1));
        let limit = GlobalConcurrencyLimitLayer::with_semaphore(Arc::clone(&permits));
        let mut service = layer.layer(limit.layer(strict(&Arc::default())));
        let Ok(ready) = service.ready().await;
        let Ok(response) = ready.call(Request::new(())).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{what}");
        assert_eq!(
            permits.available_permits(),
            1,
            "refused {what}: the service is idle"
        );
    }
}

#[test]
fn a_future_says_what_it_waits_for_and_that_it_is_done() {
    type Built = Result<(), Infallible>;
    let layer = UserScopeLayer::builder()
        .strategy(waiting(alice))
        .authorize_async(|_, _| async {
            tokio::task::yield_now().await;
            Ok::<_, AuthorizeError>(())
        })
        .factory_async(|_| async {
            tokio::task::yield_now().await;
            Built::Ok(())
        })
        .build()
        .expect("valid");
    let mut service = layer.layer(service_fn(async |_: Request<()>| {
        tokio::task::yield_now().await;
        Ok::<_, Infallible>(Response::new(String::new()))
    }));
    let mut future = pin!(service.call(Request::new(())));
    for state in ["resolving", "authorizing", "building", "calling"] {
        assert!(poll_once(future.as_mut()).is_pending());
        let shown = format!("{future:?}");
        assert!(shown.contains(state), "{state}: {shown}");
    }
    assert!(poll_once(future.as_mut()).is_ready());
    let shown = format!("{future:?}");
    assert!(shown.contains("done"), "{shown}");
}

#[tokio::test]
async fn every_way_to_drive_a_service_reaches_a_ready_instance() {
    let clones = Arc::default();
    let mut service = layer!(waiting(alice)).layer(strict(&clones));
    let Ok(ready) = service.ready().await;
    let first = ready.call(Request::new(()));
    let Ok(ready) = service.ready().await;
    let second = ready.call(Request::new(()));
    let (Ok(second), Ok(first)) = (second.await, first.await);
    let both = [first.status(), second.status()];
    assert_eq!(both, [StatusCode::CREATED; 2], "two at once, in any order");

    let Ok(response) = service.clone().oneshot(Request::new(())).await;
    assert_eq!(response.status(), StatusCode::CREATED, "through `oneshot`");

    let requests = stream::iter((0..3).map(|_| Request::new(())));
    let answers = service.call_all(requests);
    let answers: Vec<_> = answers
        .map(|Ok(response)| response.status())
        .collect()
        .await;
    assert_eq!(answers, [StatusCode::CREATED; 3], "through `call_all`");
}

#[tokio::test]
async fn an_inner_service_that_is_never_ready_holds_callers_back() {
    #[derive(Clone)]
    struct NeverReady;

    impl Service<Request<()>> for NeverReady {
        type Response = Response<()>;
        type Error = Infallible;
        type Future = std::future::Pending<Result<Response<()>, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Pending
        }

        fn call(&mut self, _: Request<()>) -> Self::Future {
            panic!("called although it was never ready")
        }
    }

    let mut service = layer!(Scripted::new(|_| alice())).layer(NeverReady);
    for _ in 0..3 {
        assert!(
            poll_once(pin!(service.ready())).is_pending(),
            "backpressure is passed on"
        );
    }
}

#[tokio::test]
async fn errors_of_readiness_and_of_the_call_pass_through_unchanged() {
    #[derive(Clone)]
    struct Fails {
        ready: bool,
    }

    impl Service<Request<()>> for Fails {
        type Response = Response<()>;
        type Error = &'static str;
        type Future = std::future::Ready<Result<Response<()>, &'static str>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
            Poll::Ready(if self.ready { Ok(()) } else { Err("not ready") })
        }

        fn call(&mut self, _: Request<()>) -> Self::Future {
            std::future::ready(Err("failed"))
        }
    }

    for (ready, expected) in [(false, "not ready"), (true, "failed")] {
        let at_once = layer!(Scripted::new(|_| alice())).layer(Fails { ready });
        let error = at_once.oneshot(Request::new(())).await.err();
        assert_eq!(error, Some(expected), "at once");
        let waits = layer!(waiting(alice)).layer(Fails { ready });
        let error = waits.oneshot(Request::new(())).await.err();
        assert_eq!(error, Some(expected), "after waiting");
    }
}

#[tokio::test]
async fn a_concurrency_limit_of_one_is_kept_while_waiting_and_given_back_on_each_way_out() {
    let gate = Arc::new(Semaphore::new(0));
    let opens = gate.clone();
    let gated = from_async_fn(CredentialSource::header("x-key"), move |head| {
        let key = head.headers.get("x-key").cloned();
        let gate = opens.clone();
        async move {
            let Ok(permit) = gate.acquire().await else {
                return bad();
            };
            permit.forget();
            if key.is_some() { alice() } else { bad() }
        }
    });
    let inner = service_fn(async |request: Request<()>| {
        if request.headers()["x-key"] == "fails" {
            return Err("planted");
        }
        Ok(Response::new(()))
    });
    let limited = ServiceBuilder::new().concurrency_limit(1).service(inner);
    let mut service = layer!(gated).layer(limited);
    let with = |key: &'static str| {
        let mut request = Request::new(());
        if !key.is_empty() {
            let key = HeaderValue::from_static(key);
            request.headers_mut().insert("x-key", key);
        }
        request
    };

    for (key, way_out, expected) in [
        ("good", "success", Some(Ok(StatusCode::OK))),
        ("", "refusal", Some(Ok(StatusCode::UNAUTHORIZED))),
        ("fails", "error", Some(Err("planted"))),
        ("good", "drop", None),
    ] {
        let ready = poll_once(pin!(service.ready())).is_ready();
        assert!(ready, "the permit is there before {way_out}");
        let mut response = Box::pin(service.call(with(key)));
        assert!(
            poll_once(response.as_mut()).is_pending(),
            "it waits for the gate"
        );
        let blocked = poll_once(pin!(service.ready())).is_pending();
        assert!(blocked, "and keeps the only permit: {way_out}");
        if let Some(expected) = expected {
            gate.add_permits(1);
            let answer = response.await.map(|response| response.status());
            assert_eq!(answer, expected, "{way_out}");
        } else {
            drop(response);
        }
    }
    assert!(
        poll_once(pin!(service.ready())).is_ready(),
        "and after the last one"
    );
}

#[tokio::test]
async fn a_mocked_inner_service_sees_the_request_with_what_was_inserted() {
    let (mock, mut handle) = tower_test::mock::pair::<Request<()>, Response<()>>();
    handle.allow(1);
    let mut service = layer!(ExistingContext::new()).layer(mock);
    let ready = service.ready().await.expect("ready");
    let response = ready.call(Request::new(()).as_user("alice"));
    let serve = async {
        let (request, respond) = handle.next_request().await.expect("one request");
        let context = request.user_context().expect("inserted");
        assert!(context.require_user().is_ok_and(|id| *id == "alice"));
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::CREATED;
        respond.send_response(response);
    };
    let (response, ()) = futures::join!(response, serve);
    assert_eq!(response.expect("answered").status(), StatusCode::CREATED);
}

/// A data type that is not `Bytes` and implements `From<Bytes>`.
#[derive(Debug, PartialEq)]
struct OwnData(VecDeque<u8>);

impl From<Bytes> for OwnData {
    fn from(bytes: Bytes) -> Self {
        Self(bytes.iter().copied().collect())
    }
}

impl Buf for OwnData {
    fn remaining(&self) -> usize {
        self.0.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.0.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.0.advance(count);
    }
}

struct OwnBody(VecDeque<Result<Frame<OwnData>, &'static str>>);

impl OwnBody {
    fn new() -> Self {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-trailer", HeaderValue::from_static("last"));
        let data = |bytes: &'static [u8]| Ok(Frame::data(Bytes::from_static(bytes).into()));
        Self([data(b"one"), data(b"two"), Ok(Frame::trailers(trailers))].into())
    }

    fn failing() -> Self {
        Self([Err("planted")].into())
    }
}

impl Body for OwnBody {
    type Data = OwnData;
    type Error = &'static str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<OwnData>, &'static str>>> {
        Poll::Ready(self.0.pop_front())
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(6)
    }
}

#[tokio::test]
async fn a_body_is_passed_on_frame_by_frame_whatever_its_data() {
    let inner = service_fn(async |request: Request<()>| {
        Ok::<_, Infallible>(Response::new(match *request.method() {
            Method::GET => OwnBody::new(),
            _ => OwnBody::failing(),
        }))
    });
    let service = layer!(Scripted::new(|nth| if nth < 2 { alice() } else { bad() })).layer(inner);
    let mut request = Request::new(());
    let Ok(accepted) = service.clone().oneshot(request.clone()).await;
    let mut body = accepted.into_body();
    assert_eq!(body.size_hint().exact(), Some(6), "the size hint is kept");
    let mut frames = Vec::new();
    while let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        assert_eq!(body.is_end_stream(), frames.len() == 2, "as is the end");
        frames.push(match frame.into_data() {
            Ok(data) => String::from_utf8(data.0.into()).expect("text"),
            Err(frame) => format!(
                "{:?}",
                frame.into_trailers().expect("trailers")["x-trailer"]
            ),
        });
    }
    assert_eq!(frames, ["one", "two", "\"last\""], "every frame, in order");

    *request.method_mut() = Method::POST;
    let Ok(failing) = service.clone().oneshot(request.clone()).await;
    let error = failing.into_body().collect().await.expect_err("an error");
    assert_eq!(
        error.to_string(),
        "planted",
        "an error of the body is its own"
    );

    let Ok(refused) = service.oneshot(request).await;
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    let length = refused.body().size_hint().exact();
    let body = refused.into_body().collect().await.expect("a refusal");
    let sent = body.to_bytes().len() as u64;
    assert_eq!(Some(sent), length, "a refusal has a body of the same type");
}
