//! Each strategy and each step has a time limit by default.

use std::{
    convert::Infallible,
    future::pending,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures::FutureExt as _;
use http::{Request, Response, StatusCode};
use http_body_util::Empty;
use tokio::time::Instant;
use tower::{Service, ServiceExt, limit::ConcurrencyLimit, service_fn};
use tower_layer::Layer;
use tower_sessions::{MemoryStore, Session, session::Id};
use tower_user_scope::{
    ConfigError, CredentialSource, Fallback, Identity, Outcome, Rejection, Scoped,
    UnavailableError, UserContext, UserId, UserScopeExt, UserScopeLayer,
    audit::AuditEvent,
    authorize::AuthorizeError,
    factory::{FactoryErrorKind, LazyAsync},
    from_async_fn, from_fn,
    middleware::LayerBuilder,
    rejection::RejectionKind,
    session::{FromSession, SessionCookie, TowerSessions014Store},
    strategy::{Strategy, UnavailableErrorKind},
};

use crate::support::{
    send,
    servers::{Server, redis_store, skip},
    soon,
    store::{Watched, session_of},
    verdict::SID,
    with_cookies,
};

const DEFAULT: Duration = Duration::from_secs(10);
const HOUR: Duration = Duration::from_secs(3600);

fn by_alice() -> impl Strategy<Future: Send> + Send + Sync + 'static {
    from_fn(CredentialSource::predicate(|_| true), |_| {
        let id = UserId::try_from("alice").expect("an id");
        Outcome::from(Identity::proved(id))
    })
}

/// Responds after this time.
fn slow(takes: Duration, outcome: fn() -> Outcome) -> impl Strategy<Future: Send> + Send + Sync {
    from_async_fn(CredentialSource::predicate(|_| true), move |_| async move {
        tokio::time::sleep(takes).await;
        outcome()
    })
}

fn stuck() -> impl Strategy<Future: Send> + Send + Sync + 'static {
    from_async_fn(CredentialSource::predicate(|_| true), |_| {
        pending::<Outcome>()
    })
    .named("stuck")
}

fn with_a_session() -> Request<()> {
    let store = Watched::new(MemoryStore::default()).hanging();
    let mut request = with_cookies([format!("{SID}={}", Id(1))]);
    let session = Session::new(Some(Id(1)), Arc::new(store), None);
    request.extensions_mut().insert(session);
    request
}

fn hanging_store() -> Watched<MemoryStore> {
    Watched::new(MemoryStore::default()).hanging()
}

/// The result of a request and its duration.
async fn timed<L, S, B>(layer: &L) -> (Result<UserContext, Rejection>, Duration)
where
    L: Layer<crate::support::Inner, Service = S>,
    S: Service<Request<()>, Response = Response<B>, Error = Infallible>,
{
    let begun = Instant::now();
    // A day on the paused clock: the test fails if a limit does not fire.
    let answered = tokio::time::timeout(24 * HOUR, send(layer, with_a_session())).await;
    (answered.expect("a limit is kept"), begun.elapsed())
}

