//! A strategy whose outcomes a test scripts.

use std::{
    fmt,
    future::Ready,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use http::request::Parts;

use crate::{
    maybe_future::MaybeFuture,
    strategy::{Outcome, Presence, Strategy},
};

/// A strategy that resolves requests with a closure, and counts them.
///
/// ```
/// use tower_user_scope::{Outcome, UserScopeLayer, testing::Scripted};
///
/// // The first call fails.
/// let store = Scripted::new(|nth| match nth {
///     0 => Outcome::Unavailable(tower_user_scope::UnavailableError::new(std::io::Error::other("down"))),
///     _ => Outcome::Absent,
/// });
/// let layer = UserScopeLayer::builder().strategy(store.clone()).context_only().build()?;
/// assert_eq!(store.calls(), 0);
/// # let _ = layer;
/// # Ok::<(), tower_user_scope::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct Scripted {
    script: Arc<dyn Fn(usize) -> Outcome + Send + Sync>,
    calls: Arc<AtomicUsize>,
    presence: Presence,
}

impl Scripted {
    /// Creates a strategy that calls `script` with the number of earlier calls. Its credential counts
    /// as sent.
    pub fn new(script: impl Fn(usize) -> Outcome + Send + Sync + 'static) -> Self {
        Self {
            script: Arc::new(script),
            calls: Arc::default(),
            presence: Presence::Sent,
        }
    }

    /// Sets whether its credential counts as sent.
    #[must_use]
    pub fn presence(mut self, presence: Presence) -> Self {
        self.presence = presence;
        self
    }

    /// Returns the number of calls of all clones.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

impl Strategy for Scripted {
    type Future = Ready<Outcome>;

    fn name(&self) -> &'static str {
        "scripted"
    }

    fn resolve(&self, _: &Parts) -> MaybeFuture<Self::Future> {
        MaybeFuture::ready((self.script)(self.calls.fetch_add(1, Ordering::SeqCst)))
    }

    fn presence(&self, _: &Parts) -> Presence {
        self.presence
    }
}

impl fmt::Debug for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scripted")
            .field("calls", &self.calls())
            .finish_non_exhaustive()
    }
}
