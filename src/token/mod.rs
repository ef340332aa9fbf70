//! Finds the bearer token of a request.
//!
//! Knows nothing of what a token contains and who verifies it.

mod bearer;
mod source;
mod websocket;

pub use self::{source::TokenSource, websocket::OfferedProtocol};
