//! The response: its body, and how its end closes the scope.

mod body;
#[cfg(feature = "tokio")]
mod cut;
mod end;

pub use self::body::ResponseBody;
pub(crate) use self::end::{Expects, close_with_body};
