//! A request's factory without its type, with the number of its holders, for its scope.

use std::{any::Any, sync::Arc};

use super::state::ScopeState;

/// A request's factory without its type.
pub(crate) trait Handle: Any + Send + Sync {
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
    fn factory(&self) -> &'static str;
    /// Returns the state of the scope of the factory's request.
    fn state(&self) -> &ScopeState;
    /// Returns the number of holders of the bare `Arc` that is inserted beside the handle.
    fn bare_holders(&self) -> usize;
    /// Returns the number of handles that are kept on purpose.
    fn kept_handles(&self) -> usize;
    /// Keeps a scope, or another value, until the last handle is dropped.
    fn keep_open(&self, scope: Box<dyn Any + Send + Sync>);
}
