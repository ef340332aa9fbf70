//! B34: a request that is cancelled at any await leaves nothing behind, and the next response of the
//! service is for its own user.

use std::{
    convert::Infallible,
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use http::{HeaderValue, Request, Response, request::Parts};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_user_scope::{
    CredentialSource, Identity, Outcome, UserContext, UserId, UserScopeExt, UserScopeLayer,
    from_async_fn, from_fn,
    strategy::{InvalidErrorKind, Presence, Strategy},
    testing::Scripted,
};

/// A value that each stage holds while it waits. The number of its clones shows what was not dropped.
#[derive(Clone, Default)]
struct Alive(Arc<()>);

/// The number of polls until a waiting stage continues.
const WAITS: usize = 3;

impl Alive {
    fn count(&self) -> usize {
        Arc::strong_count(&self.0)
    }

    async fn wait(self) {
        for _ in 0..WAITS {
            tokio::task::yield_now().await;
        }
        drop(self);
    }
}

fn whose(head: &Parts) -> Outcome {
    match head.headers.get("x-user").map(HeaderValue::to_str) {
        None => Outcome::Absent,
        Some(Ok(name)) => match UserId::try_from(name) {
            Ok(id) => Identity::proved(id).into(),
            Err(error) => Outcome::Invalid(error.into()),
        },
        Some(Err(_)) => Outcome::Invalid(InvalidErrorKind::NotText.into()),
    }
}

fn at_once() -> impl Strategy<Future: Send> + Send + Sync {
    from_fn(CredentialSource::header("x-user"), whose)
}

fn waiting(alive: &Alive) -> impl Strategy<Future: Send> + Send + Sync + 'static + use<> {
    let alive = alive.clone();
    from_async_fn(CredentialSource::header("x-user"), move |head| {
        let (outcome, alive) = (whose(head), alive.clone());
        async move {
            alive.wait().await;
            outcome
        }
    })
}

fn absent() -> Scripted {
    Scripted::new(|_| Outcome::Absent).presence(Presence::NotSent)
}

struct Agents {
    owner: UserContext,
    _alive: Alive,
}

fn agents(alive: &Alive) -> impl Fn(&UserContext) -> Agents + use<> {
    let alive = alive.clone();
    move |owner| Agents {
        owner: owner.clone(),
        _alive: alive.clone(),
    }
}

/// A factory that is complete only after it has waited.
fn waiting_agents(
    alive: &Alive,
) -> impl Fn(UserContext) -> BoxFuture<'static, Result<Agents, Infallible>> + use<> {
    let whole = agents(alive);
    let alive = alive.clone();
    move |owner| {
        let made = whole(&owner);
        alive.clone().wait().map(|()| Ok(made)).boxed()
    }
}

fn request(user: &'static str) -> Request<()> {
    let mut request = Request::new(());
    let user = HeaderValue::from_static(user);
    request.headers_mut().insert("x-user", user);
    request
}

fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Drops alice's response after each number of polls that leaves it unfinished, and then sends
/// a request of bob. Returns the number of polls until a response is finished.
async fn check<S, B>(name: &str, alive: &Alive, mut service: S) -> usize
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible>,
{
    let before = alive.count();
    for polls in 0.. {
        let ready = poll_once(pin!(service.ready())).is_ready();
        assert!(ready, "{name}: the permit is back before {polls} polls");
        let mut response = Box::pin(service.call(request("alice")));
        let done = (0..polls).any(|_| poll_once(response.as_mut()).is_ready());
        drop(response);
        assert_eq!(
            alive.count(),
            before,
            "{name}: dropped after {polls} polls, and gone"
        );

        let ready = poll_once(pin!(service.ready())).is_ready();
        assert!(ready, "{name}: the permit is back after {polls} polls");
        let Ok(response) = service.call(request("bob")).await;
        let answered = response.extensions().get::<UserContext>().cloned();
        drop(response);
        let answered = answered.unwrap_or_else(|| panic!("{name}: bob is answered"));
        let bob = answered.require_user().is_ok_and(|id| *id == "bob");
        assert!(bob, "{name}: after {polls} polls bob got {answered:?}");
        assert_eq!(alive.count(), before, "{name}: and leaves nothing either");
        if done {
            return polls;
        }
    }
    unreachable!("one of all numbers of polls is enough")
}

#[tokio::test]
async fn b34_dropped_at_any_await_a_request_leaves_nothing_and_mixes_nothing() {
    let alive = Alive::default();
    let builder = UserScopeLayer::builder;
    /// Each stage, as a layer around an inner service with one permit that waits or not.
    macro_rules! stages {
        ($($name:literal, waits $times:literal, inner $inner:literal: $build:expr;)*) => {$({
            let layer = $build.build().expect("a valid configuration");
            let held = alive.clone();
            let inner = service_fn(move |request: Request<()>| {
                let agents = request.scoped::<Agents>().expect("inside the layer").clone();
                let context = request.user_context().expect("inside the layer");
                assert_eq!(*context, agents.owner, "{}: one user in all", $name);
                let held = $inner.then(|| held.clone());
                async move {
                    if let Some(held) = held {
                        held.wait().await;
                    }
                    let mut response = Response::new(());
                    response.extensions_mut().insert(agents.owner.clone());
                    Ok::<_, Infallible>(response)
                }
            });
            let limited = ServiceBuilder::new().concurrency_limit(1).service(inner);
            let polls = check($name, &alive, layer.layer(limited)).await;
            assert_eq!(polls, $times * WAITS + 1, "{}: every await was hit", $name);
        })*};
    }
    let allow = || {
        let alive = alive.clone();
        move |_: &UserContext, _: &Parts| {
            let alive = alive.clone();
            async move {
                alive.wait().await;
                Ok(())
            }
        }
    };
    let make = || agents(&alive);
    let make_waiting = || waiting_agents(&alive);
    let limit = Duration::from_secs(3600);
    stages! {
        "nothing waits", waits 0, inner false:
            builder().strategy(at_once()).factory(make());
        "the strategy", waits 1, inner false:
            builder().strategy(waiting(&alive)).factory(make());
        "a strategy with a time limit", waits 1, inner false:
            builder().strategy(waiting(&alive).timeout(limit)).factory(make());
        "a later strategy", waits 1, inner false: builder()
            .strategy(absent())
            .strategy(waiting(&alive))
            .strategy(absent())
            .factory(make());
        "both of a unanimous list", waits 2, inner false: builder()
            .strategy(waiting(&alive))
            .strategy(waiting(&alive))
            .unanimous()
            .factory(make());
        "a boxed strategy", waits 1, inner false: builder()
            .strategies([absent().boxed(), waiting(&alive).boxed()])
            .factory(make());
        "all of a boxed unanimous list", waits 3, inner false: builder()
            .strategies((0..3).map(|_| waiting(&alive).boxed()))
            .unanimous()
            .factory(make());
        "the authorize step", waits 1, inner false:
            builder().strategy(at_once()).authorize_async(allow()).factory(make());
        "the factory", waits 1, inner false:
            builder().strategy(at_once()).factory_async(make_waiting());
        "a factory with a time limit", waits 1, inner false: builder()
            .strategy(at_once())
            .factory_async(make_waiting())
            .factory_time_limit(limit);
        "the inner service", waits 1, inner true:
            builder().strategy(at_once()).factory(make());
        "everything", waits 5, inner true: builder()
            .strategy(waiting(&alive))
            .strategies([waiting(&alive).boxed()])
            .unanimous()
            .authorize_async(allow())
            .factory_async(make_waiting());
    }
    assert_eq!(alive.count(), 1, "nothing is left of any of it");
}
