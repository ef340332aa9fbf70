//! What is said instead of an answer: why no factory was built, and the response for it.
//!
//! The response tells a client what to do next and an attacker nothing; the
//! [`Rejection`] in the audit event, and in the response's extensions for outer layers, tells
//! the rest.

mod challenge;
mod grpc;
pub(crate) mod kind;
mod problem;
mod respond;

pub(crate) use self::{
    challenge::challenges,
    kind::{FactoryErrorKind, Rejection},
};
pub use self::{
    kind::RejectionKind,
    respond::{DefaultResponder, RespondToRejection},
};
