//! One layer with every strategy that reads a request, and requests that nobody may be let in
//! with: nobody knows the keys, so whoever is found was made up.

use std::{
    convert::Infallible,
    future::ready,
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
};

use http::{HeaderName, HeaderValue, Request, Response};
use tokio::runtime::{Builder, Runtime};
use tower::{Layer, ServiceExt, service_fn, util::BoxCloneService};
use tower_sessions_memory_store::MemoryStore;
use tower_user_scope::{
    PeerAddr, TrustedHeader, UserScopeExt, UserScopeLayer,
    context::{CorrelationKind, CorrelationSources},
    jwt::{Algorithm, Jwt, Key},
    session::SessionCookie,
    token::TokenSource,
};

/// Who was found.
#[derive(Clone)]
struct Found(String);

/// The layer, and what runs it.
pub struct Target {
    service: BoxCloneService<Request<()>, Response<()>, Infallible>,
    runtime: Runtime,
}

/// The one of this process.
pub fn target() -> MutexGuard<'static, Target> {
    static TARGET: LazyLock<Mutex<Target>> = LazyLock::new(|| Mutex::new(Target::new()));
    TARGET.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Target {
    fn new() -> Self {
        let keys = [
            Key::hmac(Algorithm::HS256, b"5bLk0ukr1SgGyg4oJxSLHk9ooSPN7DdJ")
                .expect("a key")
                .with_id("a"),
            Key::hmac(
                Algorithm::HS384,
                b"5bLk0ukr1SgGyg4oJxSLHk9ooSPN7DdJqK7Nhh6Kc4x1ZuUJ",
            )
            .expect("a key"),
        ];
        let layer = UserScopeLayer::builder()
            .strategy(
                TrustedHeader::new("x-user-id")
                    .tenant_header("x-tenant-id")
                    .from_proxies(["10.0.0.0/8"])
                    .expect("a network"),
            )
            .strategy(SessionCookie::new("__Host-sid", MemoryStore::default()))
            .strategy(
                Jwt::new(keys)
                    .issuer("https://id.example")
                    .audience("api")
                    .also_token_source(TokenSource::cookie("token"))
                    .also_token_source(TokenSource::websocket_protocol("bearer"))
                    .also_token_source(TokenSource::query("access_token")),
            )
            .correlation(CorrelationSources::new().query(CorrelationKind::Thread, "thread"))
            .context_only()
            .build()
            .expect("the configuration is good");
        let inner = service_fn(|request: Request<()>| {
            let (head, ()) = request.into_parts();
            let mut response = Response::new(());
            if let Ok(user) = head.user_context() {
                let found = Found(format!("{:?}", user.subject()));
                response.extensions_mut().insert(found);
            }
            ready(Ok::<_, Infallible>(response))
        });
        let service = layer
            .layer(inner)
            .map_response(|response| response.map(|_| ()));
        Self {
            service: BoxCloneService::new(service),
            runtime: Builder::new_current_thread().build().expect("a runtime"),
        }
    }
}

impl Target {
    /// Who was found, from a peer that is trusted or not.
    pub fn user(&self, mut request: Request<()>, trusted: bool) -> Option<String> {
        let peer = if trusted { "10.0.0.1:1" } else { "192.0.2.1:1" };
        request
            .extensions_mut()
            .insert(PeerAddr(peer.parse().expect("an address")));
        let answer = self.service.clone().oneshot(request);
        let mut response = self.runtime.block_on(answer).expect("infallible");
        response.extensions_mut().remove().map(|Found(user)| user)
    }

    /// The same, of a request that has this header.
    pub fn user_of_header(
        &self,
        name: &'static str,
        value: &[u8],
        trusted: bool,
    ) -> Option<String> {
        let value = HeaderValue::from_bytes(value).ok()?;
        let mut request = Request::new(());
        request
            .headers_mut()
            .insert(HeaderName::from_static(name), value);
        self.user(request, trusted)
    }
}
