//! Tower middleware that finds out whose request it is, and hands the handler a fresh factory
//! for that user.
//!
//! A service with more than one user needs to know who asks, and must never let what it builds
//! for one user be seen by another. [`UserScopeLayer`] does both at the edge: it resolves the
//! request's [`UserContext`] through an ordered list of [strategies](strategy), builds the
//! application's own factory for that context, and puts a [`Scoped`] handle to it into the
//! request's extensions. Whatever can't be resolved is refused before the inner service sees it.
//!
//! ```
//! use std::{convert::Infallible, sync::Arc};
//!
//! use http::{Request, Response, StatusCode};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//! use tower_user_scope::{PeerAddr, TrustedHeader, UserContext, UserScopeExt, UserScopeLayer};
//!
//! /// What all users share.
//! struct Infrastructure;
//!
//! /// What each request gets.
//! struct AgentFactory {
//!     infrastructure: Arc<Infrastructure>,
//!     user: UserContext,
//! }
//!
//! async fn run_agent(request: Request<()>) -> Result<Response<String>, Infallible> {
//!     Ok(match request.scoped::<AgentFactory>() {
//!         Ok(agents) => Response::new(format!("{:?}", agents.user.user_id())),
//!         Err(missing) => panic!("{missing}"),
//!     })
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let infrastructure = Arc::new(Infrastructure);
//! let layer = UserScopeLayer::builder()
//!     .strategy(TrustedHeader::new("x-user-id").from_proxies(["10.0.0.0/8"])?)
//!     .factory(move |user| AgentFactory {
//!         infrastructure: infrastructure.clone(),
//!         user: user.clone(),
//!     })
//!     .build()?;
//! let mut service = ServiceBuilder::new().layer(layer).service(service_fn(run_agent));
//!
//! // From the proxy, the header is believed.
//! let mut request = Request::new(());
//! request.headers_mut().insert("x-user-id", "alice".parse()?);
//! request.extensions_mut().insert(PeerAddr("10.0.0.7:4711".parse()?));
//! let response = service.ready().await?.call(request.clone()).await?;
//! assert_eq!(response.status(), StatusCode::OK);
//!
//! // From anybody else, it is not.
//! request.extensions_mut().insert(PeerAddr("203.0.113.9:4711".parse()?));
//! let response = service.ready().await?.call(request).await?;
//! assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
//! # Ok(())
//! # }
//! ```
//!
//! # The rules
//!
//! - **A credential that is there and bad ends the list.** It never falls through to a weaker
//!   source; [`Strategy::optional`](strategy::Strategy::optional) is the audited way to say otherwise.
//! - **A fallback is never a user**, and acts only where nothing at all was sent:
//!   [`Strategy::presence`](strategy::Strategy::presence) is asked again before it may.
//! - **An identity header is believed only from somewhere**, and removed on every path on which
//!   it was not believed; see [`TrustedHeader`].
//! - **What is asserted and what is proved stay apart**: [`Evidence`](context::Evidence) says which, and
//!   [`LayerBuilder::require_proved`](middleware::LayerBuilder::require_proved) asks for proof.
//! - **A store that is down is 503**, not "nobody".
//! - **Nothing is waited for for ever**: a strategy or a step that takes longer than its
//!   [time limit](middleware::LayerBuilder::time_limit) is 503.
//! - **The response tells an attacker nothing**; the [`AuditEvent`](audit::AuditEvent) tells the operator
//!   everything but the credential.
//!
//! # What is built
//!
//! The factory is the application's own type. Shared infrastructure goes into the closure that
//! builds it; the user comes in through the [`UserContext`] of each request. Sync and async
//! closures, [an own type](factory::MakeFactory) and a [lazy](factory::Lazy) form are choices of the
//! [`LayerBuilder`](middleware::LayerBuilder).
//!
//! # Cost
//!
//! The list is a type. A strategy that answers at once costs no box, no lock and no await, and
//! on that path the inner service that was polled ready is called in place, without a clone.
//! Ids that nobody reads are never made.
//!
//! # Features
//!
//! | feature | default | gives |
//! | --- | --- | --- |
//! | `proxies` | yes | [`TrustedHeader::from_proxies`] and [`shared_secret`](TrustedHeader::shared_secret) |
//! | `ids` | yes | version 7 UUIDs as request ids, ids of users in every script and from query parameters, `serde` for ids, [`PortableContext`](context::PortableContext) |
//! | `tokio` | | time limits ([`LayerBuilder::time_limit`](middleware::LayerBuilder::time_limit), [`Strategy::timeout`](strategy::Strategy::timeout)), [`scope::spawn`], streams in scope, [`factory::LazyAsync`] |
//! | `axum` | | extractors, axum's `ConnectInfo` as the peer's address |
//! | `tonic` | | [`UserScopeExt`] on `tonic::Request`, `TcpConnectInfo` as the peer's address |
//! | `jwt` | | [`jwt::Jwt`]: verified JSON Web Tokens, with keys that issuers publish; with one of the next two |
//! | `aws-lc-rs` | | [`CryptoProvider::aws_lc_rs`](jwt::CryptoProvider::aws_lc_rs), the fast one |
//! | `rust-crypto` | | [`CryptoProvider::rust_crypto`](jwt::CryptoProvider::rust_crypto), in Rust alone |
//! | `session` | | [`session::SessionCookie`] and [`session::FromSession`]: stores of `tower-sessions-core` 0.15 and 0.14 |
//! | `telemetry` | | [`UserIdTelemetry::Hashed`](audit::UserIdTelemetry::Hashed): user ids in logs as a keyed hash |
//! | `testing` | | for `[dev-dependencies]`, [`testing`]: requests as a user, a recorder, an isolation check |
//! | `full` | | all of these but `rust-crypto` and `testing` |
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    not(test),
    warn(clippy::unwrap_used, clippy::expect_used, clippy::panic)
)]

