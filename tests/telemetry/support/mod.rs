//! Code that the telemetry tests share: a service in which everything happens, and other programs.

pub(crate) mod program;

use std::{
    convert::Infallible,
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
    audit::{AuditEvent, Observer},
    authorize::{AuthorizeError, ForbiddenError},
    from_async_fn,
    strategy::{InvalidErrorKind, Strategy},
};

/// What no telemetry may show: the proxy's secret, and a key.
pub(crate) const SECRET: &str = "canary-of-the-proxys-secret";
pub(crate) const KEY: &str = "canary-of-alices-key";
pub(crate) const BAD_KEY: &str = "canary-of-an-unknown-key";
pub(crate) const BOBS_KEY: &str = "canary-of-bobs-key";

/// One request, and what becomes of it.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) path: &'static str,
    pub(crate) peer: [u8; 4],
    pub(crate) headers: Vec<(&'static str, &'static str)>,
    pub(crate) status: StatusCode,
}

pub(crate) const PROXY: [u8; 4] = [10, 0, 0, 7];
pub(crate) const STRANGER: [u8; 4] = [203, 0, 113, 9];

/// Requests of every kind, in order: the last but one takes the factory that the one before kept.
pub(crate) fn cases() -> Vec<Case> {
    let case = |name, path, peer, headers: &[(&'static str, &'static str)], status| Case {
        name,
        path,
        peer,
        headers: headers.to_vec(),
        status,
    };
    let alice = ("x-user-id", "alice");
    let trusted = ("x-proxy-secret", SECRET);
    let (ok, unauthorized) = (StatusCode::OK, StatusCode::UNAUTHORIZED);
    vec![
        case("header", "/", PROXY, &[alice, trusted], ok),
        case(
            "key",
            "/?note=canary-in-a-query",
            STRANGER,
            &[("x-api-key", KEY)],
            ok,
        ),
        case("nobody", "/", STRANGER, &[], unauthorized),
        case(
            "spoofed",
            "/admin",
            STRANGER,
            &[alice, ("x_user_id", "alice")],
            unauthorized,
        ),
        case(
            "wrong secret",
            "/",
            PROXY,
            &[alice, ("x-proxy-secret", BAD_KEY)],
            unauthorized,
        ),
        case(
            "repeated",
            "/",
            PROXY,
            &[alice, alice, trusted],
            StatusCode::BAD_REQUEST,
        ),
        case(
            "unknown key",
            "/",
            STRANGER,
            &[("x-api-key", BAD_KEY)],
            unauthorized,
        ),
        case(
            "two people",
            "/",
            PROXY,
            &[alice, trusted, ("x-api-key", BOBS_KEY)],
            unauthorized,
        ),
        case(
            "store down",
            "/",
            STRANGER,
            &[("x-api-key", "down")],
            StatusCode::SERVICE_UNAVAILABLE,
        ),
        case(
            "may not",
            "/forbidden",
            STRANGER,
            &[("x-api-key", KEY)],
            StatusCode::FORBIDDEN,
        ),
        case(
            "no factory",
            "/broken",
            STRANGER,
            &[("x-api-key", KEY), ("x-thread-id", "broken")],
            StatusCode::INTERNAL_SERVER_ERROR,
        ),
        case("keeps", "/keep", STRANGER, &[("x-api-key", KEY)], ok),
        case(
            "leaks",
            "/leak",
            STRANGER,
            &[("x-api-key", BOBS_KEY)],
            StatusCode::INTERNAL_SERVER_ERROR,
        ),
        case(
            "old key",
            "/",
            STRANGER,
            &[("x-old-key", BAD_KEY), ("x-api-key", KEY)],
            ok,
        ),
    ]
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

/// The application's factory.
#[derive(Debug)]
pub(crate) struct Notes;

/// A strategy that has to be waited for.
fn api_key(header: &'static str) -> impl Strategy + Clone {
    from_async_fn(CredentialSource::header(header), move |head| {
        let key = head.headers.get(header).cloned();
        async move {
            let user = |name: &str| match UserId::try_from(name) {
                Ok(id) => Identity::proved(id).into(),
                Err(error) => Outcome::Invalid(error.into()),
            };
            let Some(key) = key else {
                return Outcome::Absent;
            };
            tokio::task::yield_now().await;
            match key.to_str() {
                Ok(KEY) => user("alice"),
                Ok(BOBS_KEY) => user("bob"),
                Ok("down") => UnavailableError::new(std::io::Error::other("no route")).into(),
                _ => InvalidError::new(InvalidErrorKind::Rejected("key_unknown")).into(),
            }
        }
    })
}

/// Sends each case through a layer with these observers, and checks its status.
pub(crate) async fn run(observers: Vec<Arc<dyn Observer + Send + Sync>>) {
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
                return Err(std::io::Error::other("no connection"));
            }
            Ok(Notes)
        });
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
