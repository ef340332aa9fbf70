//! What is said instead of an answer: why no factory was built, and the response for it.
//!
//! The response tells a client what to do next and an attacker nothing; the
//! [`Rejection`] in the audit event, and in the response's extensions for outer layers, tells
//! the rest.

mod challenge;
mod grpc;
mod problem;
mod reason;
mod respond;

pub(crate) use self::challenge::challenges;
pub use self::{
    reason::{FactoryFailure, Reason, Rejection},
    respond::{DefaultResponse, RespondToRejection},
};
