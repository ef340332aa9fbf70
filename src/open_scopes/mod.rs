//! Lists, counts and ends the open scopes of a service.
//!
//! [`OpenScopes`] knows the scopes of every layer that was given it
//! ([`LayerBuilder::open_scopes`](crate::middleware::LayerBuilder::open_scopes)). It counts them, lists
//! them, and [revokes](OpenScopes::revoke) credentials: their open scopes end, and requests that begin
//! later with one of them are refused with 401.
//!
//! ```
//! use std::time::Duration;
//! use tower_user_scope::{
//!     ExistingContext, UserId, UserScopeLayer,
//!     context::Subject,
//!     open_scopes::{OpenScopes, Revocation},
//! };
//!
//! // As long as the longest life of a token.
//! let open = OpenScopes::new(Duration::from_secs(3_600));
//! let layer = UserScopeLayer::builder()
//!     .strategy(ExistingContext::new())
//!     .open_scopes(&open)
//!     .context_only()
//!     .build()?;
//!
//! // Alice's account is closed.
//! let alice = Subject::new("alice".parse::<UserId>()?);
//! let ended = open.revoke(Revocation::of_subject(alice.clone()))?;
//! assert_eq!((ended, open.count(&alice)), (0, 0));
//! # let _ = layer;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What ends, and how
//!
//! A scope that is revoked ends as at
//! [expiry](crate::middleware::LayerBuilder::end_scopes_at_expiry): an open body is cut off, in a way
//! that its client can tell, and [`UserContext::ended`](crate::UserContext::ended) is ready with the
//! reason. A handler that is at work goes on.
//!
//! # On every replica
//!
//! A registry is of one process. With [`OpenScopes::with_feed`], revocations travel to the registries
//! of other replicas and end scopes there too. The feed records them for as long as they are
//! remembered, so that a replica that was away, or that begins, gets what it has missed. Without a
//! feed, other replicas learn of nothing, and a restart forgets what was revoked.
//!
//! A replica that has lost the feed logs it, [says so](OpenScopes::is_connected), and lets requests
//! pass or refuses them, as [`OnFeedLost`] says. What was revoked on that replica counts there at once,
//! and is published when the feed is back.
//!
//! # What it does not replace
//!
//! Revocations are remembered for a time. What has to stay revoked is deleted where the credential is
//! checked: the session in its store, the token by [`Jwt::revoked_if`](crate::jwt::Jwt::revoked_if).
//! Do that first, and revoke here second: either one alone leaves a gap.

mod credential;
mod feed;
mod follow;
mod message;
mod registry;
mod replicas;
mod revocation;
mod revoked;

pub use self::{
    credential::Credential,
    feed::{FeedFuture, Follower, NoRoomError, OnFeedLost, RevocationFeed},
    registry::{OpenScope, OpenScopes, TooManyRevocationsError},
    revocation::Revocation,
};
