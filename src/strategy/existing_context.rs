//! A context that is already there: an outer layer's, a test's, a framework's.

use std::future::Ready;

use http::request::Parts;

use super::{Outcome, Presence, Strategy};
use crate::{
    context::{Identity, UserContext},
    eventually::Eventually,
};

/// Continues the [`UserContext`] that is already in the request's extensions.
///
/// The identity, its evidence and all correlation ids stay as they are. A layer without this
/// strategy removes such a context at entry and believes nothing of it.
///
/// ```
/// use tower_user_scope::{ExistingContext, UserScopeLayer};
///
/// let layer = UserScopeLayer::builder()
///     .strategy(ExistingContext::new())
///     .context_only()
///     .build()?;
/// # let _ = layer;
/// # Ok::<(), tower_user_scope::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct ExistingContext {
    _private: (),
}

impl ExistingContext {
    /// Looks for a [`UserContext`] in the extensions.
    #[must_use]
    pub const fn new() -> Self {
        Self { _private: () }
    }
}

impl Strategy for ExistingContext {
    type Future = Ready<Outcome>;

    fn name(&self) -> &'static str {
        "existing_context"
    }

    fn resolve(&self, head: &Parts) -> Eventually<Self::Future> {
        Eventually::now(match head.extensions.get::<UserContext>() {
            Some(context) => Identity::continuing(context).into(),
            None => Outcome::Absent,
        })
    }

    fn presence(&self, head: &Parts) -> Presence {
        head.extensions.get::<UserContext>().is_some().into()
    }

    fn reads_existing_context(&self) -> bool {
        true
    }
}
