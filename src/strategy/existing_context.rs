//! Continues a context that is already in the request: of an outer layer, a test or a framework.

use std::future::Ready;

use http::request::Parts;

use super::{Outcome, Presence, Strategy};
use crate::{context::UserContext, maybe_future::MaybeFuture};

/// Continues the [`UserContext`] that is already in the request's extensions.
///
/// The identity, its evidence and all correlation ids stay as they are. A layer without this
/// strategy removes such a context at entry and believes nothing of it.
///
/// The context of an outer layer's [`Fallback`](crate::Fallback) or
/// [`DevelopmentUser`](crate::DevelopmentUser) is not a credential: it continues only if the
/// request has no credential of any other strategy of the list.
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
    pub(crate) const NAME: &'static str = "existing_context";

    /// Looks for a [`UserContext`] in the extensions.
    #[must_use]
    pub const fn new() -> Self {
        Self { _private: () }
    }
}

/// Returns the context, unless it is that of a fallback or a development user: those are not
/// credentials, and must not keep later strategies from reading what was sent.
fn credential(head: &Parts) -> Option<&UserContext> {
    let context = head.extensions.get::<UserContext>();
    context.filter(|context| !context.evidence().is_stand_in())
}

impl Strategy for ExistingContext {
    type Future = Ready<Outcome>;

    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn resolve(&self, head: &Parts) -> MaybeFuture<Self::Future> {
        MaybeFuture::ready(match credential(head) {
            Some(context) => context.continuing().into(),
            None => Outcome::Absent,
        })
    }

    fn presence(&self, head: &Parts) -> Presence {
        credential(head).is_some().into()
    }

    fn reads_existing_context(&self) -> bool {
        true
    }
}
