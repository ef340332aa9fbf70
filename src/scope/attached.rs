//! What goes with a scope from before it opens.

use std::any::Any;

use http::HeaderMap;

/// What is dropped when a scope closes, and what its response gets.
#[derive(Default)]
pub(crate) struct Attached {
    /// Dropped after the factory, such as the slots of limits.
    until_closed: Option<Box<dyn Any + Send + Sync>>,
    fields: Option<Box<HeaderMap>>,
}

impl Attached {
    /// Sets what is dropped when the scope closes, and fields of its response.
    #[cfg(feature = "limit")]
    pub(crate) fn new(
        until_closed: Option<Box<dyn Any + Send + Sync>>,
        fields: Option<Box<HeaderMap>>,
    ) -> Self {
        Self {
            until_closed,
            fields,
        }
    }

    /// Adds what is dropped before the rest.
    #[cfg(feature = "open-scopes")]
    pub(crate) fn and(mut self, first: impl Any + Send + Sync) -> Self {
        self.until_closed = Some(match self.until_closed.take() {
            None => Box::new(first),
            Some(rest) => Box::new((first, rest)),
        });
        self
    }

    pub(super) fn is_empty(&self) -> bool {
        self.until_closed.is_none() && self.fields.is_none()
    }

    pub(super) fn take_fields(&mut self) -> Option<Box<HeaderMap>> {
        self.fields.take()
    }
}
