//! Where in a request a bearer token is.
//!
//! What is in a token, and who says that it is good, are the matter of the rooms above.

mod bearer;
mod source;
mod websocket;

pub use self::{source::TokenSource, websocket::OfferedProtocol};
