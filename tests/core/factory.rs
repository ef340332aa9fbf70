//! B10–B16: each request gets its own factory, over shared infrastructure, or a clear
//! error.

use std::{
    convert::Infallible,
    future::{Ready, pending},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::FutureExt;
use http::{Request, Response, StatusCode};
use tokio::sync::{Barrier, Semaphore};
use tower::{Service, ServiceExt, service_fn};
use tower_layer::Layer;
use tower_user_scope::{
    ExistingContext, Identity, MaybeFuture, Rejection, Scoped, UserContext, UserId, UserScopeExt,
    UserScopeLayer,
    authorize::Authorize,
    factory::{
        FactoryError, FactoryErrorKind, FactoryUnavailableError, Lazy, LazyAsync, MakeFactory,
        ProvideFactory,
    },
    middleware::{Empty, LayerBuilder, StrategyList, Then},
    rejection::RejectionKind,
};

/// The infrastructure that all users share.
#[derive(Default)]
struct Infrastructure {
    built: AtomicUsize,
    dropped: AtomicUsize,
}

impl Infrastructure {
    fn counts(&self) -> (usize, usize) {
        let read = |count: &AtomicUsize| count.load(Ordering::SeqCst);
        (read(&self.built), read(&self.dropped))
    }
}

/// The factory that each request gets.
struct Tools {
    infrastructure: Arc<Infrastructure>,
    user: UserContext,
}

impl Tools {
    fn new(infrastructure: &Arc<Infrastructure>, user: &UserContext) -> Self {
        infrastructure.built.fetch_add(1, Ordering::SeqCst);
        Self {
            infrastructure: infrastructure.clone(),
            user: user.clone(),
        }
    }
}

impl Drop for Tools {
    fn drop(&mut self) {
        self.infrastructure.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

fn request(user: &str) -> Request<()> {
    let id = UserId::try_from(user).expect("a valid user id");
    let mut request = Request::new(());
    let context = UserContext::builder(Identity::asserted(id)).build();
    request.extensions_mut().insert(context);
    request
}

fn builder() -> LayerBuilder<Then<Empty, ExistingContext>> {
    UserScopeLayer::builder().strategy(ExistingContext::new())
}

/// The layer around a service that responds with its factory.
fn serve<F: Send + Sync + 'static>(
    builder: LayerBuilder<impl StrategyList, impl ProvideFactory<Factory = F>, impl Authorize>,
) -> impl Service<Request<()>, Response = Response<impl Sized>, Error = Infallible> + Clone {
    let layer = builder.build().expect("a valid configuration");
    layer.layer(service_fn(give_back::<F>))
}

async fn give_back<F: Send + Sync + 'static>(
    request: Request<()>,
) -> Result<Response<()>, Infallible> {
    let mut response = Response::new(());
    if let Ok(factory) = request.scoped::<F>() {
        response.extensions_mut().insert(factory.clone());
    }
    Ok(response)
}

async fn ask<F, S, B>(service: &mut S, user: &str) -> Result<Scoped<F>, Rejection>
where
    F: Send + Sync + 'static,
    S: Service<Request<()>, Response = Response<B>, Error = Infallible>,
{
    let service = service.ready().await.expect("infallible");
    let mut response = service.call(request(user)).await.expect("infallible");
    let extensions = response.extensions_mut();
    extensions
        .remove::<Scoped<F>>()
        .ok_or_else(|| extensions.remove().expect("a factory or a reason"))
}

/// Two requests of alice are in the handler at the same time.
#[tokio::test]
async fn b10_each_request_has_its_own_instance_over_the_same_shared_parts() {
    let shared = Arc::new(Infrastructure::default());
    let infrastructure = shared.clone();
    let layer = builder().factory(move |user| Tools::new(&infrastructure, user));
    let layer = layer.build().expect("a valid configuration");
    let both = Arc::new(Barrier::new(2));
    let service = layer.layer(service_fn(move |request: Request<()>| {
        let both = both.clone();
        async move {
            both.wait().await;
            give_back::<Tools>(request).await
        }
    }));

    let (mut left, mut right) = (service.clone(), service);
    let (first, second) = tokio::join!(
        ask::<Tools, _, _>(&mut left, "alice"),
        ask::<Tools, _, _>(&mut right, "alice")
    );
    let (first, second) = (first.expect("built"), second.expect("built"));
    assert!(
        !Scoped::ptr_eq(&first, &second),
        "two requests, two instances"
    );
    assert!(Scoped::ptr_eq(&first, &first.clone()), "clones share one");
    for tools in [&first, &second] {
        assert!(Arc::ptr_eq(&tools.infrastructure, &shared), "by pointer");
        assert_eq!(&tools.user, Scoped::context(tools), "bound to its context");
    }
    assert_eq!(shared.counts(), (2, 0), "both are still held");
    drop((first, second));
    assert_eq!(shared.counts(), (2, 2), "and gone with the last handle");
}

/// An application's own `MakeFactory`, with a named future.
struct ToolsForUser(Arc<Infrastructure>);

impl MakeFactory for ToolsForUser {
    type Factory = Tools;
    type Error = Infallible;
    type Future = Ready<Result<Tools, Infallible>>;

    fn make(&self, context: &UserContext) -> MaybeFuture<Self::Future> {
        MaybeFuture::Future(std::future::ready(Ok(Tools::new(&self.0, context))))
    }
}

/// Builds a factory for alice with each method of the builder.
#[tokio::test]
async fn every_way_to_give_a_factory_builds_one_for_the_user_at_hand() {
    async fn owner<F: Send + Sync + 'static>(
        builder: LayerBuilder<impl StrategyList, impl ProvideFactory<Factory = F>, impl Authorize>,
        get: impl AsyncFnOnce(&F) -> String,
    ) -> String {
        let mut service = serve(builder);
        let factory = ask::<F, _, _>(&mut service, "alice").await.expect("built");
        get(&factory).await
    }
    let shared = Arc::new(Infrastructure::default());
    let name = |tools: &Tools| {
        tools
            .user
            .user_id()
            .map_or_else(String::new, ToString::to_string)
    };
    macro_rules! each {
        ($($how:literal: $build:expr, $get:expr;)*) => {$(
            let infrastructure = shared.clone();
            let build = $build;
            assert_eq!(owner(build(infrastructure), $get).await, "alice", $how);
        )*};
    }
    each! {
        "factory": |i: Arc<Infrastructure>| builder().factory(move |user| Tools::new(&i, user)),
            async |tools: &Tools| name(tools);
        "try_factory": |i: Arc<Infrastructure>| builder()
            .try_factory(move |user| Ok::<_, Infallible>(Tools::new(&i, user))),
            async |tools: &Tools| name(tools);
        "factory_async": |i: Arc<Infrastructure>| builder().factory_async(move |user| {
                let i = i.clone();
                async move {
                    tokio::task::yield_now().await;
                    Ok::<_, Infallible>(Tools::new(&i, &user))
                }
            }),
            async |tools: &Tools| name(tools);
        "make_factory": |i| builder().make_factory(ToolsForUser(i)),
            async |tools: &Tools| name(tools);
        "factory_time_limit": |i| builder()
            .make_factory(ToolsForUser(i))
            .factory_time_limit(Duration::from_secs(1)),
            async |tools: &Tools| name(tools);
        "lazy_factory": |i: Arc<Infrastructure>| builder()
            .lazy_factory(move |user| Ok::<_, Infallible>(Tools::new(&i, user))),
            async |lazy: &Lazy<Tools>| lazy.get().map_or_else(|e| e.to_string(), name);
        "lazy_factory_async": |i: Arc<Infrastructure>| builder().lazy_factory_async(move |user| {
                let i = i.clone();
                async move { Ok::<_, Infallible>(Tools::new(&i, &user)) }
            }),
            async |lazy: &LazyAsync<Tools>| lazy.get().await.map_or_else(|e| e.to_string(), name);
    }
    assert_eq!(shared.counts(), (7, 7), "one each, and none is left");
}

