//! A scope opens with the request, closes exactly once with the end of its response, and is
//! current only while its own work is polled.

use std::{
    convert::Infallible,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use tower::{Service, ServiceExt, service_fn};
use tower_layer::Layer;
use tower_user_scope::{
    CredentialSource, ExistingContext, Identity, Scoped, UserContext, UserId, UserScopeExt,
    UserScopeLayer,
    audit::AuditEvent,
    from_async_fn,
    scope::{Ending, InstrumentScope, Isolation, IsolationError},
};

struct Agents {
    owner: String,
}

fn context(user: &str) -> UserContext {
    let id = UserId::try_from(user).expect("a valid user id");
    UserContext::builder(Identity::proved(id)).build()
}

fn request(user: &str) -> Request<()> {
    let mut request = Request::new(());
    request.extensions_mut().insert(context(user));
    request
}

fn agents(user: &UserContext) -> Agents {
    Agents {
        owner: user.user_id().map_or_else(String::new, ToString::to_string),
    }
}

fn mine(request: &Request<()>) -> Scoped<Agents> {
    request
        .scoped::<Agents>()
        .expect("inside the layer")
        .clone()
}

/// The events of a layer, in order.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn add(&self, line: impl Into<String>) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push(line.into());
    }

    fn lines(&self) -> Vec<String> {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.clone()
    }

    fn observer(&self) -> impl Fn(&AuditEvent<'_>) + Send + Sync + 'static {
        let log = self.clone();
        move |event| match event {
            AuditEvent::CrossUserAccess { violation, .. } => log.add(match &**violation {
                IsolationError::OtherUser { .. } => "other user",
                IsolationError::NoScope { .. } => "no scope",
                _ => "unknown violation",
            }),
            AuditEvent::FactoryRetained { holders, .. } => log.add(format!("retained {holders}")),
            _ => {}
        }
    }
}

/// A place outside of every request, where a bug keeps factories.
type Kept<T> = Arc<Mutex<Option<T>>>;

/// A body of scripted steps.
struct Steps(Vec<Step>);

#[derive(Clone, Copy, Debug)]
enum Step {
    Data,
    Error,
    Panic,
}

impl Body for Steps {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        assert!(
            UserContext::current().is_some(),
            "a body is polled in the scope of its request"
        );
        if self.0.is_empty() {
            return Poll::Ready(None);
        }
        match self.0.remove(0) {
            Step::Data => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x"))))),
            Step::Error => Poll::Ready(Some(Err("the body failed"))),
            Step::Panic => panic!("planted in the body"),
        }
    }
}

fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[derive(Clone, Copy, Debug)]
enum Handler {
    Answers(&'static [Step]),
    Fails,
    PanicsInCall,
    PanicsInPoll,
    NeverAnswers,
}

#[derive(Clone, Copy, Debug)]
enum Client {
    ReadsAll,
    DropsTheFuture,
    DropsTheBodyAfter(usize),
}

/// Runs one request until its client ends it in this way.
fn run(handler: Handler, client: Client, method: &Method, log: &Log) {
    let hook = log.clone();
    let layer = UserScopeLayer::builder()
        .strategy(ExistingContext::new())
        .factory(agents)
        .on_close(move |closed| {
            let owner = closed
                .scoped::<Agents>()
                .map_or_else(|| "nobody".to_owned(), |agents| agents.owner.clone());
            hook.add(format!("{owner} {}", closed.ending().as_str()));
        })
        .build()
        .expect("a valid configuration");
    let mut service = layer.layer(service_fn(move |_: Request<()>| {
        assert!(
            !matches!(handler, Handler::PanicsInCall),
            "planted in `call`"
        );
        async move {
            match handler {
                Handler::Answers(steps) => Ok(Response::new(Steps(steps.to_vec()))),
                Handler::Fails => Err("the inner service failed"),
                Handler::NeverAnswers => std::future::pending().await,
                Handler::PanicsInCall | Handler::PanicsInPoll => panic!("planted in `poll`"),
            }
        }
    }));
    let mut request = request("alice");
    *request.method_mut() = method.clone();
    let Ok(future) = catch_unwind(AssertUnwindSafe(|| service.call(request))) else {
        return;
    };
    let mut future = Box::pin(future);
    let polled = catch_unwind(AssertUnwindSafe(|| poll_once(future.as_mut())));
    drop(future);
    let Ok(Poll::Ready(Ok(response))) = polled else {
        return;
    };
    let frames = match client {
        Client::DropsTheBodyAfter(frames) => frames,
        Client::ReadsAll => usize::MAX,
        Client::DropsTheFuture => panic!("{handler:?} was to be cancelled and has answered"),
    };
    let mut body = Box::pin(response.into_body());
    for _ in 0..frames {
        let frame = catch_unwind(AssertUnwindSafe(|| {
            let cx = &mut Context::from_waker(Waker::noop());
            body.as_mut().poll_frame(cx)
        }));
        if !matches!(frame, Ok(Poll::Ready(Some(Ok(_))))) {
            break;
        }
    }
}

#[test]
fn b15_a_scope_closes_exactly_once_on_each_way_out() {
    use Client::{DropsTheBodyAfter, DropsTheFuture, ReadsAll};
    use Ending::{Cancelled, Completed, Failed, Panicked};
    use Handler::{Answers, Fails, NeverAnswers, PanicsInCall, PanicsInPoll};
    use Step::{Data, Error, Panic};

    let (get, head) = (&Method::GET, &Method::HEAD);
    for (handler, client, method, ending) in [
        (Answers(&[Data, Data]), ReadsAll, get, Completed),
        (Answers(&[]), ReadsAll, get, Completed),
        (Answers(&[Data]), DropsTheBodyAfter(0), get, Cancelled),
        (Answers(&[Data]), DropsTheBodyAfter(0), head, Completed),
        (Answers(&[Data, Data]), DropsTheBodyAfter(1), get, Cancelled),
        (Answers(&[Data, Error]), ReadsAll, get, Failed),
        (Answers(&[Data, Panic]), ReadsAll, get, Panicked),
        (Fails, ReadsAll, get, Failed),
        (PanicsInCall, ReadsAll, get, Panicked),
        (PanicsInPoll, ReadsAll, get, Panicked),
        (NeverAnswers, DropsTheFuture, get, Cancelled),
    ] {
        let log = Log::default();
        run(handler, client, method, &log);
        assert_eq!(
            log.lines(),
            [format!("alice {}", ending.as_str())],
            "one hook, with the right ending, for {handler:?} where the client {client:?}"
        );
        assert_eq!(
            UserContext::current(),
            None,
            "nothing stays current after {handler:?}, {client:?}"
        );
    }
}

#[tokio::test]
async fn a_body_that_ends_without_being_polled_again_is_completed() {
    let log = Log::default();
    let hook = log.clone();
    let layer = UserScopeLayer::builder()
        .strategy(ExistingContext::new())
        .context_only()
        .on_close(move |closed| hook.add(closed.ending().as_str()))
        .build()
        .expect("a valid configuration");
    let mut service = layer.layer(service_fn(async |_: Request<()>| {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"whole"))))
    }));
    let response = service.call(request("alice")).await.expect("infallible");
    let mut body = response.into_body();
    let frame = body.frame().await;
    assert!(frame.is_some_and(|frame| frame.is_ok()), "the only frame");
    drop(body);
    assert_eq!(log.lines(), ["completed"], "the one frame was the end");
}

