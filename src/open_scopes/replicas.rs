//! A registry as one of several replicas'.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{Arc, atomic::Ordering},
    time::SystemTime,
};

use super::{
    OpenScopes,
    feed::{NoRoomError, OnFeedLost, RevocationFeed},
    follow::Feed,
    message::{Message, MessageError},
    registry::Registry,
};
use crate::measured;

/// # Replicas
impl OpenScopes {
    /// Shares revocations with other replicas: what is revoked here is published, and what was revoked
    /// on another replica ends scopes here and refuses requests. `on_lost` says what becomes of
    /// requests while the feed is lost, and before it is connected for the first time.
    ///
    /// The feed records each revocation for as long as this registry remembers it, so that a replica
    /// that was away, or begins, knows it too. Give all replicas the same time.
    ///
    /// # Panics
    /// Outside of a Tokio runtime, and if the registry has a feed already.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use tower_user_scope::open_scopes::{OnFeedLost, OpenScopes, RevocationFeed};
    ///
    /// async fn open_scopes(feed: impl RevocationFeed + Send + Sync + 'static) -> OpenScopes {
    ///     let keep_for = Duration::from_secs(3_600);
    ///     let open = OpenScopes::new(keep_for).with_feed(feed, OnFeedLost::Refuse);
    ///     // The service is ready then.
    ///     open.connected().await;
    ///     open
    /// }
    /// ```
    #[must_use]
    pub fn with_feed(
        self,
        feed: impl RevocationFeed + Send + Sync + 'static,
        on_lost: OnFeedLost,
    ) -> Self {
        let registry = Arc::downgrade(&self.registry);
        let keep_for = self.registry.keep_for;
        // Tells its own messages from those of others.
        let origin = RandomState::new().hash_one(());
        let began_at = self.registry.clock.now();
        let take_in = Arc::new(move |message: &str| {
            let registry = registry.upgrade();
            registry.map_or(Ok(()), |registry| {
                registry.take_in(message, origin, began_at)
            })
        });
        let feed = Feed::begin(feed, origin, take_in, keep_for, on_lost);
        let set = self.registry.feed.set(feed);
        assert!(set.is_ok(), "the registry has a feed already");
        self
    }

    /// Returns whether everything that was revoked on other replicas is known here, as far as this
    /// replica can tell; always true without a feed.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.registry.feed.get().is_none_or(Feed::is_connected)
    }

    /// Waits until the feed [is connected](Self::is_connected).
    pub async fn connected(&self) {
        if let Some(feed) = self.registry.feed.get() {
            feed.connected().await;
        }
    }

    /// Waits until everything that was revoked here is in the record of the feed, from where each
    /// replica gets it. A process that ends before loses the rest.
    pub async fn published(&self) {
        if let Some(feed) = self.registry.feed.get() {
            feed.published().await;
        }
    }

    /// Returns what becomes of a request, if the feed is lost.
    pub(crate) fn lost_feed(&self) -> Option<OnFeedLost> {
        let feed = self.registry.feed.get()?;
        (!feed.is_connected()).then_some(feed.on_lost)
    }
}

impl Registry {
    /// Takes in a message of the feed.
    fn take_in(&self, message: &str, own: u64, began_at: SystemTime) -> Result<(), NoRoomError> {
        let message = match Message::decode(message) {
            Ok(message) if message.origin == own => return Ok(()),
            Ok(message) => message,
            Err(error) => {
                self.skip(&error);
                return Ok(());
            }
        };
        let now = self.clock.now();
        let until = message.remembered_until(now, self.keep_for);
        if until.is_some_and(|until| until <= now) {
            return Ok(());
        }
        let (_, fits) = self.apply(&message.revocation, now, until);
        if !fits {
            return Err(NoRoomError);
        }
        // Those of the time before this replica are not late.
        if message.revoked_at >= began_at {
            let lag = now.duration_since(message.revoked_at);
            measured::revocation_arrived(lag.unwrap_or_default());
        }
        Ok(())
    }

    fn skip(&self, error: &MessageError) {
        if !self.has_skipped.swap(true, Ordering::Relaxed) {
            tracing::error!(
                target: "tower_user_scope::audit",
                reason = %error,
                "a message in the feed of revocations can't be read, and is skipped; others that \
                 can't be read are skipped without a line"
            );
        }
    }
}
