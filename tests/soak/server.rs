//! Two servers of one application, with a fault in each request that asks for it.

use std::{
    future::pending,
    io,
    panic::resume_unwind,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    http::{HeaderMap, Request, Response, StatusCode},
    middleware::{self, Next},
    routing::any,
};
use futures::{StreamExt, stream};
use http_body_util::BodyExt;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, sync::watch, task::AbortHandle};
use tower::util::MapRequestLayer;
use tower_user_scope::{
    CredentialSource, Identity, InvalidError, Outcome, Scoped, UnavailableError, UserContext,
    UserId, UserScopeLayer,
    audit::{AuditEvent, AuditLog, Metrics, UserIdTelemetry},
    authorize::{Authorize, ForbiddenError},
    factory::{FactoryUnavailableError, ProvideFactory},
    from_async_fn,
    limit::{Limit, LimitStore, OnUnavailable, Quota, TakeFuture, Taken},
    middleware::StrategyList,
    open_scopes::OpenScopes,
    scope::Ending,
    strategy::InvalidErrorKind,
};

/// A fault in a request. The request names it, so the sender knows the expected
/// result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    Nothing,
    SlowBody,
    /// The handler uses a factory that another request's handler kept.
    Steals,
    StoreDown,
    WrongKey,
    Forbidden,
    FactoryFails,
    FactoryDown,
    FactorySlow,
    HandlerPanics,
    BodyPanics,
    BodyFails,
    /// The handler is never ready, and a time limit around the layer strikes.
    TimesOut,
    /// The client disconnects while a stage runs.
    LeavesEarly,
    LeavesInTheRequest,
    LeavesInTheBody,
}

impl Plan {
    /// Ordinary requests are more frequent.
    pub(super) const ALL: [Self; 21] = [
        Self::Nothing,
        Self::Steals,
        Self::Nothing,
        Self::Nothing,
        Self::SlowBody,
        Self::SlowBody,
        Self::SlowBody,
        Self::StoreDown,
        Self::WrongKey,
        Self::Forbidden,
        Self::FactoryFails,
        Self::FactoryDown,
        Self::FactorySlow,
        Self::HandlerPanics,
        Self::BodyPanics,
        Self::BodyFails,
        Self::TimesOut,
        Self::LeavesEarly,
        Self::LeavesEarly,
        Self::LeavesInTheRequest,
        Self::LeavesInTheBody,
    ];

    pub(super) fn of(headers: &HeaderMap) -> Self {
        let plan = headers.get("x-plan").and_then(|plan| plan.to_str().ok());
        let plan = plan.and_then(|name| Self::ALL.into_iter().find(|it| it.name() == name));
        plan.expect("every request says its plan")
    }

    pub(super) fn name(self) -> String {
        format!("{self:?}")
    }

    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::StoreDown | Self::FactoryDown => StatusCode::SERVICE_UNAVAILABLE,
            Self::WrongKey => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::FactoryFails => StatusCode::INTERNAL_SERVER_ERROR,
            Self::TimesOut => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::OK,
        }
    }
}

/// The counters of the server and its layer.
#[derive(Default)]
pub(super) struct Counts {
    /// Requests that reached the layer.
    pub(super) arrived: AtomicU64,
    pub(super) accepted: AtomicU64,
    pub(super) refused: AtomicU64,
    /// Requests whose client disconnected before the layer accepted or refused them.
    pub(super) given_up: AtomicU64,
    pub(super) closed: [AtomicU64; 4],
    pub(super) built: AtomicU64,
    pub(super) alive: watch::Sender<u64>,
    /// Slots that were taken, and that came back.
    pub(super) slots_out: AtomicU64,
    pub(super) slots_back: AtomicU64,
    pub(super) open: Open,
    /// A place where a handler wrongly leaves its factory for the next request.
    pub(super) kept: Mutex<Option<Scoped<Agents>>>,
    /// Uses of another user's factory, as reported by the handlers and by the layer.
    pub(super) stolen: AtomicU64,
    pub(super) caught: AtomicU64,
    /// Alarms of the layer, and of the handler that compares context, factory and scope.
    pub(super) mixed: AtomicU64,
    /// The audit log of all requests.
    pub(super) log: Lines,
}