/// A service that keeps the first factory and uses it for all users: the classic leak.
async fn leak(isolation: Isolation, second: &str, log: &Log) -> Result<String, IsolationError> {
    let layer = UserScopeLayer::builder()
        .strategy(ExistingContext::new())
        .factory(agents)
        .isolation(isolation)
        .observer(log.observer())
        .build()
        .expect("a valid configuration");
    let kept: Kept<Scoped<Agents>> = Arc::default();
    let used: Kept<Result<String, IsolationError>> = Arc::default();
    let seen = used.clone();
    let mut service = layer.layer(service_fn(move |request: Request<()>| {
        let (kept, seen) = (kept.clone(), seen.clone());
        async move {
            let mut kept = kept.lock().expect("no panic in here");
            let first = kept.get_or_insert(mine(&request));
            let owner = Scoped::try_get(first).map(|agents| agents.owner.clone());
            *seen.lock().expect("no panic in here") = Some(owner);
            Ok::<_, Infallible>(Response::new(()))
        }
    }));
    for user in ["alice", second] {
        service.call(request(user)).await.expect("infallible");
    }
    let used = used.lock().expect("no panic in here").take();
    used.expect("the handler ran")
}

#[tokio::test]
async fn another_users_factory_is_refused_and_audited() {
    let log = Log::default();
    let violation = leak(Isolation::Enforce, "bob", &log)
        .await
        .expect_err("alice's factory in bob's scope");
    assert!(
        matches!(violation, IsolationError::OtherUser { .. }),
        "the typed reason: {violation:?}"
    );
    let text = violation.to_string();
    assert!(
        text.contains("existing_context") && text.contains("Scoped::unchecked"),
        "the message says what found it and what to do: {text}"
    );
    assert!(
        !text.contains("alice") && !text.contains("bob"),
        "and names neither user: {text}"
    );
    let lines = log.lines();
    assert!(
        lines.contains(&"other user".to_owned()),
        "audited: {lines:?}"
    );
}

#[tokio::test]
async fn the_same_user_may_use_what_an_earlier_request_left() {
    let used = leak(Isolation::Enforce, "alice", &Log::default()).await;
    assert_eq!(used, Ok("alice".to_owned()), "the same user passes");
}

#[tokio::test]
async fn a_report_lets_through_and_audits_and_off_does_neither() {
    for (isolation, audited) in [(Isolation::Report, true), (Isolation::Off, false)] {
        let log = Log::default();
        let used = leak(isolation, "bob", &log).await;
        assert_eq!(used, Ok("alice".to_owned()), "{isolation:?} lets through");
        let lines = log.lines();
        assert_eq!(
            lines.contains(&"other user".to_owned()),
            audited,
            "{isolation:?}: {lines:?}"
        );
    }
}

/// A handle that left its request, from a layer that is strict or not.
async fn escaped(strict: bool) -> Scoped<Agents> {
    let mut builder = UserScopeLayer::builder()
        .strategy(ExistingContext::new())
        .factory(agents);
    if strict {
        builder = builder.require_scope();
    }
    let layer = builder.build().expect("a valid configuration");
    let out: Kept<Scoped<Agents>> = Arc::default();
    let seen = out.clone();
    let mut service = layer.layer(service_fn(move |request: Request<()>| {
        *seen.lock().expect("no panic in here") = Some(mine(&request));
        async { Ok::<_, Infallible>(Response::new(())) }
    }));
    service.call(request("alice")).await.expect("infallible");
    let handle = out.lock().expect("no panic in here").take();
    handle.expect("the handler ran")
}

#[tokio::test]
async fn outside_every_scope_only_a_strict_layer_refuses() {
    let lax = escaped(false).await;
    assert_eq!(lax.owner, "alice", "by default a spawned task may use it");
    let strict = escaped(true).await;
    assert!(
        matches!(
            Scoped::try_get(&strict),
            Err(IsolationError::NoScope { .. })
        ),
        "a strict layer refuses"
    );
    let inside = async { Scoped::try_get(&strict).is_ok() }
        .in_scope(Scoped::context(&strict).clone())
        .await;
    assert!(inside, "work that was given the scope may use it");
}

#[tokio::test]
async fn plain_access_in_another_users_scope_panics_and_unchecked_access_does_not() {
    let alice = escaped(false).await;
    let panicked = async { catch_unwind(AssertUnwindSafe(|| alice.owner.clone())).is_err() }
        .in_scope(context("bob"))
        .await;
    assert!(panicked, "the dereference is refused");
    let lent = Scoped::unchecked(&alice);
    let owner = async { lent.owner.clone() }.in_scope(context("bob")).await;
    assert_eq!(owner, "alice", "a hand-over that is spelled out is allowed");
}

