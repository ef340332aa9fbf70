//! The engine: asks the strategies of a list in order, and makes one answer of theirs.
//!
//! It knows strategies and the audit. It knows nothing of factories, scopes or responses.

mod explain;
pub(crate) mod list;
mod removed;
mod tally;

pub use self::{
    explain::Explanation,
    list::{Empty, StrategyList, Then, ThenEach},
};
pub(crate) use self::{
    explain::Steps,
    list::Progress,
    removed::Removed,
    tally::{Asking, Rule, Tally},
};
