//! What a scope knows of a request's factory: nothing but who holds it.

use std::{any::Any, sync::Arc};

/// A request's factory without its type.
pub(crate) trait Handle: Any + Send + Sync {
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
    fn factory(&self) -> &'static str;
    /// How many hold the factory itself, without the handle, where handlers find it so.
    fn bare_holders(&self) -> usize;
    /// How many handles are kept on purpose.
    fn kept_handles(&self) -> usize;
    /// Keeps a scope, or whatever else it is given, until the last handle is gone.
    fn keep_open(&self, scope: Box<dyn Any + Send + Sync>);
}
