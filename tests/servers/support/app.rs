//! The application of all servers: the infrastructure that all users share, the layer, the layers
//! around it, and a handler that reports what reached it.

use std::{
    collections::HashMap,
    error::Error,
    io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use http::{HeaderMap, Request};
use tokio::sync::{Barrier, mpsc, oneshot, watch};
use tower_user_scope::{
    CredentialSource, ExistingContext, Fallback, FromExtension, Identity, InvalidError, Outcome,
    Principal, Scoped, TrustedHeader, UnavailableError, UserContext, UserId, UserScopeLayer,
    audit::AuditEvent,
    authorize::{Authorize, ForbiddenError},
    context::{CorrelationKind, CorrelationSources},
    factory::{FactoryUnavailableError, ProvideFactory},
    from_async_fn,
    middleware::StrategyList,
    strategy::{InvalidErrorKind, Strategy},
};

use super::{Seen, Whose, audit::Audit};

pub(crate) const LOOPBACK: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0));

/// The settings of the layer that differ between cases. All peers here are on loopback, so the
/// trusted network decides whether a peer is trusted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) trusts: &'static str,
    pub(crate) unanimous: bool,
    pub(crate) fallback: Who,
    pub(crate) ids_from_query: bool,
    /// The number of handlers that wait for each other before they respond.
    pub(crate) meeting: usize,
}

/// The principal of requests without a credential.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Who {
    Nobody,
    Anonymous,
    Service(&'static str),
}

impl Rules {
    pub(crate) const DEFAULT: Self = Self {
        trusts: "127.0.0.0/8",
        unanimous: false,
        fallback: Who::Nobody,
        ids_from_query: false,
        meeting: 1,
    };
}

/// The infrastructure that all users share. It knows no user.
pub(crate) struct Office {
    pub(crate) audit: Audit,
    keys: mpsc::UnboundedSender<Ask>,
    waits: AtomicU64,
    built: AtomicU64,
    answered: AtomicU64,
    alive: watch::Sender<u64>,
    meeting: Barrier,
}

/// A key, and the channel for the result.
type Ask = (String, oneshot::Sender<Option<UserId>>);

impl Office {
    pub(crate) fn open(rules: &Rules) -> Arc<Self> {
        let (keys, asked) = mpsc::unbounded_channel();
        tokio::spawn(key_store(asked));
        Arc::new(Self {
            audit: Audit::default(),
            keys,
            waits: AtomicU64::new(0),
            built: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            alive: watch::Sender::new(0),
            meeting: Barrier::new(rules.meeting),
        })
    }

    /// Returns the number of factories that were built.
    pub(crate) fn built(&self) -> u64 {
        self.built.load(Ordering::SeqCst)
    }

    /// Returns the number of responses of handlers.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::SeqCst)
    }

    /// Returns how often a strategy had to wait.
    pub(crate) fn waits(&self) -> u64 {
        self.waits.load(Ordering::SeqCst)
    }

    /// Waits until every factory is dropped.
    pub(crate) async fn is_empty(&self) {
        let mut alive = self.alive.subscribe();
        super::soon(
            "the last factory is dropped",
            alive.wait_for(|alive| *alive == 0),
        )
        .await
        .expect("the office is open");
    }

    async fn owner_of(&self, key: String) -> Result<Option<UserId>, UnavailableError> {
        let (reply, answer) = oneshot::channel();
        self.keys.send((key, reply)).map_err(|_| {
            UnavailableError::new(io::Error::new(io::ErrorKind::NotConnected, "no key store"))
        })?;
        let mut answer = pin!(answer);
        let answer = std::future::poll_fn(|cx| {
            let polled = answer.as_mut().poll(cx);
            self.waits
                .fetch_add(u64::from(polled.is_pending()), Ordering::SeqCst);
            polled
        });
        answer.await.map_err(UnavailableError::new)
    }
}

/// Resolves `key-of-<user>` on its own task. For `key-lost` it drops the channel of the result.
async fn key_store(mut asked: mpsc::UnboundedReceiver<Ask>) {
    while let Some((key, reply)) = asked.recv().await {
        if key == "key-lost" {
            continue;
        }
        let owner = key.strip_prefix("key-of-").and_then(|id| id.parse().ok());
        // The receiver is gone if the client has disconnected.
        let _ = reply.send(owner);
    }
}

/// The factory that each request gets.
pub(crate) struct Desk {
    number: u64,
    owner: UserContext,
    office: Arc<Office>,
}

impl Desk {
    fn new(
        owner: &UserContext,
        office: &Arc<Office>,
    ) -> Result<Self, Box<dyn Error + Send + Sync>> {
        match owner.user_id().map(UserId::as_str) {
            Some("frank") => return Err("frank's quota is gone".into()),
            Some("fiona") => {
                return Err(FactoryUnavailableError::new("fiona's database is down").into());
            }
            _ => {}
        }
        office.alive.send_modify(|alive| *alive += 1);
        Ok(Self {
            number: office.built.fetch_add(1, Ordering::SeqCst) + 1,
            owner: owner.clone(),
            office: Arc::clone(office),
        })
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.office.alive.send_modify(|alive| *alive -= 1);
    }
}