#[tokio::test]
async fn scopes_nest_and_each_is_restored() {
    let name = || UserContext::current().and_then(|current| current.user_id().cloned());
    let seen = async {
        let inner = async { name() }.in_scope(context("bob"));
        [name(), inner.await, name()]
    }
    .in_scope(context("alice"))
    .await;
    let seen = seen.map(|id| id.map_or_else(String::new, |id| id.to_string()));
    assert_eq!(seen, ["alice", "bob", "alice"], "outer, inner, outer");
    assert_eq!(UserContext::current(), None, "and none outside");
}

#[tokio::test]
async fn a_scope_is_current_only_while_its_own_work_is_polled() {
    let layer = UserScopeLayer::builder()
        .strategy(ExistingContext::new())
        .context_only()
        .build()
        .expect("a valid configuration");
    let mut service = layer.layer(service_fn(async |request: Request<()>| {
        let own = request.user_context().expect("inside the layer").clone();
        for _ in 0..3 {
            assert_eq!(UserContext::current(), Some(own.clone()), "its own scope");
            tokio::task::yield_now().await;
        }
        let spawned = tower_user_scope::scope::spawn(async { UserContext::current() });
        let travelled = spawned.await.expect("the task ends");
        assert_eq!(travelled, Some(own), "a spawned task keeps the scope");
        Ok::<_, Infallible>(Response::new(()))
    }));
    let mut alice = Box::pin(service.call(request("alice")));
    let mut bob = Box::pin(service.call(request("bob")));
    for _ in 0..3 {
        assert!(poll_once(alice.as_mut()).is_pending(), "alice waits");
        assert_eq!(UserContext::current(), None, "nothing is left current");
        assert!(poll_once(bob.as_mut()).is_pending(), "bob waits");
    }
    alice.await.expect("infallible");
    bob.await.expect("infallible");
}

#[tokio::test]
async fn what_the_inner_service_does_before_it_returns_its_future_is_in_scope_too() {
    let inner = || {
        service_fn(|request: Request<()>| {
            let own = request.user_context().expect("inside the layer");
            let in_scope = UserContext::current().as_ref() == Some(own);
            let mut response = Response::new(());
            response.extensions_mut().insert(in_scope);
            std::future::ready(Ok::<_, Infallible>(response))
        })
    };
    let waits = from_async_fn(CredentialSource::predicate(|_| true), |_| async {
        tokio::task::yield_now().await;
        Identity::asserted(UserId::try_from("alice").expect("an id")).into()
    });
    let at_once = UserScopeLayer::builder().strategy(ExistingContext::new());
    let at_once = at_once.context_only().build().expect("a layer");
    let waits = UserScopeLayer::builder().strategy(waits);
    let waits = waits.context_only().build().expect("a layer");
    for (what, response) in [
        (
            "at once",
            at_once.layer(inner()).oneshot(request("alice")).await,
        ),
        (
            "after waiting",
            waits.layer(inner()).oneshot(request("alice")).await,
        ),
    ] {
        let response = response.expect("infallible");
        assert_eq!(response.extensions().get(), Some(&true), "{what}");
    }
}

#[tokio::test]
async fn a_factory_that_outlives_its_scope_is_reported_unless_it_is_kept() {
    for (keep, expected) in [(false, vec!["retained 1".to_owned()]), (true, vec![])] {
        let log = Log::default();
        let layer = UserScopeLayer::builder()
            .strategy(ExistingContext::new())
            .factory(agents)
            .observer(log.observer())
            .build()
            .expect("a valid configuration");
        let singleton: Kept<Scoped<Agents>> = Arc::default();
        let held = singleton.clone();
        let mut service = layer.layer(service_fn(move |request: Request<()>| {
            let mine = mine(&request);
            let mine = if keep { Scoped::keep(&mine) } else { mine };
            *held.lock().expect("no panic in here") = Some(mine);
            async { Ok::<_, Infallible>(Response::new(Full::new(Bytes::new()))) }
        }));
        let response = service.call(request("alice")).await.expect("infallible");
        assert!(log.lines().is_empty(), "nothing while the scope is open");
        drop(response);
        assert_eq!(log.lines(), expected, "kept on purpose: {keep}");
        drop(singleton);
    }
}

