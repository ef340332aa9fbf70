//! A JSON Web Token (RFC 7519) that is verified here, or believed nowhere.
//!
//! The rules are those of RFC 8725: each key is bound to its algorithms; issuer and audience
//! are checked unless they are waived by name; a token has to end; what is critical and not
//! understood is refused; the header's own keys and links to keys are never used. Types of tokens
//! are told apart where [`Jwt::token_type`] says which. Nothing of the claims is read before the
//! signature was found good, but for the name of the issuer where there are several, which only
//! chooses whose keys count.
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
mod cache;
mod claims;
mod der;
mod error;
mod future;
mod header;
mod identify;
mod issuer;
mod json;
mod jwk;
mod key;
mod key_set;
mod keys;
mod numeric_date;
mod options;
mod point;
mod problem;
mod provider;
mod remote;
mod revocation;
mod rsa;
mod secret;
mod settings;
mod skipped;
mod strategy;
mod typestate;
mod verified;
mod verify;

pub use self::{
    algorithm::Algorithm,
    builder::Jwt,
    cache::TokenCache,
    error::TokenError,
    future::JwtFuture,
    issuer::Issuer,
    key::Key,
    key_set::KeySet,
    keys::Keys,
    problem::{KeyError, TokenConfigError, TokenErrorKind},
    provider::CryptoProvider,
    remote::{FetchDocument, FetchError, Fetched, HttpsFetch, RemoteKeys, UrlProblem},
    typestate::{Stated, Unstated},
    verified::VerifiedToken,
};
pub use crate::token::{OfferedProtocol, TokenSource};
