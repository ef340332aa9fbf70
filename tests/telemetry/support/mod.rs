//! Code that the telemetry tests share: a service in which everything happens, and other programs.

pub(crate) mod credentials;
pub(crate) mod program;
pub(crate) mod replicas;

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt;
use tower::{ServiceExt, service_fn};
use tower_layer::Layer;
use tower_user_scope::{
    CredentialSource, Identity, InvalidError, Outcome, PeerAddr, Scoped, TrustedHeader,
    UnavailableError, UserContext, UserId, UserScopeExt, UserScopeLayer,
    audit::{AuditEvent, Observer, UserIdTelemetry},
    authorize::{AuthorizeError, ForbiddenError},
    from_async_fn,
    strategy::{InvalidErrorKind, Strategy},
};

/// What no telemetry may show: the proxy's secret, and a key.
pub(crate) const SECRET: &str = "canary-of-the-proxys-secret";
pub(crate) const KEY: &str = "canary-of-alices-key";
pub(crate) const BAD_KEY: &str = "canary-of-an-unknown-key";
pub(crate) const SUPPORTS_KEY: &str = "canary-of-supports-key";
pub(crate) const BOBS_KEY: &str = "canary-of-bobs-key";

/// One request, and what becomes of it.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) path: &'static str,
    pub(crate) peer: [u8; 4],
    pub(crate) headers: Vec<(&'static str, &'static str)>,
    pub(crate) status: StatusCode,
    /// Whether the layer refuses it, and the handler does not.
    pub(crate) refused: bool,
    /// The user that is found, and who acts for that user.
    pub(crate) user: Option<&'static str>,
    pub(crate) actor: Option<&'static str>,
}

pub(crate) const PROXY: [u8; 4] = [10, 0, 0, 7];
pub(crate) const STRANGER: [u8; 4] = [203, 0, 113, 9];

/// Requests of every kind, in order: one keeps the factory that a later one takes.
pub(crate) fn cases() -> Vec<Case> {
    let alice = ("x-user-id", "alice");
    let trusted = ("x-proxy-secret", SECRET);
    let (key, thread) = (("x-api-key", KEY), ("x-thread-id", "t-17"));
    vec![
        Case::new("header", "/", 200, PROXY, &[alice, trusted]).of("alice"),
        Case::new(
            "key",
            "/?note=canary-in-a-query",
            200,
            STRANGER,
            &[key, thread],
        )
        .of("alice"),
        Case::new(
            "support",
            "/",
            200,
            STRANGER,
            &[("x-api-key", SUPPORTS_KEY), thread],
        )
        .of("alice")
        .acted_by("support"),
        Case::new("nobody", "/", 401, STRANGER, &[]),
        Case::new(
            "spoofed",
            "/admin",
            401,
            STRANGER,
            &[alice, ("x_user_id", "alice")],
        ),
        Case::new(
            "wrong secret",
            "/",
            401,
            PROXY,
            &[alice, ("x-proxy-secret", BAD_KEY)],
        ),
        Case::new("repeated", "/", 400, PROXY, &[alice, alice, trusted]),
        Case::new("unknown key", "/", 401, STRANGER, &[("x-api-key", BAD_KEY)]),
        Case::new(
            "two people",
            "/",
            401,
            PROXY,
            &[alice, trusted, ("x-api-key", BOBS_KEY)],
        ),
        Case::new("store down", "/", 503, STRANGER, &[("x-api-key", "down")]),
        Case::new("may not", "/forbidden", 403, STRANGER, &[key]).of("alice"),
        Case::new(
            "no factory",
            "/broken",
            500,
            STRANGER,
            &[key, ("x-thread-id", "broken")],
        )
        .of("alice"),
        Case::new("keeps", "/keep", 200, STRANGER, &[key]).of("alice"),
        Case::new("leaks", "/leak", 500, STRANGER, &[("x-api-key", BOBS_KEY)])
            .of("bob")
            .by_the_handler(),
        Case::new(
            "old key",
            "/",
            200,
            STRANGER,
            &[("x-old-key", BAD_KEY), key],
        )
        .of("alice"),
        Case::new(
            "odd trace",
            "/",
            200,
            STRANGER,
            &[key, ("traceparent", "odd")],
        )
        .of("alice"),
    ]
}

impl Case {
    /// A request whose answer has this status. If that is an error, the layer refuses it.
    fn new(
        name: &'static str,
        path: &'static str,
        status: u16,
        peer: [u8; 4],
        headers: &[(&'static str, &'static str)],
    ) -> Self {
        Self {
            name,
            path,
            peer,
            headers: headers.to_vec(),
            status: StatusCode::from_u16(status).expect("a status"),
            refused: status >= 400,
            user: None,
            actor: None,
        }
    }

