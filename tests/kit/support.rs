//! Services behind a layer, for a check to look at.

use std::{
    env,
    future::Future,
    ops::Range,
    pin::Pin,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use tower::{BoxError, Service, service_fn};
use tower_layer::Layer;
use tower_user_scope::{
    ExistingContext, Scoped, UserContext, UserScopeExt, UserScopeLayer,
    middleware::BodyError,
    testing::{AsUser, Finding, IsolationCheck, IsolationReport, Recorder},
};

/// What the factory builds: it knows whose it is.
pub(crate) struct Agents {
    pub(crate) owner: String,
}

pub(crate) type Body = UnsyncBoxBody<Bytes, BoxError>;
pub(crate) type Answer = Response<Body>;
pub(crate) type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;

pub(crate) fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// With how many seeds a service is checked: `.ci/run` sets 20.
pub(crate) fn seeds() -> Range<u64> {
    let seeds = env::var("KIT_SEEDS").ok();
    0..seeds.map_or(5, |seeds| seeds.parse().expect("a number"))
}

/// A body in one piece.
pub(crate) fn text(text: impl Into<Bytes>) -> Answer {
    Response::new(
        Full::new(text.into())
            .map_err(|never| match never {})
            .boxed_unsync(),
    )
}

/// A body of these pieces, with a wait before each.
pub(crate) fn pieces<P: Into<Bytes> + Send + 'static>(
    pieces: impl Iterator<Item = P> + Send + 'static,
) -> Answer {
    let frames = stream::iter(pieces).then(async |piece| {
        tokio::task::yield_now().await;
        Ok(Frame::data(piece.into()))
    });
    Response::new(StreamBody::new(frames).boxed_unsync())
}

pub(crate) async fn waits(times: usize) {
    for _ in 0..times {
        tokio::task::yield_now().await;
    }
}

/// Puts a handler behind a layer that the recorder observes.
pub(crate) fn behind_layer(
    recorder: &Recorder,
    handler: impl Fn(Scoped<Agents>, Request<()>) -> Answering + Clone + Send + 'static,
) -> impl Service<
    Request<()>,
    Response = Response<impl http_body::Body<Data = Bytes, Error = BodyError>>,
    Error = BoxError,
> + Clone {
    let layer = UserScopeLayer::builder()
        .strategy(ExistingContext::new())
        .factory(|user: &UserContext| Agents {
            owner: user.user_id().map_or_else(String::new, ToString::to_string),
        })
        .observer(recorder.clone())
        .build()
        .expect("a valid configuration");
    layer.layer(service_fn(move |request: Request<()>| {
        let agents = request
            .scoped::<Agents>()
            .expect("inside the layer")
            .clone();
        let answering = handler(agents, request);
        async move { Ok::<_, BoxError>(answering.await) }
    }))
}

/// Checks a handler; each request goes to `/thing`.
pub(crate) async fn check(
    check: IsolationCheck,
    handler: impl Fn(Scoped<Agents>, Request<()>) -> Answering + Clone + Send + 'static,
) -> IsolationReport {
    let recorder = Recorder::new();
    let service = behind_layer(&recorder, handler);
    let request = |user: &tower_user_scope::testing::TestUser| {
        let request = Request::get("/thing").header("x-note", user.secret("note"));
        request.body(()).expect("a request").as_user(user.id())
    };
    check.recorder(&recorder).run(service, request).await
}

/// The secret that a request of [`check`] brings along.
pub(crate) fn note(request: &Request<()>) -> String {
    let note = request
        .headers()
        .get("x-note")
        .and_then(|note| note.to_str().ok());
    note.unwrap_or_default().to_owned()
}

pub(crate) fn kinds(report: &IsolationReport) -> Vec<&'static str> {
    let mut kinds: Vec<_> = report.findings().iter().map(Finding::kind).collect();
    kinds.dedup();
    kinds
}
