//! Steps before the response goes out: what the client gets as a success has been done.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use futures::{FutureExt, task::noop_waker};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use tower::{BoxError, Service, ServiceExt, service_fn, util::ServiceFn};
use tower_layer::Layer;
use tower_user_scope::{
    CredentialSource, MaybeFuture, Rejection, Scoped, UnavailableError, UserContext,
    UserScopeLayer,
    audit::AuditEvent,
    authorize::Anyone,
    factory::{FactoryFn, MakeFactory, Provided},
    from_fn,
    middleware::{Answered, Empty, LayerBuilder, ReloadLayer, Then},
    rejection::RejectionKind,
    scope::{ClosedScope, Ending},
    strategy::FromFn,
    testing::Recorder,
};

type Log = Arc<Mutex<Vec<String>>>;

fn note(log: &Log, what: impl Into<String>) {
    log.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(what.into());
}

fn taken(log: &Log) -> Vec<String> {
    std::mem::take(&mut *log.lock().unwrap_or_else(PoisonError::into_inner))
}

/// A unit of work: it is rolled back where it is dropped without a commit.
struct Work {
    log: Log,
    committed: AtomicBool,
}

impl Work {
    fn commit(&self) {
        self.committed.store(true, Ordering::SeqCst);
        note(&self.log, "committed");
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if !self.committed.load(Ordering::SeqCst) {
            let user = UserContext::current().and_then(|user| user.user_id().cloned());
            note(&self.log, format!("rolled back in the scope of {user:?}"));
        }
    }
}

const ROLLED_BACK: &str = "rolled back in the scope of Some(UserId(\"alice\"))";

type Strategies = Then<Empty, FromFn<fn(&http::request::Parts) -> tower_user_scope::Outcome>>;
type Make = FactoryFn<Box<dyn Fn(&UserContext) -> Work + Send + Sync>>;
type Builder = LayerBuilder<Strategies, Provided<Make, Work>, Anyone>;

fn alice(head: &http::request::Parts) -> tower_user_scope::Outcome {
    match head
        .headers
        .get("x-user")
        .map(|user| user.to_str().unwrap_or("").parse())
    {
        None => tower_user_scope::Outcome::Absent,
        Some(Ok::<tower_user_scope::UserId, _>(user)) => {
            tower_user_scope::Identity::proved(user).into()
        }
        Some(Err(error)) => tower_user_scope::Outcome::Invalid(error.into()),
    }
}

fn builder(log: &Log) -> Builder {
    let log = Arc::clone(log);
    let make: Box<dyn Fn(&UserContext) -> Work + Send + Sync> = Box::new(move |_| Work {
        log: Arc::clone(&log),
        committed: AtomicBool::new(false),
    });
    UserScopeLayer::builder()
        .strategy(from_fn(
            CredentialSource::header("x-user"),
            alice as fn(&http::request::Parts) -> tower_user_scope::Outcome,
        ))
        .factory(make)
}

fn request() -> Request<Body> {
    Request::get("/orders?secret=1")
        .header("x-user", "alice")
        .body(Body::empty())
        .expect("a request")
}

/// Answers with the status, and with a body that says when it is dropped.
fn answering(
    status: u16,
    log: &Log,
) -> impl Service<Request<Body>, Response = Response<Noting>, Error = Infallible, Future: Send>
+ Clone
+ use<> {
    let log = Arc::clone(log);
    service_fn(move |_| {
        let mut response = Response::new(Noting(Arc::clone(&log)));
        *response.status_mut() = StatusCode::from_u16(status).expect("a status");
        ready(Ok::<_, Infallible>(response))
    })
}

/// A body without data that says when it is polled and dropped.
struct Noting(Log);

impl http_body::Body for Noting {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        note(&self.0, "first byte");
        Poll::Ready(None)
    }
}

impl Drop for Noting {
    fn drop(&mut self) {
        let is_alices = UserContext::current().is_some();
        note(&self.0, format!("body dropped, in scope: {is_alices}"));
    }
}

/// Commits where the response is a success.
#[expect(clippy::unnecessary_wraps, reason = "it is a step, and steps may fail")]
fn commit(answered: &Answered<'_, Scoped<Work>>) -> Result<(), Infallible> {
    if answered.is_success() {
        answered.scoped().commit();
    }
    Ok(())
}

