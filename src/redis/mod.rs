//! Replicas of a service that share what they know in Redis: revocations ([`RedisFeed`]), and the counts
//! of limits ([`RedisLimits`]).
//!
//! Both take a [`redis::Client`]. For `rediss://` addresses, add the crate `redis` with
//! one of its features for TLS, such as `tokio-rustls-comp`. What they write is in the keys that the
//! application names, which is all that a user of Redis' access control lists has to be allowed.

mod feed;
mod leases;
mod limits;
mod link;

pub use self::{feed::RedisFeed, limits::RedisLimits};
