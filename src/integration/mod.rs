//! What servers call things: axum's extractors, tonic's accessors and statuses.
//!
//! Nothing else in the crate knows a server, but for `peer::servers`, which reads the address of
//! the connection.

#[cfg(feature = "axum")]
mod axum;
#[cfg(feature = "tonic")]
mod tonic;

#[cfg(feature = "axum")]
pub use self::axum::ExtractError;
