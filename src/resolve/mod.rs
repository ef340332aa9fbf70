//! The engine: asks the strategies of a list in order, and makes one answer of theirs.
//!
//! It knows strategies and the audit. It knows nothing of factories, scopes or responses.

mod boxed;
mod explain;
pub(crate) mod list;
mod refused;
mod removed;
mod resolver;
mod tally;
mod tenant;
mod trailer;

pub use self::{
    explain::Explanation,
    list::{Empty, StrategyList, Then, ThenEach},
};
use self::{explain::Steps, removed::Removed, tally::Asking};
pub(crate) use self::{
    list::Progress,
    refused::Refused,
    resolver::Resolver,
    tally::{Rule, Tally},
    tenant::TenantRule,
};