/// Lines in memory.
#[derive(Clone, Default)]
pub(super) struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    pub(super) fn text(&self) -> String {
        let lines = self.0.lock().expect("no panic in there");
        String::from_utf8(lines.clone()).expect("text")
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut lines = self.0.lock().expect("no panic in here");
        lines.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The registry of open scopes.
pub(super) struct Open(pub(super) OpenScopes);

impl Default for Open {
    fn default() -> Self {
        Self(OpenScopes::new(Duration::from_secs(60)))
    }
}

/// How many scopes a user may have open: more than the storm opens of one at a time.
pub(super) const MOST_OPEN: u32 = 64;

/// Counts the slots that are taken and given back, and refuses nobody.
struct CountedSlots(Arc<Counts>);

struct Slot(Arc<Counts>);

impl Drop for Slot {
    fn drop(&mut self) {
        add(&self.0.slots_back);
    }
}

impl LimitStore for CountedSlots {
    fn take(&self, _key: String, _quota: Quota) -> TakeFuture {
        let counts = self.0.clone();
        Box::pin(async move {
            let underway = Underway(Some(counts.clone()));
            waits(1).await;
            underway.ends();
            add(&counts.slots_out);
            Ok(Taken::granted().with_slot(Slot(counts)))
        })
    }
}

pub(super) const ENDINGS: [Ending; 4] = [
    Ending::Completed,
    Ending::Cancelled,
    Ending::Failed,
    Ending::Panicked,
];

pub(super) fn add(count: &AtomicU64) {
    count.fetch_add(1, Ordering::SeqCst);
}

pub(super) fn read(count: &AtomicU64) -> u64 {
    count.load(Ordering::SeqCst)
}

/// Counts stages that are dropped before their end.
pub(super) struct Underway(Option<Arc<Counts>>);

impl Underway {
    pub(super) fn ends(mut self) {
        self.0.take();
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        if let Some(counts) = &self.0 {
            add(&counts.given_up);
        }
    }
}

pub(super) struct Agents {
    pub(super) owner: UserContext,
    pub(super) counts: Arc<Counts>,
}

impl Drop for Agents {
    fn drop(&mut self) {
        self.counts.alive.send_modify(|alive| *alive -= 1);
    }
}

pub(super) async fn waits(times: usize) {
    for _ in 0..times {
        tokio::task::yield_now().await;
    }
}

pub(super) fn layer(
    counts: &Arc<Counts>,
) -> UserScopeLayer<
    impl StrategyList<Pending: Send> + Send + Sync + 'static + use<>,
    impl ProvideFactory<Future: Send> + Send + Sync + 'static + use<>,
    impl Authorize<Future: Send> + Send + Sync + 'static + use<>,
> {
    let (asks, builds) = (counts.clone(), counts.clone());
    let (observes, at_close) = (counts.clone(), counts.clone());
    let store = from_async_fn(CredentialSource::header("x-user"), move |head| {
        let (plan, user) = (Plan::of(&head.headers), head.headers.get("x-user").cloned());
        let underway = Underway(Some(asks.clone()));
        async move {
            waits(3).await;
            underway.ends();
            let user = user.expect("every request says whose it is");
            match plan {
                Plan::StoreDown => {
                    UnavailableError::new(io::Error::other("the store is down")).into()
                }
                Plan::WrongKey => InvalidError::new(InvalidErrorKind::Rejected("planted")).into(),
                _ => match user.to_str().expect("ASCII").parse::<UserId>() {
                    Ok(id) => Identity::proved(id).with_attribute(plan).into(),
                    Err(error) => Outcome::Invalid(error.into()),
                },
            }
        }
    });
    let lines = counts.log.clone();
    let log = AuditLog::new(UserIdTelemetry::Plain, move || lines.clone());
    UserScopeLayer::builder()
        .strategy(store)
        .observer(log.expect("no key"))
        .observer(Metrics::new())
        .authorize(|_, head| match Plan::of(&head.headers) {
            Plan::Forbidden => Err(ForbiddenError::new("planted").into()),
            _ => Ok(()),
        })
        // A machine that is busy is not one of the planted faults.
        .without_time_limit()
        .open_scopes(&counts.open.0)
        .limit(Limit::concurrency("open", MOST_OPEN))
        .limit(Limit::concurrency("counted", MOST_OPEN).in_store(
            Arc::new(CountedSlots(counts.clone())),
            OnUnavailable::Refuse,
        ))
        .factory_async(move |user| {
            let (counts, underway) = (builds.clone(), Underway(Some(builds.clone())));
            async move {
                let plan = user.attributes().get::<Plan>().copied();
                waits(if plan == Some(Plan::FactorySlow) {
                    50
                } else {
                    2
                })
                .await;
                underway.ends();
                match plan {
                    Some(Plan::FactoryFails) => {
                        return Err::<_, Box<dyn std::error::Error + Send + Sync>>("out".into());
                    }
                    Some(Plan::FactoryDown) => {
                        return Err(FactoryUnavailableError::new("the database is down").into());
                    }
                    _ => {}
                }
                add(&counts.built);
                counts.alive.send_modify(|alive| *alive += 1);
                Ok(Agents {
                    owner: user,
                    counts,
                })
            }
        })
        .observer(move |event: &AuditEvent<'_>| match event {
            AuditEvent::Accepted { .. } => add(&observes.accepted),
            AuditEvent::Refused { .. } => add(&observes.refused),
            AuditEvent::CrossUserAccess { .. } => add(&observes.caught),
            AuditEvent::FactoryRetained { .. }
            | AuditEvent::FactoryUsedOutsideScope { .. }
            | AuditEvent::FactoryUsedAfterClose { .. } => add(&observes.mixed),
            _ => {}
        })
        .on_close(move |scope| {
            let place = ENDINGS.iter().position(|it| *it == scope.ending());
            add(&at_close.closed[place.expect("one of them")]);
            let agents = scope.scoped::<Agents>().expect("still there");
            if agents.owner != *scope.context()
                || UserContext::current() != Some(agents.owner.clone())
            {
                add(&at_close.mixed);
            }
        })
        .build()
        .expect("a valid configuration")
}

