//! Takes the user from a header that a proxy sets, if the sender is trusted.
//!
//! No RFC defines such a header: it is a contract between a proxy and a service, and only as safe as
//! the check of its sender.

mod builder;
mod field;
mod resolve;
mod trust;
mod trusted_fields;

pub use self::{
    builder::{TrustedHeader, Trusting, WantsTrust},
    trust::Trust,
    trusted_fields::TrustedFields,
};
