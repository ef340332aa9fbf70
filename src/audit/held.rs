//! Handles of a factory that outlived its scope, to be counted again later.

use std::{fmt, sync::Arc};

/// Counts the handles of a factory that are still held after its scope has closed.
///
/// A task that the request joined or spawned may end a moment after the scope; its handle is
/// reported and then gone. What is still held when the service is idle was captured.
#[derive(Clone)]
pub struct HeldFactory(Arc<dyn Fn() -> usize + Send + Sync>);

impl HeldFactory {
    pub(crate) fn new(holders: impl Fn() -> usize + Send + Sync + 'static) -> Self {
        Self(Arc::new(holders))
    }

    /// Returns how many handles are held now, without those that
    /// [`Scoped::keep`](crate::Scoped::keep) returned.
    ///
    /// While the event is observed, the scope's own handle is one of them.
    #[must_use]
    pub fn holders(&self) -> usize {
        (self.0)()
    }
}

impl fmt::Debug for HeldFactory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HeldFactory").field(&self.holders()).finish()
    }
}