#[tokio::test]
async fn keeping_one_handle_excuses_no_other() {
    type Keeps = fn(Scoped<Agents>) -> Vec<Scoped<Agents>>;
    let cases: [(&str, Keeps, &[&str]); 6] = [
        ("one is kept", |mine| vec![Scoped::keep(&mine)], &[]),
        (
            "two are kept",
            |mine| vec![Scoped::keep(&mine), Scoped::keep(&mine)],
            &[],
        ),
        (
            "one is kept and one forgotten",
            |mine| vec![Scoped::keep(&mine), mine],
            &["retained 1"],
        ),
        (
            "one is kept for a moment only, and another forgotten",
            |mine| {
                drop(Scoped::keep(&mine));
                vec![mine]
            },
            &["retained 1"],
        ),
        (
            "a clone of a kept one is not kept",
            |mine| {
                let kept = Scoped::keep(&mine);
                vec![kept.clone(), kept]
            },
            &["retained 1"],
        ),
        (
            "a clone of a kept one can be kept",
            |mine| vec![Scoped::keep(&Scoped::keep(&mine).clone())],
            &[],
        ),
    ];
    for (what, keep, expected) in cases {
        let log = Log::default();
        let layer = UserScopeLayer::builder()
            .strategy(ExistingContext::new())
            .factory(agents)
            .observer(log.observer())
            .build()
            .expect("a valid configuration");
        let held = Arc::new(Mutex::new(Vec::new()));
        let holds = Arc::clone(&held);
        let mut service = layer.layer(service_fn(move |request: Request<()>| {
            let mine = mine(&request);
            drop(request);
            *holds.lock().expect("no panic in here") = keep(mine);
            async { Ok::<_, Infallible>(Response::new(Full::new(Bytes::new()))) }
        }));
        drop(service.call(request("alice")).await.expect("infallible"));
        assert_eq!(log.lines(), expected, "{what}");
        drop(held);
    }
}

#[tokio::test]
async fn keeping_a_handle_excuses_no_bare_factory() {
    let log = Log::default();
    let layer = UserScopeLayer::builder()
        .strategy(ExistingContext::new())
        .factory(agents)
        .insert_as_arc()
        .observer(log.observer())
        .build()
        .expect("a valid configuration");
    let held = Arc::new(Mutex::new(None));
    let holds = Arc::clone(&held);
    let mut service = layer.layer(service_fn(move |request: Request<()>| {
        let bare = request.extensions().get::<Arc<Agents>>().cloned();
        let kept = Scoped::keep(&mine(&request));
        *holds.lock().expect("no panic in here") = Some((kept, bare));
        async { Ok::<_, Infallible>(Response::new(Full::new(Bytes::new()))) }
    }));
    drop(service.call(request("alice")).await.expect("infallible"));
    assert_eq!(log.lines(), ["retained 1"]);
    drop(held);
}

#[tokio::test]
async fn a_bare_factory_that_outlives_its_scope_is_reported_too() {
    let log = Log::default();
    let layer = UserScopeLayer::builder()
        .strategy(ExistingContext::new())
        .factory(agents)
        .insert_as_arc()
        .observer(log.observer())
        .build()
        .expect("a valid configuration");
    let singleton: Kept<Arc<Agents>> = Arc::default();
    let held = singleton.clone();
    let mut service = layer.layer(service_fn(move |request: Request<()>| {
        let bare = request.extensions().get::<Arc<Agents>>().cloned();
        *held.lock().expect("no panic in here") = bare;
        async { Ok::<_, Infallible>(Response::new(Full::new(Bytes::new()))) }
    }));
    drop(service.call(request("alice")).await.expect("infallible"));
    assert_eq!(log.lines(), ["retained 1"]);
    drop(singleton);
}

