//! Finds out which user a request belongs to, and gives the handler an object that was built for
//! this request and this user.
//!
//! [`UserScopeLayer`] asks an ordered list of [strategies](strategy) whose request it is, calls the
//! application's factory with the resulting [`UserContext`], and puts a [`Scoped`] handle to what
//! that built into the request's extensions. It refuses requests that it can't resolve, and the use
//! of one user's object in another user's request. It works in every Tower server: axum, hyper,
//! tonic.
//!
//! ```
//! use std::{convert::Infallible, sync::Arc};
//!
//! use http::{Request, Response, StatusCode};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//! use tower_user_scope::{
//!     PeerAddr, TrustedHeader, UserScopeExt, UserScopeLayer, context::Subject,
//! };
//!
//! /// What all users share, such as a pool of connections.
//! struct Database;
//!
//! /// What each request gets: a repository of one user.
//! struct Orders {
//!     database: Arc<Database>,
//!     owner: Subject,
//! }
//!
//! /// The handler. With axum, it takes `orders: Scoped<Orders>` instead.
//! async fn list(request: Request<()>) -> Result<Response<String>, Infallible> {
//!     Ok(match request.scoped::<Orders>() {
//!         Ok(orders) => Response::new(format!("the orders of {:?}", orders.owner)),
//!         Err(missing) => panic!("{missing}"),
//!     })
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let database = Arc::new(Database);
//! let users = UserScopeLayer::builder()
//!     .strategy(TrustedHeader::new("x-user-id").from_proxies(["10.0.0.0/8"])?)
//!     .factory(move |context| Orders {
//!         database: database.clone(),
//!         owner: context.subject().clone(),
//!     })
//!     .build()?;
//! let mut service = ServiceBuilder::new().layer(users).service(service_fn(list));
//!
//! // The header is believed from the proxy, and from nobody else.
//! for (peer, status) in [
//!     ("10.0.0.7:4711", StatusCode::OK),
//!     ("203.0.113.9:4711", StatusCode::UNAUTHORIZED),
//! ] {
//!     let mut request = Request::builder().header("x-user-id", "alice").body(())?;
//!     request.extensions_mut().insert(PeerAddr(peer.parse()?));
//!     let response = service.ready().await?.call(request).await?;
//!     assert_eq!(response.status(), status);
//! }
//! # let _ = |orders: Orders| orders.database;
//! # Ok(())
//! # }
//! ```
//!
//! # Where to read on
//!
//! | question | guide | module |
//! | --- | --- | --- |
//! | Which strategies, in which order? | [`guide::choosing_strategies`] | [`strategy`], [`token`], [`jwt`], [`session`], [`api_key`], [`introspection`] |
//! | What is known about the user? | [`guide::recipes`] | [`context`], [`authorize`] |
//! | What is built, and how long does it live? | [`guide::jobs_and_sockets`] | [`factory`], [`scope`] |
//! | What is protected, and what is not? | [`guide::threat_model`] | |
//! | Why was a request refused? | [`guide::operating`] | [`audit`], [`explain`], [`rejection`] |
//! | How is it tested? | [`guide::testing`] | [`testing`], [`clock`] |
//! | How does a singleton become a factory? | [`guide::migrating`] | [`migration`] |
//! | What does it cost? | [`guide::performance`] | |
//!
//! # The rules
//!
//! - **A credential that is there and bad ends the list** with 400 or 401. It never falls through
//!   to a weaker one, unless [`Strategy::optional`](strategy::Strategy::optional) says so.
//! - **A fallback is never a user**, and acts only where nothing was sent: before a [`Fallback`]
//!   may act, [`Strategy::presence`](strategy::Strategy::presence) is asked too.
//! - **An identity header is believed from the proxy only**, and removed wherever it is not
//!   believed; see [`TrustedHeader`].
//! - **What is asserted and what is proved stay apart**; see [`context::Evidence`] and
//!   [`require_proved`](middleware::LayerBuilder::require_proved).
//! - **What can't be checked is refused with 503.** With the feature `tokio`, each step has
//!   10 seconds; see [`time_limit`](middleware::LayerBuilder::time_limit).
//! - **A response says nothing about the reason**; the [`AuditEvent`](audit::AuditEvent) says
//!   everything except the credential.
//!
//! # Features
//!
//! | feature | default | gives |
//! | --- | --- | --- |
//! | `proxies` | yes | [`TrustedHeader::from_proxies`] and [`shared_secret`](TrustedHeader::shared_secret) |
//! | `ids` | yes | version 7 UUIDs, user ids in every script, ids from query parameters, `serde` for ids, [`PortableContext`](context::PortableContext) |
//! | `tokio` | | time limits, [`scope::spawn`], streams in scope, [`factory::LazyAsync`] |
//! | `axum` | | [extractors](extract), axum's `ConnectInfo` as the peer's address |
//! | `tonic` | | [`UserScopeExt`] for `tonic::Request`, tonic's `TcpConnectInfo` as the peer's address, `NamedService` |
//! | `jwt` | | [`jwt::Jwt`], with keys that issuers publish; needs one of the next two; turns `tokio` on |
//! | `aws-lc-rs` | | [`CryptoProvider::aws_lc_rs`](jwt::CryptoProvider::aws_lc_rs), the fast one; turns `jwt` on |
//! | `rust-crypto` | | [`CryptoProvider::rust_crypto`](jwt::CryptoProvider::rust_crypto), in Rust alone; turns `jwt` on |
//! | `session` | | [`session::SessionCookie`] and [`session::FromSession`], for tower-sessions 0.15 and 0.14; turns `tokio` on |
//! | `api-keys` | | [`api_key::ApiKeys`], keys whose hashes are in a store of the application's; turns `tokio` on |
//! | `introspection` | | [`introspection::Introspection`], opaque tokens whose issuer is asked (RFC 7662); turns `jwt` on |
//! | `open-scopes` | | [`open_scopes`]: which scopes are open, and revocations that end them, with `jwt` also those that an identity provider sends; turns `tokio` on |
//! | `redis` | | [`redis`](mod@redis): revocations and counts of limits that replicas share; turns `limit` and `open-scopes` on |
//! | `limit` | | [`limit`]: rates and numbers of open scopes, by subject; turns `tokio` on |
//! | `metrics` | | [`audit::Metrics`]: counts and durations for the [`metrics`](https://docs.rs/metrics) facade |
//! | `telemetry` | | [`UserIdTelemetry::Hashed`](audit::UserIdTelemetry::Hashed): user ids in logs as a keyed hash; [`audit::AuditLog`]: events as lines of JSON |
//! | `testing` | | for `[dev-dependencies]`, [`testing`]: requests as a user, a recorder, `IsolationCheck`, `ScenarioCheck` |
//! | `full` | | all of these but `rust-crypto` and `testing` |
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    not(test),
    warn(clippy::unwrap_used, clippy::expect_used, clippy::panic)
)]

