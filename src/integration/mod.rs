//! Integration with servers: axum's extractors, tonic's accessors and statuses.
//!
//! No other room knows a server, except `peer::servers`, which reads the address of the connection.

#[cfg(feature = "axum")]
mod axum;
#[cfg(feature = "tonic")]
mod tonic;

#[cfg(feature = "axum")]
pub use self::axum::ExtractError;
