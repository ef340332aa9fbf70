//! Verifies JSON Web Tokens (RFC 7519) and takes the user from their claims.
//!
//! Verification follows RFC 8725:
//!
//! - Each key is bound to its algorithms.
//! - Issuer and audience are checked, unless a method named `dangerously_..` waives the check.
//! - A token without `exp` is refused, and so is one with a critical header parameter.
//! - Keys in a token's own header, and links to keys, are never used.
//! - [`Jwt::token_type`] checks `typ`.
//! - Claims are read after the signature was verified. The exception is `iss` where there are
//!   several issuers: it selects the keys that may verify the token.
//!
//! ```
//! use tower_user_scope::{UserScopeLayer, jwt::{Algorithm, Jwt, Key}};
//!
//! # fn layer(public_key: &str) -> Result<(), Box<dyn std::error::Error>> {
//! let layer = UserScopeLayer::builder()
//!     .strategy(
//!         Jwt::new(Key::from_pem(Algorithm::ES256, public_key)?)
//!             .issuer("https://id.example")
//!             .audience("api"),
//!     )
//!     .context_only()
//!     .build()?;
//! # let _ = layer;
//! # Ok(())
//! # }
//! ```

mod algorithm;
mod builder;
mod claims;
mod der;
mod error;
mod error_kind;
mod fetched;
mod grants;
mod header;
mod identify;
mod issuer;
mod issuers;
mod json;
mod jwk;
mod key;
mod key_set;
mod keys;
mod numeric_date;
mod options;
mod point;
pub mod presets;
mod provider;
mod published;
mod remote;
mod requirement;
mod revocation;
mod rsa;
mod secret;
#[cfg(feature = "open-scopes")]
mod security_events;
mod settings;
mod skipped;
mod strategy;
mod typestate;
mod verified;
mod verify;

#[cfg(feature = "open-scopes")]
#[cfg_attr(docsrs, doc(cfg(feature = "open-scopes")))]
pub use self::security_events::{
    EndedSessions, EventTokenError, LogoutTokens, SessionRevokedEvents,
};
pub use self::{
    builder::Jwt,
    error::TokenError,
    error_kind::TokenErrorKind,
    issuer::Issuer,
    issuers::Issuers,
    key::Key,
    key_set::KeySet,
    keys::Keys,
    provider::CryptoProvider,
    remote::{FetchDocument, FetchError, Fetched, HttpsFetch, RemoteKeys},
    typestate::{HasAudience, HasIssuer, WantsAudience, WantsIssuer},
    verified::VerifiedToken,
};
#[cfg(feature = "introspection")]
pub(crate) use self::{
    claims::Claims,
    error::truncated,
    identify::{ContextClaim, Identify},
    remote::{PlainHttp, Source, body, bounded, checked, redacted, send, timer},
    requirement::Requirement,
    verify::unix_seconds,
};
pub use crate::config_error::{Algorithm, KeyError, TokenConfigError, UrlProblem};