    fn of(mut self, user: &'static str) -> Self {
        self.user = Some(user);
        self
    }

    fn acted_by(mut self, actor: &'static str) -> Self {
        self.actor = Some(actor);
        self
    }

    fn by_the_handler(mut self) -> Self {
        self.refused = false;
        self
    }
}

impl Case {
    pub(crate) fn request(&self) -> Request<()> {
        let mut request = Request::new(());
        *request.uri_mut() = self.path.parse().expect("a path");
        for (name, value) in &self.headers {
            let value = HeaderValue::from_static(value);
            request.headers_mut().append(*name, value);
        }
        let peer = PeerAddr(SocketAddr::from((self.peer, 4711)));
        request.extensions_mut().insert(peer);
        request
    }
}

/// Runs work on a runtime of this thread alone.
pub(crate) fn block_on<F: Future>(work: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(work)
}

/// What the writers of a test have written.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    pub(crate) fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The application's factory.
#[derive(Debug)]
pub(crate) struct Notes;

/// A strategy that has to be waited for.
fn api_key(header: &'static str) -> impl Strategy + Clone {
    from_async_fn(CredentialSource::header(header), move |head| {
        let key = head.headers.get(header).cloned();
        async move {
            let user = |name: &str| Identity::proved(UserId::try_from(name).expect("an id"));
            let Some(key) = key else {
                return Outcome::Absent;
            };
            tokio::task::yield_now().await;
            match key.to_str() {
                Ok(KEY) => user("alice").into(),
                Ok(BOBS_KEY) => user("bob").into(),
                Ok(SUPPORTS_KEY) => {
                    let support = UserId::try_from("support").expect("an id");
                    user("alice").with_actor(support).into()
                }
                Ok("down") => UnavailableError::new(io::Error::other("no route")).into(),
                _ => InvalidError::new(InvalidErrorKind::Rejected("key_unknown")).into(),
            }
        }
    })
}

/// Sends each case through a layer with these observers, and checks its status.
pub(crate) async fn run(observers: Vec<Arc<dyn Observer + Send + Sync>>) {
    run_with(observers, UserIdTelemetry::Omitted).await;
}

/// As [`run`], with user ids in `tracing` as this says.
pub(crate) async fn run_with(
    observers: Vec<Arc<dyn Observer + Send + Sync>>,
    ids: UserIdTelemetry,
) {
    let mut builder = UserScopeLayer::builder()
        .strategy(
            TrustedHeader::new("x-user-id")
                .from_proxies(["10.0.0.0/8"])
                .expect("a network")
                .shared_secret("x-proxy-secret", SECRET),
        )
        .strategy(api_key("x-old-key").optional().named("old_key"))
        .strategy(api_key("x-api-key").named("key"))
        .unanimous()
        .authorize_async(|_: &UserContext, head| {
            let may = head.uri.path() != "/forbidden";
            async move {
                tokio::task::yield_now().await;
                if may {
                    Ok(())
                } else {
                    Err(AuthorizeError::from(ForbiddenError::new("not_the_owner")))
                }
            }
        })
        .factory_async(|context: UserContext| async move {
            tokio::task::yield_now().await;
            if context.thread_id().as_str() == "broken" {
                return Err(io::Error::other("no connection"));
            }
            Ok(Notes)
        })
        .user_ids_in_telemetry(ids);
    for observer in observers {
        builder = builder.observer(move |event: &AuditEvent<'_>| observer.observe(event));
    }
    let layer = builder.build().expect("a valid configuration");
    let kept = Arc::new(Mutex::new(None::<Scoped<Notes>>));
    let service = layer.layer(service_fn(move |request: Request<()>| {
        let kept = Arc::clone(&kept);
        async move { Ok::<_, Infallible>(answer(&request, &kept)) }
    }));
    for case in cases() {
        let response = service.clone().oneshot(case.request()).await;
        let response = response.expect("infallible");
        assert_eq!(response.status(), case.status, "{}", case.name);
        response.into_body().collect().await.expect("a body");
    }
}

fn answer(request: &Request<()>, kept: &Mutex<Option<Scoped<Notes>>>) -> Response<String> {
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    let mut response = Response::new(String::new());
    match request.uri().path() {
        "/keep" => *kept = request.scoped::<Notes>().ok().cloned(),
        "/leak" => {
            let used = kept.take().map(|notes| Scoped::try_get(&notes).is_ok());
            if used == Some(false) {
                *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            }
        }
        _ => {}
    }
    response
}
