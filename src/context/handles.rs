//! What a layer put into the extensions beside the context.

use std::any::type_name;

use http::Extensions;

/// What a layer put into the extensions beside the context, so that whoever removes the context
/// can remove the rest too.
#[derive(Clone, Copy)]
pub(crate) struct Handles {
    pub(super) factory: fn() -> &'static str,
    pub(super) remove: fn(&mut Extensions),
}

impl Handles {
    pub(crate) const NONE: Self = Self {
        factory: type_name::<()>,
        remove: Self::nothing,
    };

    fn nothing(_: &mut Extensions) {}

    pub(crate) const fn of<F>(remove: fn(&mut Extensions)) -> Self {
        Self {
            factory: type_name::<F>,
            remove,
        }
    }
}