/// Alice is in the handler while frank's factory fails.
#[tokio::test]
async fn b12_a_factory_that_fails_for_one_user_fails_that_request_only() {
    let attempts = Arc::new(AtomicUsize::new(0));
    let counted = attempts.clone();
    let layer = builder().try_factory(move |user| match user.user_id() {
        Some(id) if *id == "frank" && counted.fetch_add(1, Ordering::SeqCst) == 0 => {
            Err("frank's quota is gone")
        }
        _ => Ok(user.clone()),
    });
    let layer = layer.build().expect("a valid configuration");
    let (entered, gate) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (enters, opens) = (entered.clone(), gate.clone());
    let mut service = layer.layer(service_fn(move |request: Request<()>| {
        let (entered, gate) = (entered.clone(), gate.clone());
        async move {
            entered.add_permits(1);
            let _permit = gate.acquire().await.expect("never closed");
            give_back::<UserContext>(request).await
        }
    }));
    let mut own = service.clone();
    let others = tokio::spawn(async move { ask::<UserContext, _, _>(&mut own, "alice").await });
    let _alice = enters.acquire().await.expect("never closed");

    let refused = ask::<UserContext, _, _>(&mut service, "frank").await;
    let refused = refused.expect_err("the first attempt fails");
    assert_eq!(refused.status(), StatusCode::INTERNAL_SERVER_ERROR);
    match refused.kind() {
        RejectionKind::Factory(FactoryErrorKind::Failed(error)) => {
            assert_eq!(
                error.to_string(),
                "frank's quota is gone",
                "the source is kept"
            );
        }
        other => panic!("another reason: {other:?}"),
    }
    opens.add_permits(1);
    let others = others.await.expect("no panic");
    assert!(others.is_ok(), "alice doesn't notice: {others:?}");
    let again = ask::<UserContext, _, _>(&mut service, "frank").await;
    assert!(again.is_ok(), "and frank's next request can succeed");
}