/// Compares context, factory and scope repeatedly.
pub(super) async fn check(sender: &str, agents: &Scoped<Agents>, context: &UserContext) {
    for _ in 0..3 {
        let same = context.user_id().is_some_and(|id| *id == sender)
            && agents.owner == *context
            && UserContext::current().as_ref() == Some(context);
        if !same {
            add(&agents.counts.mixed);
        }
        waits(1).await;
    }
}

/// Leaves the factory for the next request and uses the one of the request before.
fn steal(agents: &Scoped<Agents>) {
    let mut kept = agents.counts.kept.lock().expect("no panic in here");
    let Some(before) = kept.replace(Scoped::keep(agents)) else {
        return;
    };
    let is_own = Scoped::context(&before).user_id() == agents.owner.user_id();
    if !is_own {
        add(&agents.counts.stolen);
    }
    if Scoped::try_get(&before).is_ok() != is_own {
        add(&agents.counts.mixed);
    }
}

async fn handle(
    headers: HeaderMap,
    agents: Scoped<Agents>,
    context: UserContext,
    body: Body,
) -> Response<Body> {
    let sender = headers["x-user"].to_str().expect("ASCII").to_owned();
    check(&sender, &agents, &context).await;
    let plan = Plan::of(&headers);
    if plan == Plan::Steals {
        steal(&agents);
    }
    // A request that is cancelled is dropped here.
    if body.collect().await.is_err() {
        return Response::default();
    }
    let chunks = match plan {
        Plan::HandlerPanics => resume_unwind(Box::new("planted")),
        Plan::LeavesEarly | Plan::TimesOut => pending().await,
        Plan::LeavesInTheBody => usize::MAX,
        Plan::SlowBody => 12,
        _ => 3,
    };
    let owner = agents.owner.user_id().expect("a user").to_string();
    let chunks = stream::iter(0..chunks).then(move |_| {
        let (agents, context, sender) = (agents.clone(), context.clone(), sender.clone());
        async move {
            check(&sender, &agents, &context).await;
            let owner = agents.owner.user_id().expect("a user");
            // Frames of a realistic size, because peers treat a flood of tiny frames as an attack.
            Ok(Bytes::from(format!("{owner};").repeat(200)))
        }
    });
    let end = stream::once(async move {
        match plan {
            Plan::BodyPanics => resume_unwind(Box::new("planted")),
            Plan::BodyFails => Err(io::Error::other("planted")),
            _ => Ok(Bytes::from_static(b"end")),
        }
    });
    Response::builder()
        .header("x-owner", owner)
        .body(Body::from_stream(chunks.chain(end)))
        .expect("a response")
}

/// The time limit around the layer, which drops its future.
async fn time_limit(request: Request<Body>, next: Next) -> Response<Body> {
    if Plan::of(request.headers()) != Plan::TimesOut {
        return next.run(request).await;
    }
    // Long enough for most of them to reach the handler.
    let answer = tokio::time::timeout(Duration::from_millis(20), next.run(request)).await;
    answer.unwrap_or_else(|_| {
        let mut response = Response::default();
        *response.status_mut() = StatusCode::GATEWAY_TIMEOUT;
        response
    })
}

/// The addresses of the two servers, and how to stop them.
pub(super) struct Servers {
    pub(super) addresses: [std::net::SocketAddr; 2],
    pub(super) tasks: [AbortHandle; 2],
}

pub(super) async fn serve(counts: &Arc<Counts>) -> Servers {
    let arrives = counts.clone();
    let router = Router::new()
        .route("/", any(handle))
        .layer(layer(counts))
        .layer(MapRequestLayer::new(move |request: Request<Body>| {
            add(&arrives.arrived);
            request
        }))
        .layer(middleware::from_fn(time_limit));
    let listen = || async { TcpListener::bind("127.0.0.1:0").await.expect("a free port") };
    let (first, second) = (listen().await, listen().await);
    let addresses = [&first, &second].map(|it| it.local_addr().expect("an address"));
    let axum = axum::serve(first, router.clone());
    let axum = tokio::spawn(async move { axum.await.expect("axum serves") });
    let hyper = tokio::spawn(async move {
        loop {
            let (stream, _) = second.accept().await.expect("a connection");
            let service = TowerToHyperService::new(router.clone());
            tokio::spawn(
                // Bodies fail here on purpose, more often than the default limit for a client allows.
                hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .max_local_error_reset_streams(None)
                    .serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    Servers {
        addresses,
        tasks: [axum.abort_handle(), hyper.abort_handle()],
    }
}
