//! Guides: what the reference doesn't say, with programs that compile.
//!
//! | guide | answers |
//! | --- | --- |
//! | [`choosing_strategies`] | which strategies, in which order, for which deployment |
//! | [`identity_headers`] | headers of proxies that have to be decoded, client certificates |
//! | [`recipes`] | roles, optional strategies and layers, transactions, gRPC health |
//! | [`threat_model`] | what the crate protects from, what it does not, and what it assumes |
//! | [`operating`] | log lines, levels, alerts, and how to debug a 401 |
//! | [`testing`] | tests of handlers, of the list, and of isolation |
//! | [`migrating`] | from a singleton to a factory for each request, in three phases |
//! | [`jobs_and_sockets`] | scopes of spawned work, WebSockets, event streams and gRPC |
//! | [`ending_scopes`] | what ends open streams, what clients see of it, and log-out at an identity provider |
//! | [`agents`] | how a whole backend is put together: sessions, keys, jobs, events, transactions |
//! | [`demo`] | which mistakes the demo shows, and what the layer does instead |
//! | [`performance`] | what the layer costs beside what others do |
//!
//! Each guide names the features that its programs need. `tests/guide` compiles and runs them.

#[doc = include_str!("choosing_strategies.md")]
pub mod choosing_strategies {}

#[doc = include_str!("identity_headers.md")]
pub mod identity_headers {}

#[doc = include_str!("recipes.md")]
pub mod recipes {}

#[doc = include_str!("threat_model.md")]
pub mod threat_model {}

#[doc = include_str!("operating.md")]
pub mod operating {}

#[doc = include_str!("testing.md")]
pub mod testing {}

#[doc = include_str!("migrating.md")]
pub mod migrating {}

#[doc = include_str!("jobs_and_sockets.md")]
pub mod jobs_and_sockets {}

#[doc = include_str!("ending_scopes.md")]
pub mod ending_scopes {}

#[doc = include_str!("agents.md")]
pub mod agents {}

#[doc = include_str!("demo.md")]
pub mod demo {}

#[doc = include_str!("performance.md")]
#[doc = include_str!("performance.svg")]
pub mod performance {}
