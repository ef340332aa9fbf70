//! When a scope has to end before its work does, and what wakes those that wait for it.
//!
//! Knows nothing of scopes and of who acts.

#[cfg(feature = "open-scopes")]
use std::any::Any;
use std::{
    fmt,
    future::{Future, pending, poll_fn},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
    time::SystemTime,
};

use tokio::sync::Notify;

use crate::clock::Clock;

/// Why a scope had to end before its work: the identity that opened it has ended.
///
/// ```
/// use tower_user_scope::scope::EndReason;
///
/// assert_eq!(EndReason::Expired.as_str(), "expired");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EndReason {
    /// The identity has expired, such as by the `exp` of a token.
    Expired,
    /// The user has logged out.
    #[cfg(feature = "open-scopes")]
    #[cfg_attr(docsrs, doc(cfg(feature = "open-scopes")))]
    LoggedOut,
    /// The credential, or everything of its user's, was revoked.
    #[cfg(feature = "open-scopes")]
    #[cfg_attr(docsrs, doc(cfg(feature = "open-scopes")))]
    Revoked,
}

impl EndReason {
    /// Returns the reason in one lower-case word, for clients and telemetry.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            #[cfg(feature = "open-scopes")]
            Self::LoggedOut => "logged_out",
            #[cfg(feature = "open-scopes")]
            Self::Revoked => "revoked",
        }
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The life of an identity in one scope. Clones share it.
#[derive(Clone)]
pub(crate) struct Lifetime(Arc<Shared>);

struct Shared {
    clock: Arc<dyn Clock>,
    /// Whether it ends at the expiry of its identity.
    at_expiry: bool,
    state: Mutex<State>,
    changed: Notify,
}

struct State {
    expires_at: Option<SystemTime>,
    /// Set where it ended before that.
    ended: Option<EndReason>,
    /// The credential that it was renewed with, of a type that this room does not know.
    #[cfg(feature = "open-scopes")]
    credential: Option<Arc<dyn Any + Send + Sync>>,
}

impl State {
    fn end(&self, clock: &dyn Clock) -> Option<EndReason> {
        let has_expired = || self.expires_at.is_some_and(|end| end <= clock.now());
        self.ended
            .or_else(|| has_expired().then_some(EndReason::Expired))
    }
}

impl Lifetime {
    /// Begins a life that ends at `expires_at`, if it ends at expiry at all.
    pub(crate) fn new(
        clock: Arc<dyn Clock>,
        expires_at: Option<SystemTime>,
        at_expiry: bool,
    ) -> Self {
        let state = State {
            expires_at: expires_at.filter(|_| at_expiry),
            ended: None,
            #[cfg(feature = "open-scopes")]
            credential: None,
        };
        Self(Arc::new(Shared {
            clock,
            at_expiry,
            state: Mutex::new(state),
            changed: Notify::new(),
        }))
    }

    /// Returns why the life has ended, if it has.
    pub(crate) fn end(&self) -> Option<EndReason> {
        self.state().end(&*self.0.clock)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        let state = self.0.state.lock();
        state.unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves the end, unless it has come.
    pub(crate) fn renew(&self, expires_at: Option<SystemTime>) -> Result<(), EndReason> {
        {
            let mut state = self.state();
            if let Some(reason) = state.end(&*self.0.clock) {
                return Err(reason);
            }
            state.expires_at = expires_at.filter(|_| self.0.at_expiry);
        }
        self.0.changed.notify_waiters();
        Ok(())
    }

    /// Remembers the credential that the life was renewed with.
    #[cfg(feature = "open-scopes")]
    pub(crate) fn set_credential(&self, credential: Arc<dyn Any + Send + Sync>) {
        self.state().credential = Some(credential);
    }

    /// Returns the credential that the life was renewed with, if it was.
    #[cfg(feature = "open-scopes")]
    pub(crate) fn credential(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        self.state().credential.clone()
    }

    /// Ends the life. The first reason stays.
    #[cfg(feature = "open-scopes")]
    pub(crate) fn end_as(&self, reason: EndReason) {
        self.state().ended.get_or_insert(reason);
        self.0.changed.notify_waiters();
    }

    /// Waits for the end, with one timer.
    pub(crate) async fn ended(self) -> EndReason {
        loop {
            let mut changed = pin!(self.0.changed.notified());
            // Before the state is looked at: a change in between wakes it.
            changed.as_mut().enable();
            let expires_at = self.state().expires_at;
            if let Some(reason) = self.end() {
                return reason;
            }
            let clock = &self.0.clock;
            let mut timer = pin!(async {
                match expires_at {
                    Some(end) => clock.wait_until(end).await,
                    None => pending().await,
                }
            });
            poll_fn(|cx| match timer.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(()),
                Poll::Pending => changed.as_mut().poll(cx),
            })
            .await;
        }
    }
}