#[tokio::test]
async fn a_retained_factory_is_reported_with_user_type_age_and_path() {
    let log = Log::default();
    let told = log.clone();
    let layer = UserScopeLayer::builder()
        .strategy(ExistingContext::new())
        .factory(agents)
        .observer(move |event: &AuditEvent<'_>| {
            if let AuditEvent::FactoryRetained {
                context,
                factory,
                opened_before,
                path,
                ..
            } = event
            {
                assert_eq!(*factory, std::any::type_name::<Agents>());
                let user = context.user_id().map(UserId::as_str);
                let (strategy, since) = (context.strategy(), opened_before.is_some());
                told.add(format!("{user:?} {strategy} {since} {path:?}"));
            }
        })
        .build()
        .expect("a valid configuration");
    let singleton: Kept<Scoped<Agents>> = Arc::default();
    let held = singleton.clone();
    let mut service = layer.layer(service_fn(move |request: Request<()>| {
        *held.lock().expect("no panic in here") = Some(mine(&request));
        async { Ok::<_, Infallible>(Response::new(Full::new(Bytes::new()))) }
    }));
    let mut request = request("alice");
    *request.uri_mut() = "/agents/7?token=secret".parse().expect("a path");
    drop(service.call(request).await.expect("infallible"));
    let expected = r#"Some("alice") existing_context true Some("/agents/7")"#;
    assert_eq!(log.lines(), [expected]);
    drop(singleton);
}

#[tokio::test]
async fn b31_the_scope_of_an_upgraded_connection_closes_with_its_last_handle() {
    for (method, status, upgrades) in [
        (Method::GET, StatusCode::SWITCHING_PROTOCOLS, true),
        (Method::CONNECT, StatusCode::OK, true),
        (Method::CONNECT, StatusCode::NOT_FOUND, false),
        (Method::GET, StatusCode::OK, false),
    ] {
        let log = Log::default();
        let hook = log.clone();
        let layer = UserScopeLayer::builder()
            .strategy(ExistingContext::new())
            .factory(agents)
            .on_close(move |closed| hook.add(closed.ending().as_str()))
            .build()
            .expect("a valid configuration");
        let socket: Kept<Scoped<Agents>> = Arc::default();
        let held = socket.clone();
        let mut service = layer.layer(service_fn(move |request: Request<()>| {
            *held.lock().expect("no panic in here") = Some(mine(&request));
            let mut response = Response::new(());
            *response.status_mut() = status;
            async { Ok::<_, Infallible>(response) }
        }));
        let mut request = request("alice");
        *request.method_mut() = method.clone();
        drop(service.call(request).await.expect("infallible"));
        let open = log.lines().is_empty();
        assert_eq!(
            open, upgrades,
            "{method} {status}: the socket lives, so does its scope"
        );
        socket.lock().expect("no panic in here").take();
        let ending = if upgrades { "completed" } else { "cancelled" };
        assert_eq!(log.lines(), [ending], "{method} {status}: closed once");
    }
}

#[tokio::test]
async fn an_async_hook_runs_in_its_users_scope_and_one_that_panics_stops_nobody() {
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let layer = UserScopeLayer::builder()
        .strategy(ExistingContext::new())
        .context_only()
        .on_close(|_| panic!("planted in a hook"))
        .on_close_async(move |closed| {
            let sender = sender.clone();
            async move {
                let same = UserContext::current().as_ref() == Some(closed.context());
                let _ = sender.send((same, closed.ending()));
            }
        })
        .build()
        .expect("a valid configuration");
    let mut service = layer.layer(service_fn(async |_: Request<()>| {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
    }));
    let response = service.call(request("alice")).await.expect("infallible");
    response.into_body().collect().await.expect("infallible");
    assert_eq!(
        receiver.recv().await,
        Some((true, Ending::Completed)),
        "run in the scope that closed"
    );
}