mod accessors;
pub mod audit;
pub mod authorize;
mod builder;
pub mod clock;
mod config_error;
pub mod context;
#[cfg(any(feature = "jwt", feature = "session"))]
mod cookies;
mod ending;
pub mod factory;
mod future;
#[cfg(all(doc, not(doctest)))]
pub mod guide;
mod header_set;
mod integration;
#[cfg(feature = "jwt")]
#[cfg_attr(docsrs, doc(cfg(feature = "jwt")))]
pub mod jwt;
mod layer;
mod maybe_future;
mod outcome;
mod peer;
mod policy;
pub mod rejection;
mod resolve;
mod response;
pub mod scope;
mod service;
#[cfg(feature = "session")]
#[cfg_attr(docsrs, doc(cfg(feature = "session")))]
pub mod session;
mod stage;
pub mod strategy;
mod stripped;
#[cfg(feature = "testing")]
#[cfg_attr(docsrs, doc(cfg(feature = "testing")))]
pub mod testing;
mod time_limit;
#[cfg(feature = "jwt")]
mod token;
mod trailers;
mod violation;
mod waiting;

pub use self::{
    accessors::{MissingScopeError, UserScopeExt},
    config_error::ConfigError,
    context::{
        identity::{Identity, Principal},
        ids::UserId,
        user_context::UserContext,
    },
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
pub mod middleware {
    pub use crate::{
        builder::LayerBuilder,
        future::ResponseFuture,
        resolve::{Empty, StrategyList, Then, ThenEach},
        response::ResponseBody,
        service::UserScope,
        trailers::WithoutTrailers,
    };
}

/// Why a request would be resolved as it is: what `UserScopeLayer::explain` returns.
pub mod explain {
    pub use crate::resolve::Explanation;
}

/// The extractors' rejection, for axum.
#[cfg(feature = "axum")]
#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
pub mod extract {
    pub use crate::integration::ExtractError;
}
