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

    /// Tells clients what they have left: the responses of the inner service get the fields `RateLimit`
    /// and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers) for each limit that counted their
    /// request. By default refusals alone have them.
    ///
    /// `r` is what the subject may still use, and `t` after how many seconds it has all of a rate again.
    /// Users of a tenant that are counted together see what all of them have left. No field names the
    /// subject.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_user_scope::{ExistingContext, UserScopeLayer, limit::{Limit, Rate}};
    ///
    /// // RateLimit-Policy: "requests";q=600;w=60
    /// // RateLimit: "requests";r=599;t=1
    /// let layer = UserScopeLayer::builder()
    ///     .strategy(ExistingContext::new())
    ///     .limit(Limit::rate("requests", Rate::new(600, Duration::from_secs(60))))
    ///     .return_rate_limits()
    ///     .context_only()
    ///     .build()?;
    /// # let _ = layer;
    /// # Ok::<(), tower_user_scope::ConfigError>(())
    /// ```
    pub fn return_rate_limits(mut self) -> Self {
        self.settings.subject_limits.set_returned();
        self
    }
}
