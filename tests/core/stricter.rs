//! B52: where two layers have a say about the use of a factory, the stricter setting counts.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use http::{Request, Response};
use tower::{ServiceExt, service_fn};
use tower_layer::Layer;
use tower_user_scope::{
    CredentialSource, ExistingContext, Identity, Outcome, Scoped, UserId, UserScopeExt,
    UserScopeLayer,
    audit::AuditEvent,
    authorize::Authorize,
    factory::ProvideFactory,
    from_fn,
    middleware::StrategyList,
    scope::{InstrumentScope, Isolation, IsolationError},
    strategy::Strategy,
    testing::Recorder,
};

struct Agents;

fn header(name: &'static str) -> impl Strategy<Future: Send> + Send + Sync + Clone + 'static {
    from_fn(CredentialSource::header(name), move |head| {
        match head.headers.get(name) {
            Some(id) => {
                let id = id.to_str().expect("text");
                Identity::asserted(UserId::try_from(id).expect("an id")).into()
            }
            None => Outcome::Absent,
        }
    })
}

#[derive(Clone, Copy, Debug)]
struct Settings {
    isolation: Isolation,
    requires_scope: bool,
}

const ENFORCE: Settings = Settings {
    isolation: Isolation::Enforce,
    requires_scope: false,
};
const REPORT: Settings = Settings {
    isolation: Isolation::Report,
    requires_scope: false,
};
const OFF: Settings = Settings {
    isolation: Isolation::Off,
    requires_scope: false,
};
const STRICT: Settings = Settings {
    isolation: Isolation::Enforce,
    requires_scope: true,
};

fn layer(
    settings: Settings,
    strategy: impl Strategy<Future: Send> + Send + Sync + 'static,
    recorder: &Recorder,
) -> UserScopeLayer<
    impl StrategyList<Pending: Send> + Send + Sync + 'static,
    impl ProvideFactory<Future: Send> + Send + Sync + 'static,
    impl Authorize<Future: Send> + Send + Sync + 'static,
> {
    let builder = UserScopeLayer::builder()
        .strategy(strategy)
        .factory(|_| Agents)
        .isolation(settings.isolation)
        .observer(recorder.clone());
    let builder = if settings.requires_scope {
        builder.require_scope()
    } else {
        builder
    };
    builder.build().expect("a valid configuration")
}

fn request(headers: &[(&'static str, &'static str)]) -> Request<()> {
    let mut request = Request::new(());
    for (name, user) in headers {
        request
            .headers_mut()
            .insert(*name, user.parse().expect("text"));
    }
    request
}

/// What became of a use, and whether it was reported.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Used {
    Silently,
    Reported,
    Refused,
}

fn used(handle: &Scoped<Agents>, recorder: &Recorder) -> Used {
    let result = Scoped::try_get(handle);
    let is_report = |event: &AuditEvent<'_>| matches!(event, AuditEvent::CrossUserAccess { .. });
    let reported = recorder.take().iter().any(is_report);
    match result {
        Err(IsolationError::OtherUser { .. }) => {
            assert!(reported, "what is refused is audited");
            Used::Refused
        }
        Err(other) => panic!("{other}"),
        Ok(_) if reported => Used::Reported,
        Ok(_) => Used::Silently,
    }
}

/// Returns what a handler gets from a layer for one request.
async fn handle_of<S, B>(wrap: impl FnOnce(Keep) -> S, request: Request<()>) -> Scoped<Agents>
where
    S: tower::Service<Request<()>, Response = Response<B>, Error = Infallible>,
{
    let kept = Kept::default();
    let response = wrap(Keep(kept.clone())).oneshot(request).await;
    drop(response.expect("infallible"));
    let handle = kept.lock().expect("no panic in here").take();
    handle.expect("the handler ran")
}

type Kept = Arc<Mutex<Option<Scoped<Agents>>>>;

/// An inner service that keeps its factory.
#[derive(Clone)]
struct Keep(Kept);

impl tower::Service<Request<()>> for Keep {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<()>, Infallible>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        let agents = request.scoped::<Agents>().expect("inside the layer");
        *self.0.lock().expect("no panic in here") = Some(Scoped::keep(agents));
        std::future::ready(Ok(Response::new(())))
    }
}