/// The layer under test, the same on every server.
pub(crate) fn layer(
    rules: &Rules,
    office: &Arc<Office>,
) -> UserScopeLayer<
    impl StrategyList<Pending: Send> + Send + Sync + 'static,
    impl ProvideFactory<Future: Send> + Send + Sync + 'static,
    impl Authorize<Future: Send> + Send + Sync + 'static,
> {
    let audit = Arc::clone(office);
    let desks = Arc::clone(office);
    let mut builder = UserScopeLayer::builder()
        .strategy(
            TrustedHeader::new("x-user-id")
                .from_proxies([rules.trusts])
                .expect("a network"),
        )
        .strategy(FromExtension::<Session>::new(|session| {
            session.user.parse()
        }))
        .strategy(ExistingContext::new())
        .strategy(api_key(office))
        .authorize(|context, head| match head.headers.get("x-thread-id") {
            Some(thread) if thread == "thread-of-alice" => match context.user_id() {
                Some(id) if *id == "alice" => Ok(()),
                _ => Err(ForbiddenError::new("thread_of_somebody_else").into()),
            },
            _ => Ok(()),
        })
        .try_factory(move |user| Desk::new(user, &desks))
        .observer(move |event: &AuditEvent<'_>| audit.audit.hear(event));
    if rules.unanimous {
        builder = builder.unanimous();
    }
    if rules.ids_from_query {
        builder =
            builder.correlation(CorrelationSources::new().query(CorrelationKind::Thread, "thread"));
    }
    match rules.fallback {
        Who::Nobody => {}
        Who::Anonymous => builder = builder.fallback(Fallback::anonymous()),
        Who::Service(name) => builder = builder.fallback(Fallback::service(name)),
    }
    builder.build().expect("rules that a layer can have")
}

/// The application's own strategy, which waits.
fn api_key(office: &Arc<Office>) -> impl Strategy<Future: Send> + Send + Sync + 'static {
    let office = Arc::clone(office);
    from_async_fn(CredentialSource::header("x-api-key"), move |head| {
        let key = head.headers.get("x-api-key").cloned();
        let office = Arc::clone(&office);
        async move {
            let Some(key) = key else {
                return Outcome::Absent;
            };
            match office
                .owner_of(String::from_utf8_lossy(key.as_bytes()).into())
                .await
            {
                Ok(Some(id)) => Identity::proved(id).into(),
                Ok(None) => InvalidError::new(InvalidErrorKind::Rejected("api_key_unknown")).into(),
                Err(unavailable) => unavailable.into(),
            }
        }
    })
    .named("api_key")
}

/// The value that an authentication middleware inserts.
#[derive(Clone)]
struct Session {
    user: String,
}

/// The same in a type that no strategy reads.
#[derive(Clone)]
struct OtherSession {
    _user: String,
}

/// The layers around the layer under test: a middleware that knows sessions, and a framework that knows
/// the user of its job and makes the whole context.
pub(crate) fn outer<B>(mut request: Request<B>) -> Request<B> {
    let (headers, extensions) = (request.headers().clone(), request.extensions_mut());
    let sent = |name| Some(headers.get(name)?.to_str().ok()?.to_owned());
    if let Some(user) = sent("x-session-of") {
        extensions.insert(Session { user });
    }
    if let Some(user) = sent("x-other-session") {
        extensions.insert(OtherSession { _user: user });
    }
    if let Some(owner) = sent("x-job-of") {
        let owner = UserId::try_from(owner).expect("the owner of a job");
        let mut job = UserContext::builder(Identity::proved(owner));
        if let Some(id) = sent("x-request-id") {
            job = job.request_id(id.parse().expect("the id of a job"));
        }
        extensions.insert(job.build());
    }
    request
}

/// The handler of all servers: reports what it holds after all other handlers of the meeting have
/// theirs.
pub(crate) async fn look(
    desk: &Scoped<Desk>,
    context: &UserContext,
    headers: &HeaderMap,
    body_length: usize,
) -> Seen {
    let office = Arc::clone(&desk.office);
    office.meeting.wait().await;
    office.answered.fetch_add(1, Ordering::SeqCst);
    let mut counts = HashMap::new();
    for name in headers.keys() {
        let values = headers.get_all(name).iter().count();
        counts.insert(name.to_string(), u32::try_from(values).unwrap_or(u32::MAX));
    }
    Seen {
        context: Some(whose(context)),
        factory: Some(whose(&desk.owner)),
        handle: Some(whose(Scoped::context(desk))),
        scope: UserContext::current().as_ref().map(whose),
        strategy: context.strategy().to_owned(),
        thread_id: context.thread_id().to_string(),
        factory_number: desk.number,
        headers: counts,
        body_length: body_length as u64,
    }
}

fn whose(context: &UserContext) -> Whose {
    Whose {
        who: match context.principal() {
            Principal::User(id) => id.to_string(),
            Principal::Service(name) => format!("service {name}"),
            Principal::Anonymous => "anonymous".to_owned(),
            other => panic!("a new principal: {other:?}"),
        },
        request_id: context.request_id().to_string(),
    }
}