mod accessors;
#[cfg(feature = "api-keys")]
#[cfg_attr(docsrs, doc(cfg(feature = "api-keys")))]
pub mod api_key;
pub mod audit;
pub mod authorize;
mod before_response;
mod builder;
pub mod clock;
mod config_error;
pub mod context;
#[cfg(any(feature = "api-keys", feature = "jwt", feature = "session"))]
mod cookies;
mod ending;
#[cfg(feature = "tokio")]
mod ends;
pub mod factory;
mod future;
#[cfg(all(doc, not(doctest)))]
pub mod guide;
mod header_set;
mod integration;
#[cfg(feature = "introspection")]
#[cfg_attr(docsrs, doc(cfg(feature = "introspection")))]
pub mod introspection;
mod isolation;
#[cfg(feature = "jwt")]
#[cfg_attr(docsrs, doc(cfg(feature = "jwt")))]
pub mod jwt;
mod layer;
#[cfg(feature = "tokio")]
mod lifetime;
#[cfg(feature = "limit")]
#[cfg_attr(docsrs, doc(cfg(feature = "limit")))]
pub mod limit;
mod maybe_future;
mod measured;
pub mod migration;
#[cfg(feature = "open-scopes")]
#[cfg_attr(docsrs, doc(cfg(feature = "open-scopes")))]
pub mod open_scopes;
mod outcome;
mod peer;
mod policy;
#[cfg(feature = "redis")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
pub mod redis;
pub mod rejection;
mod reload;
#[cfg(feature = "tokio")]
mod renew;
mod require;
mod resolve;
mod response;
pub mod scope;
mod service;
#[cfg(feature = "session")]
#[cfg_attr(docsrs, doc(cfg(feature = "session")))]
pub mod session;
#[cfg(any(feature = "limit", feature = "open-scopes"))]
mod sharded;
mod stage;
pub mod strategy;
mod stripped;
#[cfg(feature = "testing")]
#[cfg_attr(docsrs, doc(cfg(feature = "testing")))]
pub mod testing;
mod time_limit;
#[cfg(any(feature = "api-keys", feature = "jwt"))]
#[cfg_attr(docsrs, doc(cfg(any(feature = "api-keys", feature = "jwt"))))]
pub mod token;
mod trailers;
mod violation;
mod waiting;
mod work;

