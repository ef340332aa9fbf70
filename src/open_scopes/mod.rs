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
//! # What it does not know
//!
//! It is of one process. Other replicas have an `OpenScopes` of their own: send them what is revoked,
//! by a channel of the application's. A restart forgets what was revoked, so what has to stay revoked
//! is also deleted where the credential is checked: the session in its store, the token by
//! [`Jwt::revoked_if`](crate::jwt::Jwt::revoked_if).

mod credential;
mod registry;
mod revocation;
mod revoked;

pub use self::{
    credential::Credential,
    registry::{OpenScope, OpenScopes, TooManyRevocationsError},
    revocation::Revocation,
};