fn strategy_timed_out(rejection: &Rejection) -> Option<(&'static str, Duration)> {
    match rejection.kind() {
        RejectionKind::Unavailable {
            strategy,
            unavailable,
            ..
        } => match unavailable.kind() {
            UnavailableErrorKind::TimedOut { limit } => Some((*strategy, limit)),
            _ => None,
        },
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn each_strategy_that_waits_has_a_time_limit_by_default() {
    macro_rules! case {
        ($name:literal, $strategy:expr) => {
            for limit in [None, Some(Duration::from_secs(2))] {
                let events: Arc<Mutex<Vec<String>>> = Arc::default();
                let log = Arc::clone(&events);
                let mut builder =
                    UserScopeLayer::builder().observer(move |event: &AuditEvent<'_>| {
                        let line = match event {
                            AuditEvent::Consulted {
                                strategy, verdict, ..
                            } => {
                                format!("{strategy} {}", verdict.as_str())
                            }
                            AuditEvent::Refused { rejection, .. } => {
                                format!(
                                    "{} {}",
                                    rejection.strategy().unwrap_or("-"),
                                    rejection.status()
                                )
                            }
                            _ => return,
                        };
                        log.lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .push(line);
                    });
                if let Some(limit) = limit {
                    builder = builder.time_limit(limit);
                }
                let layer = builder
                    .strategy($strategy)
                    .context_only()
                    .build()
                    .expect("valid");
                let expected = limit.unwrap_or(DEFAULT);
                let (answered, took) = timed(&layer).await;
                let rejection = answered.expect_err("never answered");
                assert_eq!(took, expected, "{}", $name);
                assert_eq!(strategy_timed_out(&rejection), Some(($name, expected)));
                assert_eq!(rejection.status(), StatusCode::SERVICE_UNAVAILABLE);
                let events =
                    std::mem::take(&mut *events.lock().unwrap_or_else(PoisonError::into_inner));
                let told = [
                    concat!($name, " unavailable").to_owned(),
                    concat!($name, " 503 Service Unavailable").to_owned(),
                ];
                assert_eq!(events, told);

                let (head, ()) = with_a_session().into_parts();
                let begun = Instant::now();
                let why = layer.explain(&head).await;
                assert_eq!(begun.elapsed(), expected, "{} explained", $name);
                let refused = why.answer().expect_err("never answered");
                assert_eq!(strategy_timed_out(refused), Some(($name, expected)));
            }
        };
    }
    case!("stuck", stuck());
    case!("stuck", stuck().optional());
    case!("stuck", stuck().when(|_| true));
    case!("stuck", stuck().boxed());
    case!("session_cookie", SessionCookie::new(SID, hanging_store()));
    case!("session", FromSession::new());
}

#[tokio::test(start_paused = true)]
async fn each_strategy_has_its_own_time_and_its_own_limit_overrides_the_common_one() {
    let seconds = Duration::from_secs;
    // Two strategies that take six seconds each, with a limit of ten.
    let layer = UserScopeLayer::builder()
        .strategy(slow(seconds(6), || Outcome::Absent))
        .strategies([slow(seconds(6), || Outcome::Absent).boxed()])
        .strategy(by_alice())
        .context_only()
        .build()
        .expect("valid");
    let (answered, took) = timed(&layer).await;
    assert_eq!((answered.is_ok(), took), (true, seconds(12)));

    // The error names the second strategy.
    let layer = UserScopeLayer::builder()
        .strategy(slow(seconds(6), || Outcome::Absent))
        .strategies([stuck().boxed()])
        .context_only()
        .build()
        .expect("valid");
    let (answered, took) = timed(&layer).await;
    let refused = answered.expect_err("never answered");
    assert_eq!(strategy_timed_out(&refused), Some(("stuck", DEFAULT)));
    assert_eq!(took, seconds(16));

    for (own, lasts) in [(seconds(3), seconds(3)), (seconds(60), seconds(60))] {
        let layer = UserScopeLayer::builder()
            .strategies([stuck().timeout(own).named("own").boxed()])
            .time_limit(seconds(5))
            .context_only()
            .build()
            .expect("valid");
        let (answered, took) = timed(&layer).await;
        let refused = answered.expect_err("never answered");
        assert_eq!(strategy_timed_out(&refused), Some(("own", own)));
        assert_eq!(took, lasts);
    }

    let patient = UserScopeLayer::builder()
        .strategy(slow(HOUR, || Outcome::Absent))
        .without_time_limit()
        .strategy(by_alice())
        .context_only()
        .build()
        .expect("valid");
    let (answered, took) = timed(&patient).await;
    assert_eq!((answered.is_ok(), took), (true, HOUR));
}

#[tokio::test(start_paused = true)]
async fn the_steps_after_the_strategies_have_limits_too() {
    let seconds = Duration::from_secs;
    let builder = || UserScopeLayer::builder().strategy(by_alice());
    macro_rules! timed_out {
        ($limit:expr, $layer:expr) => {{
            let layer = $layer.build().expect("valid");
            let (answered, took) = timed(&layer).await;
            let refused = answered.expect_err("never answered");
            assert_eq!(took, $limit);
            assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
            refused
        }};
    }
    let waits = |_: &UserContext, _: &http::request::Parts| pending::<Result<(), AuthorizeError>>();
    let authorize = |limit: Duration, refused: &Rejection| {
        let expected = UnavailableErrorKind::TimedOut { limit };
        let reason = match refused.kind() {
            RejectionKind::AuthorizationUnavailable(unavailable) => Some(unavailable.kind()),
            _ => None,
        };
        assert_eq!(reason, Some(expected), "{refused}");
    };
    authorize(
        DEFAULT,
        &timed_out!(DEFAULT, builder().authorize_async(waits).context_only()),
    );
    let all = builder()
        .authorize_async(waits)
        .context_only()
        .time_limit(seconds(4));
    authorize(seconds(4), &timed_out!(seconds(4), all));
    let own = builder()
        .authorize_async(waits)
        .context_only()
        .authorize_time_limit(seconds(30))
        .time_limit(seconds(4));
    authorize(seconds(30), &timed_out!(seconds(30), own));

    let never = |_| pending::<Result<(), Infallible>>();
    let factory = |limit: Duration, refused: &Rejection| {
        assert!(
            matches!(refused.kind(), RejectionKind::Factory(FactoryErrorKind::TimedOut { limit: told, .. }) if *told == limit),
            "{refused}"
        );
    };
    factory(
        DEFAULT,
        &timed_out!(DEFAULT, builder().factory_async(never)),
    );
    let all = builder().factory_async(never).time_limit(seconds(4));
    factory(seconds(4), &timed_out!(seconds(4), all));
    let own = builder()
        .factory_async(never)
        .time_limit(seconds(4))
        .factory_time_limit(seconds(30));
    factory(seconds(30), &timed_out!(seconds(30), own));
}

#[tokio::test(start_paused = true)]
async fn a_lazy_factory_is_waited_for_no_longer_than_any() {
    let seconds = Duration::from_secs;
    for (all, own, limit) in [
        (None, None, DEFAULT),
        (Some(seconds(4)), None, seconds(4)),
        (Some(seconds(4)), Some(seconds(30)), seconds(30)),
    ] {
        // The limit may be set before or after the factory, because `build()` reads it.
        let mut builder = UserScopeLayer::builder().strategy(by_alice());
        if let Some(all) = all {
            builder = builder.time_limit(all);
        }
        let mut builder = builder.lazy_factory_async(|_| pending::<Result<String, Infallible>>());
        if let Some(own) = own {
            builder = builder.factory_time_limit(own);
        }
        let layer = builder.build().expect("valid");
        let inner = service_fn(async |request: Request<()>| {
            let lazy = request.scoped::<LazyAsync<String>>().expect("inside");
            let error = Scoped::try_get(lazy).expect("its own scope").get().await;
            let failure = error.expect_err("never built").kind().to_string();
            let mut response = Response::new(Empty::<Bytes>::new());
            response.extensions_mut().insert(failure);
            Ok::<_, Infallible>(response)
        });
        let begun = Instant::now();
        let response = layer.layer(inner).oneshot(Request::new(())).await;
        assert_eq!(begun.elapsed(), limit);
        let failure = response.expect("infallible").extensions().get().cloned();
        assert_eq!(failure, Some(format!("it was not ready within {limit:?}")));
    }
}

#[test]
fn a_time_limit_of_zero_is_an_error_of_build() {
    type Set = fn(LayerBuilder) -> LayerBuilder;
    let sets: [Set; 2] = [
        |builder| builder.time_limit(Duration::ZERO),
        |builder| builder.authorize_time_limit(Duration::ZERO),
    ];
    for set in sets {
        let builder = set(UserScopeLayer::builder()).fallback(Fallback::anonymous());
        let wrong = builder.context_only().build().map(drop);
        assert_eq!(wrong, Err(ConfigError::ZeroTimeLimit));
    }
    let wrong = UserScopeLayer::builder()
        .fallback(Fallback::anonymous())
        .factory(|_| ())
        .factory_time_limit(Duration::ZERO)
        .build()
        .map(drop);
    assert_eq!(wrong, Err(ConfigError::ZeroTimeLimit));
}

#[test]
fn without_a_timer_a_request_waits_and_does_not_panic() {
    let layer = || {
        UserScopeLayer::builder()
            .strategy(
                from_async_fn(CredentialSource::predicate(|_| true), |_| async {
                    // Pending at the first poll.
                    futures::pending!();
                    UnavailableError::timed_out(Duration::ZERO).into()
                })
                .timeout(Duration::from_secs(1)),
            )
            .context_only()
            .build()
            .expect("valid")
    };
    let asked = |layer| async move {
        let mut asked = Box::pin(async move { send(&layer, with_a_session()).await });
        assert!(asked.as_mut().now_or_never().is_none(), "it waits");
        asked.await.expect_err("as the strategy says").status()
    };
    let nowhere = futures::executor::block_on(asked(layer()));
    assert_eq!(nowhere, StatusCode::SERVICE_UNAVAILABLE);
    let without_timers = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let there = without_timers.block_on(asked(layer()));
    assert_eq!(there, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test(start_paused = true)]
async fn the_time_limit_frees_what_a_stuck_request_holds() {
    let layer = UserScopeLayer::builder()
        .strategy(stuck().when(|head| head.uri.path() == "/stuck"))
        .fallback(Fallback::anonymous())
        .context_only()
        .build()
        .expect("valid");
    let inner = service_fn(async |_: Request<()>| {
        Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
    });
    // One permit, which the ready instance holds.
    let mut service = layer.layer(ConcurrencyLimit::new(inner, 1));
    let request = |path: &str| Request::builder().uri(path).body(()).expect("a request");
    let first = service
        .ready()
        .await
        .expect("ready")
        .call(request("/stuck"));
    let first = tokio::spawn(first);
    let begun = Instant::now();
    let second = service.ready().await.expect("ready").call(request("/"));
    assert_eq!(begun.elapsed(), DEFAULT, "ready when the permit is free");
    let second = second.await.expect("infallible");
    assert_eq!(second.status(), StatusCode::OK);
    let first = first.await.expect("no panic").expect("infallible");
    assert_eq!(first.status(), StatusCode::SERVICE_UNAVAILABLE);
}

/// Records the user of the scope that it is dropped in.
struct Held(Arc<Mutex<Vec<Option<String>>>>);

impl Drop for Held {
    fn drop(&mut self) {
        let current = UserContext::current().and_then(|user| Some(user.user_id()?.to_string()));
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(current);
    }
}

#[tokio::test(start_paused = true)]
async fn a_step_that_is_given_up_or_cancelled_is_dropped_in_its_users_scope() {
    let dropped: Arc<Mutex<Vec<Option<String>>>> = Arc::default();
    let inner = service_fn(async |_: Request<()>| {
        Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
    });
    for cancels in [false, true] {
        let of_step = Arc::clone(&dropped);
        let authorizing = UserScopeLayer::builder()
            .strategy(by_alice())
            .authorize_async(move |_, _| {
                let held = Held(Arc::clone(&of_step));
                async move {
                    let _held = held;
                    pending::<Result<(), AuthorizeError>>().await
                }
            })
            .context_only()
            .build()
            .expect("valid");
        let of_step = Arc::clone(&dropped);
        let building = UserScopeLayer::builder()
            .strategy(by_alice())
            .factory_async(move |_| {
                let held = Held(Arc::clone(&of_step));
                async move {
                    let _held = held;
                    pending::<Result<(), Infallible>>().await
                }
            })
            .build()
            .expect("valid");
        let first = authorizing.layer(inner).oneshot(Request::new(()));
        let second = building.layer(inner).oneshot(Request::new(()));
        let both = async { drop(tokio::join!(first, second)) };
        if cancels {
            assert!(both.now_or_never().is_none(), "they wait");
        } else {
            both.await;
        }
        let mut dropped = dropped.lock().unwrap_or_else(PoisonError::into_inner);
        let alice = Some("alice".to_owned());
        assert_eq!(*dropped, [alice.clone(), alice], "cancelled: {cancels}");
        dropped.clear();
    }
}

/// The process runs and its socket is open, but it sends no response.
#[tokio::test]
async fn a_redis_that_is_stopped_is_503_and_holds_nobody_else_up() {
    let Some(server) = Server::redis() else {
        return skip("a_redis_that_is_stopped_is_503", "redis-server");
    };
    let store = TowerSessions014Store::new(soon("Redis is up", redis_store(&server.url())).await);
    let session = session_of(&store, "alice").await;
    let limit = Duration::from_millis(200);
    let layer = UserScopeLayer::builder()
        .strategy(SessionCookie::new(SID, store))
        .strategy(by_alice())
        .time_limit(limit)
        .context_only()
        .build()
        .expect("valid");
    let asked = |cookie: bool| {
        let lines = cookie.then(|| format!("{SID}={session}"));
        send(&layer, with_cookies(lines))
    };
    assert!(soon("it answers", asked(true)).await.is_ok());
    server.stop();
    for _ in 0..8 {
        let refused = soon("its time is up", asked(true)).await;
        let refused = refused.expect_err("nothing answers");
        assert_eq!(
            strategy_timed_out(&refused),
            Some(("session_cookie", limit))
        );
        let other = asked(false).now_or_never();
        assert!(other.is_some_and(|other| other.is_ok()), "needs no store");
    }
    server.go_on();
    soon("it answers again", async {
        while asked(true).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
