//! The isolation check finds planted leaks, of kinds that real services have had, and passes a service
//! without any.

use std::{
    collections::HashMap,
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use tower::{Service, ServiceExt, service_fn};
use tower_layer::Layer;
use tower_user_scope::{
    ExistingContext, Outcome, Scoped, UserContext, UserScopeExt, UserScopeLayer,
    audit::AuditEvent,
    rejection::RejectionKind,
    scope::Isolation,
    testing::{
        AsUser, Finding, IsolationCheck, IsolationReport, Recorder, Scripted, StrictService,
    },
};

struct Agents {
    owner: String,
}

type Answer = Response<Full<Bytes>>;
type HandlerFuture = Pin<Box<dyn Future<Output = String> + Send>>;

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn name(user: &UserContext) -> String {
    user.user_id().map_or_else(String::new, ToString::to_string)
}

/// Checks a handler behind a layer whose observer is the check's recorder.
async fn check(
    check: IsolationCheck,
    isolation: Isolation,
    handler: impl Fn(Scoped<Agents>) -> HandlerFuture + Clone + Send + Sync + 'static,
) -> IsolationReport {
    let recorder = Recorder::new();
    let layer = UserScopeLayer::builder()
        .strategy(ExistingContext::new())
        .factory(|user: &UserContext| Agents { owner: name(user) })
        .isolation(isolation)
        .observer(recorder.clone())
        .build()
        .expect("a valid configuration");
    let service = layer.layer(service_fn(move |request: Request<()>| {
        let agents = request
            .scoped::<Agents>()
            .expect("inside the layer")
            .clone();
        let answer = handler(agents);
        async move {
            let body = answer.await;
            // The same text is allowed in a header's value.
            let owner = HeaderValue::from_str(&body).expect("ids are visible ASCII");
            let mut response = Answer::new(Full::new(Bytes::from(body)));
            response.headers_mut().insert("x-owner", owner);
            Ok::<_, Infallible>(response)
        }
    }));
    check
        .recorder(&recorder)
        .run(service, |user| Request::new(()).as_user(user.id()))
        .await
}

async fn waits() {
    tokio::task::yield_now().await;
}

#[tokio::test]
async fn a_service_without_a_leak_passes() {
    for seed in 0..8 {
        let honest = |agents: Scoped<Agents>| -> HandlerFuture {
            Box::pin(async move {
                waits().await;
                agents.owner.clone()
            })
        };
        let report = check(IsolationCheck::new().seed(seed), Isolation::Enforce, honest).await;
        report.assert_isolated();
        assert!(
            report.cancelled() > 0,
            "some were cancelled on the way: {report}"
        );
        assert!(report.completed() > 100, "and most were not: {report}");
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Found {
    ForeignBytes,
    CrossUserAccess,
    Retained,
    Panicked,
}

fn kinds(report: &IsolationReport) -> Vec<Found> {
    let findings = report.findings().iter();
    findings
        .filter_map(|finding| match finding {
            Finding::ForeignBytes { .. } => Some(Found::ForeignBytes),
            Finding::CrossUserAccess(_) => Some(Found::CrossUserAccess),
            Finding::FactoryRetained { .. } => Some(Found::Retained),
            Finding::Panicked { .. } => Some(Found::Panicked),
            _ => None,
        })
        .collect()
}

fn assert_found(report: &IsolationReport, expected: &[Found]) {
    let kinds = kinds(report);
    for kind in expected {
        assert!(kinds.contains(kind), "{kind:?} is to be found: {report}");
    }
    let failed = std::panic::catch_unwind(|| report.assert_isolated());
    let panic = failed.expect_err("a report with findings fails the test");
    let message = panic.downcast_ref::<String>().expect("with a message");
    assert!(message.contains("seed"), "that tells the seed: {message}");
}

#[tokio::test]
async fn a_static_cache_is_found() {
    let cache: Arc<Mutex<Option<String>>> = Arc::default();
    let handler = move |agents: Scoped<Agents>| -> HandlerFuture {
        let cache = cache.clone();
        Box::pin(async move {
            let first = lock(&cache)
                .get_or_insert_with(|| agents.owner.clone())
                .clone();
            waits().await;
            first
        })
    };
    let report = check(IsolationCheck::new(), Isolation::Enforce, handler).await;
    assert_found(&report, &[Found::ForeignBytes]);
}

#[tokio::test]
async fn a_response_cached_without_the_user_in_its_key_is_found() {
    let cache: Arc<Mutex<HashMap<&str, String>>> = Arc::default();
    let handler = move |agents: Scoped<Agents>| -> HandlerFuture {
        let cache = cache.clone();
        Box::pin(async move {
            let known = lock(&cache).get("/").cloned();
            waits().await;
            known.unwrap_or_else(|| {
                lock(&cache).insert("/", agents.owner.clone());
                agents.owner.clone()
            })
        })
    };
    let report = check(IsolationCheck::new(), Isolation::Enforce, handler).await;
    assert_found(&report, &[Found::ForeignBytes]);
}

#[tokio::test]
async fn a_current_user_that_requests_share_is_found() {
    let current: Arc<Mutex<Option<String>>> = Arc::default();
    let handler = move |agents: Scoped<Agents>| -> HandlerFuture {
        let current = current.clone();
        Box::pin(async move {
            *lock(&current) = Some(agents.owner.clone());
            waits().await;
            lock(&current).clone().unwrap_or_default()
        })
    };
    let report = check(IsolationCheck::new(), Isolation::Enforce, handler).await;
    assert_found(&report, &[Found::ForeignBytes]);
}

/// A singleton that keeps the factory of the first request.
fn singleton() -> impl Fn(Scoped<Agents>) -> HandlerFuture + Clone + Send + Sync {
    let kept: Arc<Mutex<Option<Scoped<Agents>>>> = Arc::default();
    move |agents| {
        let first = lock(&kept).get_or_insert(agents).clone();
        Box::pin(async move { first.owner.clone() })
    }
}

#[tokio::test]
async fn a_singleton_factory_is_refused_and_found() {
    let report = check(IsolationCheck::new(), Isolation::Enforce, singleton()).await;
    assert_found(
        &report,
        &[Found::CrossUserAccess, Found::Panicked, Found::Retained],
    );
    assert!(
        !kinds(&report).contains(&Found::ForeignBytes),
        "and what was refused reached nobody: {report}"
    );
}

#[tokio::test]
async fn a_singleton_factory_is_found_where_it_is_only_reported() {
    let report = check(IsolationCheck::new(), Isolation::Report, singleton()).await;
    assert_found(&report, &[Found::CrossUserAccess, Found::ForeignBytes]);
}

#[tokio::test]
async fn a_captured_clone_is_found() {
    let last: Arc<Mutex<Vec<Scoped<Agents>>>> = Arc::default();
    let handler = move |agents: Scoped<Agents>| -> HandlerFuture {
        let last = last.clone();
        Box::pin(async move {
            lock(&last).push(agents);
            waits().await;
            let newest = lock(&last).last().cloned();
            newest.map_or_else(String::new, |agents| agents.owner.clone())
        })
    };
    let report = check(IsolationCheck::new(), Isolation::Enforce, handler).await;
    assert_found(&report, &[Found::CrossUserAccess, Found::Retained]);
}

#[tokio::test]
async fn the_same_seed_finds_the_same_and_another_one_another_order() {
    let once = |seed| {
        let current: Arc<Mutex<String>> = Arc::default();
        check(
            IsolationCheck::new().seed(seed),
            Isolation::Enforce,
            move |agents: Scoped<Agents>| -> HandlerFuture {
                let current = current.clone();
                Box::pin(async move {
                    lock(&current).clone_from(&agents.owner);
                    waits().await;
                    lock(&current).clone()
                })
            },
        )
    };
    assert_eq!(once(7).await, once(7).await, "reproducible");
    assert_ne!(once(7).await, once(8).await, "and the seed matters");
}

#[tokio::test]
async fn a_check_without_a_completed_response_fails() {
    let service = service_fn(async |_: Request<()>| Err::<Answer, _>("down"));
    let report = IsolationCheck::new()
        .run(service, |user| Request::new(()).as_user(user.id()))
        .await;
    assert!(
        matches!(report.findings(), [Finding::ShowsNothing { reason, .. }] if reason.contains("down")),
        "{report}"
    );
    let passed = std::panic::catch_unwind(|| report.assert_isolated());
    assert!(passed.is_err(), "which is no success");
}

#[tokio::test]
async fn a_check_whose_requests_were_all_refused_or_unobserved_fails() {
    let answer = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Answer::default()));
    // No request is accepted, so a leak behind the layer would not be reached.
    let refusing = UserScopeLayer::builder()
        .strategy(Scripted::new(|_| Outcome::Absent))
        .context_only()
        .build()
        .expect("a valid configuration");
    let report = IsolationCheck::new()
        .run(refusing.layer(answer), |user| {
            Request::new(()).as_user(user.id())
        })
        .await;
    assert!(
        report.completed() > 0 && report.succeeded() == 0,
        "{report}"
    );
    let passed = std::panic::catch_unwind(|| report.assert_isolated());
    assert!(passed.is_err(), "being refused is no isolation: {report}");

    let report = IsolationCheck::new()
        .recorder(&Recorder::new())
        .run(answer, |user| Request::new(()).as_user(user.id()))
        .await;
    assert!(report.findings().contains(&Finding::NoEvents), "{report}");
}

#[tokio::test]
async fn a_handler_is_tested_without_a_layer() {
    let handler = service_fn(async |request: Request<()>| {
        let agents = request.scoped::<Agents>().expect("inserted");
        let user = request.user_context().expect("inserted");
        Ok::<_, Infallible>(Response::new(format!("{} {}", agents.owner, name(user))))
    });
    let agents = Agents {
        owner: "research".to_owned(),
    };
    let request = Request::new(()).as_user_with("alice", agents);
    let response = handler.oneshot(request).await.expect("infallible");
    assert_eq!(response.body(), "research alice");
}

#[tokio::test]
async fn a_scripted_strategy_counts_and_a_recorder_remembers() {
    let script = Scripted::new(|_| Outcome::Absent);
    let recorder = Recorder::new();
    let layer = UserScopeLayer::builder()
        .strategy(script.clone())
        .observer(recorder.clone())
        .context_only()
        .build()
        .expect("a valid configuration");
    let inner = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(())));
    let response = layer.layer(inner).oneshot(Request::new(())).await;
    let response = response.expect("infallible");
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(script.calls(), 1, "called once");
    let events = recorder.events();
    assert!(
        matches!(
            &events[..],
            [AuditEvent::Consulted { strategy: "scripted", .. }, AuditEvent::Refused { rejection, .. }]
                if matches!(rejection.kind(), RejectionKind::NotAccepted { .. })
        ),
        "{events:?}"
    );
}

#[tokio::test]
async fn a_strict_service_panics_where_it_was_not_ready_and_so_does_its_clone() {
    let inner = service_fn(async |(): ()| Ok::<_, Infallible>(()));
    let mut strict = StrictService::new(inner);
    let ready = strict.ready().await.expect("infallible");
    assert!(ready.call(()).await.is_ok(), "ready once, called once");
    for mut not_ready in [strict.clone(), strict] {
        let called = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            drop(not_ready.call(()));
        }));
        assert!(called.is_err(), "called without having been ready");
    }
}