#[tokio::test]
async fn b54_a_success_is_committed_before_its_first_byte_and_an_error_is_not() {
    for (status, done) in [
        (200, "committed"),
        (201, "committed"),
        (204, "committed"),
        (302, ROLLED_BACK),
        (404, ROLLED_BACK),
        (500, ROLLED_BACK),
    ] {
        let log = Log::default();
        let layer = builder(&log).before_response(commit).build().expect("good");
        let service = layer.layer(answering(status, &log));
        let response = service.oneshot(request()).await.expect("infallible");
        assert_eq!(response.status(), status);
        if done == "committed" {
            assert_eq!(taken(&log), [done], "{status}: before the body is polled");
        }
        let _ = response.into_body().collect().await;
        let after = taken(&log);
        assert_eq!(
            after.contains(&ROLLED_BACK.to_owned()),
            done != "committed",
            "{status}: {after:?}"
        );
    }
}

/// Serves one request of alice's with the layer, and returns what its steps have noted.
async fn noted_by<T>(layer: T, log: &Log) -> Vec<String>
where
    T: Layer<ServiceFn<fn(Request<Body>) -> Ready<Result<Response<Body>, Infallible>>>>,
    T::Service: Service<Request<Body>, Error = Infallible>,
{
    let answer: fn(_) -> _ = |_| ready(Ok(Response::new(Body::empty())));
    let service = layer.layer(service_fn(answer));
    drop(service.oneshot(request()).await.expect("infallible"));
    taken(log)
}

#[tokio::test]
async fn a_step_gets_the_factory_with_its_type_however_the_layer_builds_it() {
    struct Named(String);
    #[derive(Clone)]
    struct MakesNamed;
    impl MakeFactory for MakesNamed {
        type Factory = Named;
        type Error = Infallible;
        type Future = Ready<Result<Named, Infallible>>;

        fn make(&self, user: &UserContext) -> MaybeFuture<Self::Future> {
            MaybeFuture::Ready(Ok(named(user)))
        }
    }
    fn named(user: &UserContext) -> Named {
        Named(user.user_id().map(ToString::to_string).unwrap_or_default())
    }
    let log = Log::default();
    let noted = Arc::clone(&log);
    let step = move |answered: &Answered<'_, Scoped<Named>>| {
        note(&noted, format!("of {}", answered.scoped().0));
        Ok::<_, Infallible>(())
    };
    let layer =
        || UserScopeLayer::builder().strategy(from_fn(CredentialSource::header("x-user"), alice));

    let at_once = layer().factory(named).before_response(step.clone());
    let as_arc = layer()
        .factory(named)
        .before_response(step.clone())
        .insert_as_arc();
    let waits = layer()
        .factory_async(async |user| Ok::<_, Infallible>(named(&user)))
        .before_response(step.clone());
    let made = layer()
        .make_factory(MakesNamed)
        .before_response(step.clone());
    assert_eq!(
        noted_by(at_once.build().expect("good"), &log).await,
        ["of alice"]
    );
    assert_eq!(
        noted_by(as_arc.build().expect("good"), &log).await,
        ["of alice"]
    );
    assert_eq!(
        noted_by(waits.build().expect("good"), &log).await,
        ["of alice"]
    );
    assert_eq!(
        noted_by(made.build().expect("good"), &log).await,
        ["of alice"]
    );

    let boxed_first = layer().factory(named).boxed().before_response(step.clone());
    let boxed_last = layer()
        .make_factory(MakesNamed)
        .before_response(step.clone())
        .boxed();
    let reloaded = ReloadLayer::new(boxed_first.build().expect("good"));
    assert_eq!(noted_by(reloaded.clone(), &log).await, ["of alice"]);
    reloaded.reload(boxed_last.build().expect("good"));
    assert_eq!(noted_by(reloaded, &log).await, ["of alice"]);

    let noted = Arc::clone(&log);
    let lazy = layer()
        .lazy_factory(|user| Ok::<_, Infallible>(named(user)))
        .before_response(move |answered| {
            let named = answered.scoped();
            note(&noted, format!("built: {}", named.peek().is_some()));
            named
                .get()
                .map(|named| note(&noted, format!("of {}", named.0)))
        });
    let lazy = lazy.build().expect("good");
    assert_eq!(noted_by(lazy, &log).await, ["built: false", "of alice"]);

    let noted = Arc::clone(&log);
    let lazy = layer()
        .lazy_factory_async(async |user| Ok::<_, Infallible>(named(&user)))
        .before_response_async(move |answered| {
            let (lazy, noted) = (answered.scoped(), Arc::clone(&noted));
            async move {
                lazy.get()
                    .await
                    .map(|named| note(&noted, format!("of {}", named.0)))
            }
        });
    assert_eq!(
        noted_by(lazy.build().expect("good"), &log).await,
        ["of alice"]
    );

    let noted = Arc::clone(&log);
    let none = layer()
        .context_only()
        .before_response(move |answered: &Answered<'_>| {
            note(
                &noted,
                format!("context of {:?}", answered.context().user_id()),
            );
            Ok::<_, Infallible>(())
        });
    let none = none.boxed().build().expect("good");
    assert_eq!(
        noted_by(none, &log).await,
        ["context of Some(UserId(\"alice\"))"]
    );
}

