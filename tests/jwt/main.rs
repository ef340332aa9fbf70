//! Tokens and the keys that verify them, one file for each promise.
//!
//! `tokens` mints them, and `issuer` is a server that publishes keys.

mod accepted;
mod actors;
mod attacks;
mod claims;
mod clock;
mod ended_sessions;
mod grants;
mod issuer;
mod issuers;
mod jwks;
mod jwks_hostile;
mod jwks_http;
mod jwks_liveness;
mod keys;
mod peers;
mod places;
mod presets;
mod raw;
mod revoked;
mod tokens;
mod vectors;
