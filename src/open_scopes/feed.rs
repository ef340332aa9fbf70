//! What carries revocations from one replica to the others.

use std::{
    fmt,
    future::Future,
    mem,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use thiserror::Error;
use tokio::sync::watch;

use crate::{measured, outcome::UnavailableError};

/// Carries what is revoked to the other replicas, for [`OpenScopes::with_feed`](super::OpenScopes::with_feed).
/// With the feature `redis`, `redis::RedisFeed` is one.
///
/// It carries messages, which it does not look into, and records each for a time, so that a replica
/// that was away, or begins, gets what it has missed. [`OpenScopes`](super::OpenScopes) writes and
/// checks the messages, connects again after an error, and publishes again what was not published.
///
/// Who can write to the feed can end the scopes of everybody, and who can read it sees ids of subjects
/// and of revoked sessions and tokens: it belongs where the session store does.
///
/// ```
/// use std::{sync::{Arc, Mutex, PoisonError}, time::Duration};
/// use tokio::sync::watch;
/// use tower_user_scope::{
///     UnavailableError,
///     open_scopes::{FeedFuture, Follower, RevocationFeed},
/// };
///
/// /// Carries messages within a process, and records them for ever: for an example only.
/// #[derive(Clone)]
/// struct InProcess(watch::Sender<Vec<String>>);
///
/// impl RevocationFeed for InProcess {
///     fn publish(&self, message: String, _keep_for: Duration) -> FeedFuture<Result<(), UnavailableError>> {
///         self.0.send_modify(|record| record.push(message));
///         Box::pin(async { Ok(()) })
///     }
///
///     fn follow(&self, mut follower: Follower) -> FeedFuture<UnavailableError> {
///         let mut record = self.0.subscribe();
///         Box::pin(async move {
///             let mut next = follower.position().and_then(|at| at.parse().ok()).unwrap_or(0);
///             loop {
///                 let messages = record.borrow_and_update()[next..].to_vec();
///                 for message in messages {
///                     next += 1;
///                     if let Err(error) = follower.deliver(&message, next.to_string()) {
///                         return UnavailableError::new(error);
///                     }
///                 }
///                 follower.is_up_to_date();
///                 if let Err(closed) = record.changed().await {
///                     return UnavailableError::new(closed);
///                 }
///             }
///         })
///     }
/// }
/// ```
pub trait RevocationFeed {
    /// Sends a message to every replica, this one too, and records it for `keep_for`.
    ///
    /// A message has at most [`MAX_MESSAGE`](super::OpenScopes::MAX_MESSAGE) bytes. One call is made at a
    /// time. After an error, and after ten seconds without an answer, the message is published again:
    /// one that arrives twice does no harm.
    ///
    /// # Errors
    /// [`UnavailableError`] where the message may not have been recorded.
    fn publish(
        &self,
        message: String,
        keep_for: Duration,
    ) -> FeedFuture<Result<(), UnavailableError>>;

    /// Hands messages to the follower, first those of the record after the follower's
    /// [position](Follower::position), then new ones as they come, in the order in which they were
    /// published. Returns why it can't go on.
    ///
    /// It has to notice within seconds that messages don't arrive any more, also where the connection
    /// stays open. It is called again soon after it has returned.
    fn follow(&self, follower: Follower) -> FeedFuture<UnavailableError>;
}

/// What the methods of a [`RevocationFeed`] return.
pub type FeedFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What becomes of requests while the feed of revocations is lost: whether their credentials were
/// revoked on another replica is not known then.
///
/// There is no default: one choice stops the service with its feed, and the other lets revoked
/// credentials in. In either case, scopes that are open stay open until the feed is back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OnFeedLost {
    /// Requests go on, each with an audit event
    /// ([`AuditEvent::RevocationsUnknown`](crate::audit::AuditEvent::RevocationsUnknown)).
    Allow,
    /// Requests are refused with 503
    /// ([`RejectionKind::RevocationsUnknown`](crate::rejection::RejectionKind::RevocationsUnknown)).
    Refuse,
}

/// What a [`RevocationFeed`] hands messages to. The registry counts as connected while its follower
/// lives and is [up to date](Self::is_up_to_date).
pub struct Follower {
    take_in: TakeIn,
    connected: watch::Sender<bool>,
    position: Position,
}

/// Takes in a message.
pub(super) type TakeIn = Arc<dyn Fn(&str) -> Result<(), NoRoomError> + Send + Sync>;

/// The position of the last message that was taken in.
pub(super) type Position = Arc<Mutex<Option<String>>>;

/// A message could not be taken in, because too many revocations are remembered already
/// ([`MAX_REVOCATIONS`](super::OpenScopes::MAX_REVOCATIONS)). It has to be delivered again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("too many revocations are remembered already")]
#[non_exhaustive]
pub struct NoRoomError;

impl Follower {
    pub(super) fn new(
        take_in: &TakeIn,
        connected: &watch::Sender<bool>,
        position: &Position,
    ) -> Self {
        Self {
            take_in: Arc::clone(take_in),
            connected: connected.clone(),
            position: Arc::clone(position),
        }
    }

    /// Returns the position of the last message that was delivered, as the feed named it; `None` if
    /// there was none since the process began.
    #[must_use]
    pub fn position(&self) -> Option<String> {
        let position = self.position.lock();
        position.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes in a message, and remembers its position, such as its number or its time. A message that
    /// can't be read is skipped; the first one is logged.
    ///
    /// # Errors
    /// [`NoRoomError`]: return from [`follow`](RevocationFeed::follow), which is called again.
    pub fn deliver(
        &mut self,
        message: &str,
        position: impl Into<String>,
    ) -> Result<(), NoRoomError> {
        (self.take_in)(message)?;
        let mut known = self.position.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Some(position.into());
        Ok(())
    }

    /// Says that every message was delivered that had been published when this was last looked up.
    pub fn is_up_to_date(&mut self) {
        let connected = &self.connected;
        if connected.send_if_modified(|connected| !mem::replace(connected, true)) {
            measured::feed_is_connected(true);
            tracing::info!(
                target: "tower_user_scope::audit",
                "the feed of revocations is connected"
            );
        }
    }
}

/// However following ends.
impl Drop for Follower {
    fn drop(&mut self) {
        self.connected.send_if_modified(mem::take);
        measured::feed_is_connected(false);
    }
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower")
            .field("is_up_to_date", &*self.connected.borrow())
            .finish_non_exhaustive()
    }
}