pub use self::{
    accessors::{MissingScopeError, UserScopeExt},
    config_error::ConfigError,
    context::{identity::Identity, ids::UserId, subject::Principal, user_context::UserContext},
    factory::scoped::Scoped,
    layer::UserScopeLayer,
    maybe_future::MaybeFuture,
    outcome::{InvalidError, Outcome, UnavailableError},
    peer::{PeerAddr, is_loopback},
    rejection::kind::Rejection,
    strategy::{
        credential_source::CredentialSource,
        development::DevelopmentUser,
        existing_context::ExistingContext,
        extension::FromExtension,
        fallback::Fallback,
        from_fn::{from_async_fn, from_fn},
        trusted_header::TrustedHeader,
    },
};

/// The middleware itself: the builder of the layer, its service, and what a call returns.
///
/// Types that hold a layer or a service name these.
///
/// ```
/// use tower_user_scope::{
///     ConfigError, ExistingContext, UserScopeLayer, factory::ContextOnly,
///     middleware::{Empty, Then},
/// };
///
/// type Users = UserScopeLayer<Then<Empty, ExistingContext>, ContextOnly>;
///
/// fn users() -> Result<Users, ConfigError> {
///     UserScopeLayer::builder().strategy(ExistingContext::new()).context_only().build()
/// }
/// # users()?;
/// # Ok::<(), ConfigError>(())
/// ```
pub mod middleware {
    pub use crate::{
        before_response::Answered,
        builder::LayerBuilder,
        future::ResponseFuture,
        layer::BoxUserScopeLayer,
        reload::{ReloadLayer, ReloadService},
        require::{RequireFuture, RequireLayer, RequireService},
        resolve::{Empty, StrategyList, Then, ThenEach},
        response::{BodyError, ResponseBody},
        service::UserScope,
        trailers::WithoutTrailers,
    };
}

/// Why a request would be resolved as it is: what `UserScopeLayer::explain` returns.
///
/// ```
/// use http::Request;
/// use tower_user_scope::{ExistingContext, UserScopeLayer};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tower_user_scope::ConfigError> {
/// let layer = UserScopeLayer::builder().strategy(ExistingContext::new()).context_only().build()?;
/// let (head, ()) = Request::new(()).into_parts();
/// println!("{}", layer.explain(&head).await);
/// # Ok(())
/// # }
/// ```
pub mod explain {
    pub use crate::resolve::Explanation;
}

/// The extractors' rejection, for axum.
///
/// ```
/// use tower_user_scope::{UserId, extract::ExtractError};
///
/// async fn handler(user: Result<UserId, ExtractError>) -> String {
///     user.map_or_else(|error| error.to_string(), |user| user.to_string())
/// }
/// # let _ = handler;
/// ```
#[cfg(feature = "axum")]
#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
pub mod extract {
    pub use crate::integration::ExtractError;
}
