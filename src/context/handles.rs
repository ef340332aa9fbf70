//! What a layer put into the extensions beside the context, and its settings for checks.

use std::any::type_name;

use http::Extensions;

use crate::isolation::Checks;

/// What a layer put into the extensions beside the context, so that whoever removes the context
/// can remove the rest too.
#[derive(Clone, Copy)]
pub(crate) struct Handles {
    pub(super) factory: fn() -> &'static str,
    pub(super) remove: fn(&mut Extensions),
    /// Those of the layer, and of the layers around it.
    pub(super) checks: Checks,
}

impl Handles {
    pub(crate) const NONE: Self = Self {
        factory: type_name::<()>,
        remove: Self::nothing,
        checks: Checks::NONE,
    };

    fn nothing(_: &mut Extensions) {}

    pub(crate) const fn of<F>(remove: fn(&mut Extensions)) -> Self {
        Self {
            factory: type_name::<F>,
            remove,
            checks: Checks::NONE,
        }
    }

    pub(crate) fn with_checks(self, checks: Checks) -> Self {
        Self { checks, ..self }
    }
}
