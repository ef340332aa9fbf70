//! The response: its body, and how its end closes the scope.

mod body;
#[cfg(feature = "tokio")]
mod cut;
mod end;
mod error;

pub(crate) use self::end::{Expects, close_with_body};
pub use self::{body::ResponseBody, error::BodyError};
