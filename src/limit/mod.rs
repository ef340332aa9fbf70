//! Limits by subject: how much of the service one user may use at a time, and how fast.
//!
//! A [`Limit`] is a [rate](Limit::rate) or a number of scopes that may be open at once
//! ([`concurrency`](Limit::concurrency)). It counts by subject: principal and tenant. A request is
//! counted after `authorize` and before its factory is built. Above the limit it is refused with
//! 429 and a [`LimitError`]; one subject's limit never changes what another subject sees.
//!
//! ```
//! use std::time::Duration;
//! use tower_user_scope::{ExistingContext, UserScopeLayer, limit::{Limit, Rate}};
//!
//! let layer = UserScopeLayer::builder()
//!     .strategy(ExistingContext::new())
//!     .limit(Limit::rate("requests", Rate::new(600, Duration::from_secs(60)).with_burst(50)))
//!     .limit(
//!         Limit::concurrency("event-streams", 4)
//!             .only(|_user, head| head.uri.path().starts_with("/events")),
//!     )
//!     .context_only()
//!     .build()?;
//! # let _ = layer;
//! # Ok::<(), tower_user_scope::ConfigError>(())
//! ```
//!
//! # What is given back, and when
//!
//! The slot of a concurrency limit is given back when the *scope* closes, after its factory is
//! dropped: at the end of the response's body, so an event stream or a gRPC stream holds its slot
//! for as long as it is open, or at the end of an upgraded connection. It is given back however the
//! scope ends. What a rate limit has counted is not given back. A layer with `context_only` has no
//! handle that an upgraded connection could hold, so its slot comes back at the upgrade.
//!
//! Concurrency limits are asked first, and those in a [store](Limit::in_store) last. A request that
//! one limit refuses gives back its slots of the others.
//!
//! # On several replicas
//!
//! A limit counts in its own process, so that three replicas let three times as much pass. Counted in a
//! [store](Limit::in_store) that they share, it holds for all of them together; with the feature
//! `redis`, `redis::RedisLimits` is one. [`OnUnavailable`] says what becomes of requests without it.
//!
//! # Whose use it is
//!
//! Requests of [`Principal::Anonymous`](crate::Principal::Anonymous) are counted by the peer's
//! address, those of an IPv6 network of 64 bits together, and those without a known address
//! together. Behind a proxy the peer is the proxy: give visitors an id
//! ([`Principal::Visitor`](crate::Principal::Visitor)), or leave them out with
//! [`only`](Limit::only).
//!
//! # What clients are told
//!
//! A refusal has `Retry-After`, and the fields `RateLimit` and `RateLimit-Policy` of
//! draft-ietf-httpapi-ratelimit-headers for its limit. With
//! [`return_rate_limits`](crate::middleware::LayerBuilder::return_rate_limits), other responses have the
//! fields for each limit that counted their request.
//!
//! # Memory
//!
//! A rate limit takes about 17 bytes for each of [`remember`](Limit::remember) subjects, 1.1 MiB
//! by default, however many subjects there are. Where more are active, it forgets a subject that
//! has used least. A concurrency limit takes memory for scopes that are open, and none for others.

mod config;
mod counted;
mod error;
mod fields;
mod gcra;
mod limits;
mod quota;
mod slots;
mod store;
mod take;

pub use self::{
    config::Limit,
    error::LimitError,
    quota::{Quota, Rate},
    store::{LimitStore, OnUnavailable, TakeAllFuture, TakeFuture, Taken},
};
pub(crate) use self::{
    limits::Limits,
    take::{Granted, Refusal, TakeAll},
};
