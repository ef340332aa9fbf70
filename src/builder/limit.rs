//! The builder's method for limits by subject.

use super::LayerBuilder;
use crate::limit::Limit;

/// # Limits
#[cfg_attr(docsrs, doc(cfg(feature = "limit")))]
impl<L, M, A> LayerBuilder<L, M, A> {
    /// Adds a limit on what each subject may use. Requests above it are refused with 429, and build
    /// no factory; see [`limit`](crate::limit).
    ///
    /// The names of a layer's limits differ. Clones of the layer share the counts, and two layers
    /// count apart.
    ///
    /// ```
    /// use tower_user_scope::{ExistingContext, UserScopeLayer, limit::Limit};
    ///
    /// let layer = UserScopeLayer::builder()
    ///     .strategy(ExistingContext::new())
    ///     .limit(Limit::concurrency("open-requests", 16))
    ///     .context_only()
    ///     .build()?;
    /// # let _ = layer;
    /// # Ok::<(), tower_user_scope::ConfigError>(())
    /// ```
    pub fn limit(mut self, limit: Limit) -> Self {
        self.settings.subject_limits.add(limit);
        self
    }
}
