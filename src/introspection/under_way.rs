//! Lets concurrent requests with the same token share one call.

use std::{
    collections::HashMap,
    fmt,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::OnceCell;

use crate::token::Fingerprint;

/// The calls that are under way, by the digest of their token.
pub(super) struct UnderWay<T> {
    calls: Mutex<Calls<T>>,
}

type Calls<T> = HashMap<Fingerprint, Arc<OnceCell<T>>>;

impl<T: Clone> UnderWay<T> {
    pub(super) fn new() -> Self {
        Self {
            calls: Mutex::default(),
        }
    }

    fn calls(&self) -> MutexGuard<'_, Calls<T>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the result of the call about this token that is under way, or makes the call.
    ///
    /// If the request that makes the call is cancelled, one of the requests that wait makes it again.
    pub(super) async fn join(&self, token: Fingerprint, call: impl Future<Output = T>) -> T {
        let waiting = Waiting {
            all: self,
            token,
            shared: Some(Arc::clone(self.calls().entry(token).or_default())),
        };
        match &waiting.shared {
            Some(shared) => shared.get_or_init(|| call).await.clone(),
            None => unreachable!("the shared is taken when the value is dropped"),
        }
    }
}

impl<T> fmt::Debug for UnderWay<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnderWay").finish_non_exhaustive()
    }
}

/// A request that waits for a call.
struct Waiting<'a, T: Clone> {
    all: &'a UnderWay<T>,
    token: Fingerprint,
    /// Taken when the value is dropped.
    shared: Option<Arc<OnceCell<T>>>,
}

impl<T: Clone> Drop for Waiting<'_, T> {
    /// Removes the call if it has ended, or if no other request waits for it. Later requests do not
    /// get its result.
    fn drop(&mut self) {
        let mut calls = self.all.calls();
        // Dropped before the lock is released, so that the count is right for the next one.
        let Some(shared) = self.shared.take() else {
            return;
        };
        let is_ours = calls
            .get(&self.token)
            .is_some_and(|it| Arc::ptr_eq(it, &shared));
        if is_ours && (shared.initialized() || Arc::strong_count(&shared) == 2) {
            calls.remove(&self.token);
        }
    }
}