/// What comes of a step that fails with this error.
async fn failing<E: Into<BoxError> + 'static>(
    error: impl Fn() -> E + Send + Sync + 'static,
) -> (Response<Bytes>, Vec<AuditEvent<'static>>, Vec<String>) {
    let (log, recorder) = (Log::default(), Recorder::new());
    let layer = builder(&log)
        .before_response(move |_| Err(error()))
        .before_response(|_| -> Result<(), Infallible> { panic!("after one that has failed") })
        .request_id_in_response()
        .observer(recorder.clone())
        .build()
        .expect("good");
    let service = layer.layer(answering(200, &log));
    let response = service.oneshot(request()).await.expect("infallible");
    let (head, body) = response.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    (
        Response::from_parts(head, body),
        recorder.take(),
        taken(&log),
    )
}

#[tokio::test]
async fn b54_a_step_that_fails_is_an_error_that_the_client_sees_and_cannot_read() {
    let (response, events, log) = failing(|| io::Error::other("deadlock in table orders")).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(
        response.headers()[header::CONTENT_TYPE],
        "application/problem+json"
    );
    assert!(response.headers().contains_key("x-request-id"));
    let body = String::from_utf8_lossy(response.body());
    assert!(!body.contains("deadlock"), "{body}");
    let rejection = response.extensions().get::<Rejection>().expect("a reason");
    assert!(matches!(rejection.kind(), RejectionKind::BeforeResponse(_)));
    assert_eq!(log, ["body dropped, in scope: true", ROLLED_BACK]);

    let refused = events.iter().find_map(|event| match event {
        AuditEvent::Refused {
            rejection,
            subject,
            request_id,
            method: Some(method),
            path: Some(path),
            ..
        } => Some((rejection, subject, request_id, method, path)),
        _ => None,
    });
    let (rejection, subject, request_id, method, path) = refused.expect("audited");
    assert!(rejection.to_string().contains("deadlock in table orders"));
    assert!(subject.is_some() && request_id.is_some());
    assert_eq!((method.as_ref(), &**path), (&Method::GET, "/orders"));
    let closed = events.iter().find_map(|event| match event {
        AuditEvent::ScopeClosed { ending, status, .. } => Some((*ending, *status)),
        _ => None,
    });
    let status = StatusCode::INTERNAL_SERVER_ERROR;
    assert_eq!(closed, Some((Ending::Failed, Some(status))));
}

#[tokio::test]
async fn a_step_that_could_not_reach_something_is_503() {
    let (response, ..) = failing(|| UnavailableError::new(io::Error::other("down"))).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn steps_are_taken_in_order_and_in_scope_and_may_wait() {
    let log = Log::default();
    let step = |name: &'static str| {
        let log = Arc::clone(&log);
        move |answered: &Answered<'_, Scoped<Work>>| {
            let current = UserContext::current().expect("a scope");
            assert_eq!(&current, answered.context());
            note(&log, name);
            Ok::<_, Infallible>(())
        }
    };
    let waits = |name: &'static str| {
        let log = Arc::clone(&log);
        move |_: &Answered<'_, Scoped<Work>>| {
            let log = Arc::clone(&log);
            async move {
                tokio::task::yield_now().await;
                assert!(UserContext::current().is_some());
                note(&log, name);
                Ok::<_, Infallible>(())
            }
        }
    };
    let layer = builder(&log)
        .before_response(step("1"))
        .before_response_async(waits("2"))
        .before_response(step("3"))
        .before_response_async(waits("4"))
        .before_response_async(waits("5"))
        .before_response(step("6"))
        .build()
        .expect("good");
    let service = layer.layer(answering(200, &log));
    let response = service.oneshot(request()).await.expect("infallible");
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(taken(&log), ["1", "2", "3", "4", "5", "6"]);
}