#[tokio::test]
async fn b52_the_stricter_of_the_factorys_layer_and_the_scopes_layer_counts() {
    use Used::{Refused, Reported, Silently};

    for (built_by, used_in, expected) in [
        (ENFORCE, ENFORCE, Refused),
        (ENFORCE, REPORT, Refused),
        (ENFORCE, OFF, Refused),
        (REPORT, ENFORCE, Refused),
        (REPORT, REPORT, Reported),
        (REPORT, OFF, Reported),
        (OFF, ENFORCE, Refused),
        (OFF, REPORT, Reported),
        (OFF, OFF, Silently),
    ] {
        let recorder = Recorder::new();
        let first = layer(built_by, header("x-user"), &recorder);
        let second = layer(used_in, header("x-user"), &Recorder::new());
        let alices = handle_of(|inner| first.layer(inner), request(&[("x-user", "alice")])).await;
        let bobs = handle_of(|inner| second.layer(inner), request(&[("x-user", "bob")])).await;
        drop(recorder.take());
        let in_bobs = async { used(&alices, &recorder) };
        let in_bobs = in_bobs.in_scope(Scoped::context(&bobs).clone()).await;
        assert_eq!(in_bobs, expected, "built by {built_by:?}, in {used_in:?}");
    }
}

/// Which scope the inner layer of two opens, as seen by a factory of a layer that checks nothing.
#[tokio::test]
async fn b52_a_layer_within_another_checks_no_less_than_that_one() {
    for (outer, inner, expected) in [
        (ENFORCE, OFF, Used::Refused),
        (OFF, ENFORCE, Used::Refused),
        (REPORT, OFF, Used::Reported),
        (OFF, OFF, Used::Silently),
    ] {
        let recorder = Recorder::new();
        let nobody = Recorder::new();
        let lax = layer(OFF, header("x-user"), &recorder);
        let alices = handle_of(|inner| lax.layer(inner), request(&[("x-user", "alice")])).await;

        let outer_layer = layer(outer, header("x-outer"), &nobody);
        let found_anew = layer(inner, header("x-user"), &nobody);
        let taken_over = layer(inner, ExistingContext::new(), &nobody);
        let sent = || request(&[("x-outer", "carol"), ("x-user", "bob")]);
        let replaced = handle_of(|keep| outer_layer.layer(found_anew.layer(keep)), sent()).await;
        let continued = handle_of(|keep| outer_layer.layer(taken_over.layer(keep)), sent()).await;
        drop(recorder.take());
        for (what, scope) in [("replaced", replaced), ("continued", continued)] {
            let there = async { used(&alices, &recorder) };
            let there = there.in_scope(Scoped::context(&scope).clone()).await;
            assert_eq!(there, expected, "{inner:?} in {outer:?}, {what}");
        }
    }
}

#[tokio::test]
async fn b52_a_factory_that_was_built_within_a_strict_layer_requires_a_scope() {
    for (outer, inner, allowed) in [
        (STRICT, ENFORCE, false),
        (ENFORCE, STRICT, false),
        (STRICT, OFF, false),
        (ENFORCE, ENFORCE, true),
    ] {
        let nobody = Recorder::new();
        let outer_layer = layer(outer, header("x-outer"), &nobody);
        let inner_layer = layer(inner, header("x-user"), &nobody);
        let sent = request(&[("x-outer", "carol"), ("x-user", "bob")]);
        let handle = handle_of(|keep| outer_layer.layer(inner_layer.layer(keep)), sent).await;
        let is_allowed = Scoped::try_get(&handle).is_ok();
        assert_eq!(is_allowed, allowed, "{inner:?} in {outer:?}");
    }
}

/// The worker of a `Buffer` calls the inner layer outside of every scope.
#[tokio::test]
async fn b52_an_outer_layers_setting_arrives_behind_a_queue_with_its_context() {
    let recorder = Recorder::new();
    let nobody = Recorder::new();
    let lax = layer(OFF, header("x-user"), &recorder);
    let alices = handle_of(|inner| lax.layer(inner), request(&[("x-user", "alice")])).await;

    let queued = Arc::new(Mutex::new(None));
    let queue = Arc::clone(&queued);
    let enqueue = service_fn(move |request: Request<()>| {
        *queue.lock().expect("no panic in here") = Some(request);
        async { Ok::<_, Infallible>(Response::new(())) }
    });
    let sent = request(&[("x-outer", "bob")]);
    let answered = layer(ENFORCE, header("x-outer"), &nobody)
        .layer(enqueue)
        .oneshot(sent)
        .await;
    drop(answered.expect("infallible"));
    let queued = queued.lock().expect("no panic in here").take();
    let inner = layer(OFF, ExistingContext::new(), &nobody);
    let bobs = handle_of(|keep| inner.layer(keep), queued.expect("it was sent")).await;
    drop(recorder.take());
    let in_bobs = async { used(&alices, &recorder) };
    let in_bobs = in_bobs.in_scope(Scoped::context(&bobs).clone()).await;
    assert_eq!(in_bobs, Used::Refused);
}
