//! Refused requests: why one was refused, and the response for it.
//!
//! The response has what a client needs and nothing that helps an attacker. The [`Rejection`], in the
//! audit event and in the response's extensions for outer layers, has the rest.
//!
//! ```
//! use http::Response;
//! use tower_user_scope::Rejection;
//!
//! /// What an outer layer logs of a response.
//! fn reason<B>(response: &Response<B>) -> Option<String> {
//!     let rejection = response.extensions().get::<Rejection>()?;
//!     Some(rejection.to_string())
//! }
//! # let _ = reason::<()>;
//! ```

mod bearer;
mod challenge;
mod grpc;
pub(crate) mod kind;
mod login_redirect;
mod problem_json;
mod reason;
mod respond;

pub(crate) use self::grpc::Protocol;
#[cfg(feature = "tokio")]
pub(crate) use self::grpc::cut_off;
pub use self::{
    bearer::BearerChallenge,
    kind::RejectionKind,
    login_redirect::LoginRedirect,
    respond::{DefaultResponder, RespondToRejection},
};
pub(crate) use self::{
    bearer::LayersChallenge,
    challenge::challenges,
    kind::{FactoryErrorKind, Rejection},
};