#[tokio::test(start_paused = true)]
async fn a_step_that_hangs_is_500_in_time_as_it_may_have_taken_place() {
    let limit = Duration::from_secs(2);
    let by_default = |builder: Builder| builder;
    let by_one_call = move |builder: Builder| builder.before_response_time_limit(limit);
    for (case, configure, limit) in [
        (
            "by default",
            &by_default as &dyn Fn(Builder) -> Builder,
            Duration::from_secs(10),
        ),
        ("by one call", &by_one_call, limit),
    ] {
        let log = Log::default();
        let hangs = configure(builder(&log))
            .before_response_async(|_| std::future::pending::<Result<(), Infallible>>());
        let layer = hangs.build().expect("good");
        let began = tokio::time::Instant::now();
        let service = layer.layer(answering(200, &log));
        let response = service.oneshot(request()).await.expect("infallible");
        assert_eq!(
            response.status(),
            StatusCode::INTERNAL_SERVER_ERROR,
            "{case}"
        );
        assert_eq!(began.elapsed().as_secs(), limit.as_secs(), "{case}");
        let rejection = response.extensions().get::<Rejection>().expect("a reason");
        assert!(
            matches!(rejection.kind(), RejectionKind::BeforeResponseTimedOut { limit: it, .. } if *it == limit)
        );
        assert_eq!(
            taken(&log),
            ["body dropped, in scope: true", ROLLED_BACK],
            "{case}"
        );
    }
    let none = builder(&Log::default()).before_response_time_limit(Duration::ZERO);
    assert!(none.build().is_err());
}

/// Says where it was dropped.
struct Waits(Log);

impl Drop for Waits {
    fn drop(&mut self) {
        let is_alices = UserContext::current().is_some();
        note(&self.0, format!("step dropped, in scope: {is_alices}"));
    }
}

/// Notes how the scopes of a layer end.
fn endings(log: &Log) -> impl Fn(&ClosedScope) + Send + Sync + 'static + use<> {
    let log = Arc::clone(log);
    move |closed| note(&log, format!("{:?} {:?}", closed.ending(), closed.status()))
}

#[tokio::test]
async fn b34_a_client_that_goes_away_during_a_step_leaves_nothing() {
    let log = Log::default();
    let waits = Arc::clone(&log);
    let layer = builder(&log)
        .before_response_async(move |_| {
            let held = Waits(Arc::clone(&waits));
            async move {
                std::future::pending::<()>().await;
                drop(held);
                Ok::<_, Infallible>(())
            }
        })
        .on_close(endings(&log))
        .build()
        .expect("good");
    let mut call = Box::pin(layer.layer(answering(200, &log)).oneshot(request()));
    assert!(
        call.as_mut()
            .poll_unpin(&mut Context::from_waker(&noop_waker()))
            .is_pending()
    );
    assert!(taken(&log).is_empty());
    drop(call);
    assert_eq!(
        taken(&log),
        [
            "step dropped, in scope: true",
            "body dropped, in scope: true",
            "Cancelled None",
            ROLLED_BACK
        ]
    );
}

#[tokio::test]
async fn a_step_that_panics_closes_the_scope_as_panicked() {
    let log = Log::default();
    let sync = |builder: Builder| {
        builder.before_response(|_| -> Result<(), Infallible> { panic!("planted") })
    };
    let waits = |builder: Builder| {
        builder.before_response_async(|_| async {
            tokio::task::yield_now().await;
            assert!(std::hint::black_box(false), "planted");
            Ok::<_, Infallible>(())
        })
    };
    for configure in [&sync as &dyn Fn(Builder) -> Builder, &waits] {
        let layer = configure(builder(&log))
            .on_close(endings(&log))
            .build()
            .expect("good");
        let call = layer.layer(answering(200, &log)).oneshot(request());
        let panicked = std::panic::AssertUnwindSafe(call).catch_unwind().await;
        assert!(panicked.is_err());
        let log = taken(&log);
        assert_eq!(
            log,
            ["body dropped, in scope: true", "Panicked None", ROLLED_BACK]
        );
    }
}