#[tokio::test]
async fn b12_an_unavailable_factory_is_503_in_every_form() {
    let down = || FactoryUnavailableError::new("the database does not answer");
    let sync = builder().try_factory(move |_| Err::<(), _>(down()));
    let future = builder().factory_async(move |_| async move { Err::<(), _>(down()) });
    let mut services = (serve(sync), serve(future));
    for refused in [
        ask::<(), _, _>(&mut services.0, "alice").await,
        ask::<(), _, _>(&mut services.1, "alice").await,
    ] {
        let refused = refused.expect_err("nothing was built");
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(
            matches!(
                refused.kind(),
                RejectionKind::Factory(FactoryErrorKind::Unavailable(_))
            ),
            "{refused:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_factory_that_is_not_ready_in_time_is_503() {
    let limit = Duration::from_secs(3);
    let layer = builder()
        .factory_async(|_| pending::<Result<(), Infallible>>())
        .factory_time_limit(limit);
    let mut service = serve(layer);
    let begun = tokio::time::Instant::now();
    let refused = ask::<(), _, _>(&mut service, "alice")
        .await
        .expect_err("never ready");
    assert_eq!(begun.elapsed(), limit, "on the paused clock");
    assert!(
        matches!(refused.kind(), RejectionKind::Factory(FactoryErrorKind::TimedOut { limit: told, .. }) if *told == limit),
        "{refused:?}"
    );
}

/// This test has no runtime and therefore no timer.
#[test]
fn a_factory_that_answers_at_once_needs_no_timer_for_its_limit() {
    let layer = builder()
        .try_factory(|user| Ok::<_, Infallible>(user.clone()))
        .factory_time_limit(Duration::from_secs(3));
    let mut service = serve(layer);
    let built = ask::<UserContext, _, _>(&mut service, "alice").now_or_never();
    let built = built.expect("nothing waits");
    assert!(built.is_ok(), "{built:?}");
}

#[tokio::test]
async fn b13_a_slow_build_for_one_user_delays_nobody_else() {
    let gate = Arc::new(Semaphore::new(0));
    let waits = gate.clone();
    let layer = builder().factory_async(move |user| {
        let gate = waits.clone();
        async move {
            if user.user_id().is_some_and(|id| *id == "slow") {
                let _permit = gate.acquire().await.map_err(|error| error.to_string())?;
            }
            Ok::<_, String>(user)
        }
    });
    let service = serve(layer);

    let mut own = service.clone();
    let mut slow = pin!(ask::<UserContext, _, _>(&mut own, "slow"));
    assert!(slow.as_mut().now_or_never().is_none(), "it waits");
    for _ in 0..100 {
        let quick = ask::<UserContext, _, _>(&mut service.clone(), "quick").now_or_never();
        let quick = quick.expect("nobody waits for the slow one");
        assert!(quick.is_ok(), "{quick:?}");
    }
    gate.add_permits(1);
    let slow = slow.await;
    assert!(slow.is_ok(), "until its turn comes: {slow:?}");
}

#[tokio::test]
async fn a_lazy_factory_is_built_on_first_use_and_once() {
    let shared = Arc::new(Infrastructure::default());
    let infrastructure = shared.clone();
    let layer =
        builder().lazy_factory(move |user| Ok::<_, Infallible>(Tools::new(&infrastructure, user)));
    let mut service = serve(layer);

    drop(
        ask::<Lazy<Tools>, _, _>(&mut service, "alice")
            .await
            .expect("accepted"),
    );
    assert_eq!(
        shared.counts(),
        (0, 0),
        "a route that doesn't need it builds none"
    );
    let lazy = ask::<Lazy<Tools>, _, _>(&mut service, "alice")
        .await
        .expect("accepted");
    assert!(lazy.peek().is_none(), "not before it is asked for");
    let first: *const Tools = lazy.get().expect("built");
    assert!(
        lazy.peek()
            .is_some_and(|peeked| std::ptr::eq(peeked, first))
    );
    let second: *const Tools = lazy.clone().get().expect("built");
    assert_eq!(first, second, "one instance for the request");
    assert_eq!(shared.counts(), (1, 0), "built once");
}

#[tokio::test]
async fn a_lazy_factory_that_waits_is_built_once_and_anew_where_its_builder_went_away() {
    let shared = Arc::new(Infrastructure::default());
    let (begun, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let (infrastructure, begins, opens) = (shared.clone(), begun.clone(), gate.clone());
    let layer = builder().lazy_factory_async(move |user| {
        let (infrastructure, gate) = (infrastructure.clone(), gate.clone());
        begins.fetch_add(1, Ordering::SeqCst);
        async move {
            let _permit = gate.acquire().await.map_err(|error| error.to_string())?;
            Ok::<_, String>(Tools::new(&infrastructure, &user))
        }
    });
    let mut service = serve(layer);
    let lazy = ask::<LazyAsync<Tools>, _, _>(&mut service, "alice").await;
    let lazy = lazy.expect("accepted");
    assert_eq!(begun.load(Ordering::SeqCst), 0, "nobody asked");

    assert!(lazy.get().now_or_never().is_none(), "it waits");
    assert!(lazy.peek().is_none(), "and went away with who asked");
    opens.add_permits(1);
    let (left, right) = tokio::join!(lazy.get(), lazy.get());
    let (left, right) = (left.expect("built"), right.expect("built"));
    assert!(std::ptr::eq(left, right), "one instance for the request");
    assert!(lazy.peek().is_some_and(|peeked| std::ptr::eq(peeked, left)));
    assert_eq!(begun.load(Ordering::SeqCst), 2, "given up once, built once");
    assert_eq!(shared.counts(), (1, 0), "and whole once");
    drop(lazy);
    assert_eq!(shared.counts(), (1, 1), "gone with its handle");
}

#[tokio::test]
async fn a_lazy_factory_that_fails_gives_everybody_who_asks_the_same_typed_error() {
    let attempts = Arc::new(AtomicUsize::new(0));
    let (sync, future) = (attempts.clone(), attempts.clone());
    let lazy = builder().lazy_factory(move |_| {
        sync.fetch_add(1, Ordering::SeqCst);
        Err::<Tools, _>(FactoryUnavailableError::new("down"))
    });
    let waiting = builder().lazy_factory_async(move |_| {
        future.fetch_add(1, Ordering::SeqCst);
        async { Err::<Tools, _>("broken") }
    });
    let (mut lazy, mut waiting) = (serve(lazy), serve(waiting));

    let lazy = ask::<Lazy<Tools>, _, _>(&mut lazy, "alice")
        .await
        .expect("accepted");
    let waiting = ask::<LazyAsync<Tools>, _, _>(&mut waiting, "alice")
        .await
        .expect("accepted");
    let failure = |error: Result<_, FactoryError>| error.map(|_: &Tools| ()).expect_err("fails");
    for _ in 0..2 {
        let error = failure(lazy.get());
        assert!(
            matches!(error.kind(), FactoryErrorKind::Unavailable(_)),
            "{error:?}"
        );
        let error = failure(waiting.get().await);
        assert!(
            matches!(error.kind(), FactoryErrorKind::Failed(_)),
            "{error:?}"
        );
    }
    assert_eq!(attempts.load(Ordering::SeqCst), 2, "each was tried once");
}

#[tokio::test]
async fn b15_ten_thousand_requests_leave_nothing_behind() {
    let shared = Arc::new(Infrastructure::default());
    let infrastructure = shared.clone();
    let layer = builder().factory(move |user| Tools::new(&infrastructure, user));
    let mut service = serve(layer);
    let references = Arc::strong_count(&shared);
    for number in 0..10_000 {
        let user = format!("user-{}", number % 100);
        drop(
            ask::<Tools, _, _>(&mut service, &user)
                .await
                .expect("built"),
        );
    }
    assert_eq!(shared.counts(), (10_000, 10_000), "built and dropped");
    assert_eq!(Arc::strong_count(&shared), references, "nobody holds it");
}

#[tokio::test]
async fn b16_a_route_outside_the_layer_gets_a_typed_error_and_no_panic() {
    let error = Request::new(())
        .scoped::<Tools>()
        .map(|_| ())
        .expect_err("no layer");
    assert!(error.wanted().contains("Tools"), "says what is missing");
    assert!(
        error.to_string().contains(".layer("),
        "and what to do: {error}"
    );
}
