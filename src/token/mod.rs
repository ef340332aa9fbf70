//! Tokens: finds the one of a request, and remembers those that were checked.
//!
//! Knows nothing of what a token contains and who verifies it.
//!
//! ```
//! use tower_user_scope::token::{TokenCache, TokenSource};
//!
//! let source = TokenSource::cookie("__Host-token");
//! let limits = TokenCache::new().max_entries(1_000);
//! # let _ = (source, limits);
//! ```

mod authorization;
mod cache;
#[cfg(any(feature = "api-keys", feature = "introspection"))]
mod identities;
mod places;
mod source;
mod websocket;

#[cfg(feature = "jwt")]
pub(crate) use self::authorization::looks_like_jwt;
#[cfg(any(feature = "api-keys", feature = "introspection"))]
pub(crate) use self::identities::{Confirmed, ConfirmedIdentities};
pub use self::{cache::TokenCache, source::TokenSource, websocket::OfferedProtocol};
pub(crate) use self::{
    cache::{Fingerprint, VerdictCache, Weighed, fingerprint},
    places::TokenPlaces,
};
