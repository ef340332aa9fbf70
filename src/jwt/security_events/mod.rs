//! Tokens by which an issuer says that sessions of a user have ended: log-out tokens of OpenID Connect,
//! and security event tokens (RFC 8417).
//!
//! Knows nothing of open scopes beyond what names them: it says who and when.

mod ended;
mod error;
mod logout;
mod revoked;
mod seen;
mod verifier;

pub use self::{
    ended::EndedSessions, error::EventTokenError, logout::LogoutTokens,
    revoked::SessionRevokedEvents,
};
