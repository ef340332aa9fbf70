//! Where a context keeps the life of its scope.

#[cfg(feature = "tokio")]
use std::sync::OnceLock;

#[cfg(feature = "tokio")]
use crate::lifetime::Lifetime;

/// The life of a context's scope, if its layer ends scopes when their identity ends.
#[derive(Default)]
pub(crate) struct Life {
    #[cfg(feature = "tokio")]
    lifetime: OnceLock<Lifetime>,
}

#[cfg(feature = "tokio")]
impl Life {
    /// Sets it, unless it is that of an outer layer's context.
    pub(crate) fn begin(&self, lifetime: impl FnOnce() -> Lifetime) {
        self.lifetime.get_or_init(lifetime);
    }

    pub(crate) fn get(&self) -> Option<&Lifetime> {
        self.lifetime.get()
    }

    /// Makes it that of a context that goes on as this one.
    pub(super) fn share(&self, other: &Self) {
        if let Some(lifetime) = other.get() {
            self.begin(|| lifetime.clone());
        }
    }
}

#[cfg(not(feature = "tokio"))]
impl Life {
    #[expect(clippy::unused_self, reason = "there is none without timers")]
    pub(super) fn share(&self, _: &Self) {}
}