#[tokio::test]
async fn no_step_is_taken_without_a_response() {
    let count = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&count);
    let log = Log::default();
    let layer = builder(&log)
        .before_response(move |_| {
            counts.fetch_add(1, Ordering::SeqCst);
            Ok::<_, Infallible>(())
        })
        .build()
        .expect("good");
    let nobody = Request::new(Body::empty());
    let refused = layer.layer(answering(200, &log)).oneshot(nobody).await;
    assert_eq!(
        refused.expect("infallible").status(),
        StatusCode::UNAUTHORIZED
    );
    let fails = service_fn(|_: Request<Body>| async { Err::<Response<Body>, _>("down") });
    assert_eq!(
        layer.layer(fails).oneshot(request()).await.err(),
        Some("down")
    );
    assert_eq!(count.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_grpc_response_is_a_success_by_its_status_too_and_a_refusal_is_one_of_grpc() {
    for (grpc_status, done) in [(None, true), (Some("0"), true), (Some("13"), false)] {
        let log = Log::default();
        let layer = builder(&log).before_response(commit).build().expect("good");
        let service = layer.layer(service_fn(move |_: Request<Body>| {
            let mut response = Response::new(Body::empty());
            if let Some(status) = grpc_status {
                let value = status.parse().expect("a value");
                response.headers_mut().insert("grpc-status", value);
            }
            ready(Ok::<_, Infallible>(response))
        }));
        drop(service.oneshot(request()).await.expect("infallible"));
        assert_eq!(taken(&log) == ["committed"], done, "{grpc_status:?}");
    }
    for (content_type, grpc_status) in [
        ("application/grpc", Some("13")),
        ("application/grpc-web+proto", Some("13")),
        ("application/json", None),
    ] {
        let log = Log::default();
        let fails = |_: &Answered<'_, Scoped<Work>>| Err(io::Error::other("planted"));
        let layer = builder(&log).before_response(fails).build().expect("good");
        let service = layer.layer(service_fn(move |_: Request<Body>| {
            let mut response = Response::new(Body::empty());
            let value = content_type.parse().expect("a value");
            response.headers_mut().insert(header::CONTENT_TYPE, value);
            ready(Ok::<_, Infallible>(response))
        }));
        let response = service.oneshot(request()).await.expect("infallible");
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let status = response.headers().get("grpc-status");
        let status = status.map(|status| status.to_str().expect("a number"));
        assert_eq!(status, grpc_status, "{content_type}");
    }
}

#[tokio::test]
async fn an_upgrade_that_a_step_refuses_does_not_happen() {
    let log = Log::default();
    let fails = |_: &Answered<'_, Scoped<Work>>| Err(io::Error::other("planted"));
    let layer = builder(&log)
        .before_response(fails)
        .on_close(endings(&log))
        .build()
        .expect("good");
    let response = layer.layer(answering(101, &log)).oneshot(request()).await;
    assert_eq!(
        response.expect("infallible").status(),
        StatusCode::INTERNAL_SERVER_ERROR
    );
    let log = taken(&log);
    assert_eq!(
        log,
        [
            "body dropped, in scope: true",
            "Failed Some(500)",
            ROLLED_BACK
        ]
    );
}

#[tokio::test]
async fn a_closed_scope_knows_how_much_was_sent_and_who_still_holds_the_factory() {
    let log = Log::default();
    let (notes, observed) = (Arc::clone(&log), Arc::clone(&log));
    let layer = builder(&log)
        .observer(move |event: &AuditEvent<'_>| {
            if let AuditEvent::ScopeClosed { bytes, holders, .. } = event {
                note(&observed, format!("observed {bytes} and {holders}"));
            }
        })
        .on_close(move |closed| {
            note(
                &notes,
                format!("{} bytes, {} holders", closed.bytes(), closed.holders()),
            );
        })
        .build()
        .expect("good");
    let kept = Arc::new(Mutex::new(Vec::new()));
    let keeps = Arc::clone(&kept);
    let service = layer.layer(service_fn(move |request: Request<Body>| {
        use tower_user_scope::UserScopeExt;
        let work = request.scoped::<Work>().expect("inside").clone();
        keeps
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(work);
        let frames = ["four", "", "five."].map(|data| Ok::<_, Infallible>(Bytes::from(data)));
        let body = Body::from_stream(futures::stream::iter(frames));
        ready(Ok::<_, Infallible>(Response::new(body)))
    }));
    let response = service.oneshot(request()).await.expect("infallible");
    let body = response
        .into_body()
        .collect()
        .await
        .expect("a body")
        .to_bytes();
    assert_eq!(body, "fourfive.");
    assert_eq!(taken(&log), ["observed 9 and 1", "9 bytes, 1 holders"]);
    drop(kept);
}
