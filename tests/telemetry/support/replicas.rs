//! Two replicas that share their revocations within the process.

use std::time::Duration;

use tokio::sync::watch;
use tower_user_scope::{
    UnavailableError,
    open_scopes::{FeedFuture, Follower, OnFeedLost, OpenScopes, Revocation, RevocationFeed},
};

#[derive(Clone, Default)]
struct InProcess {
    record: watch::Sender<Vec<String>>,
    /// How many messages the replicas have taken in, all together.
    delivered: watch::Sender<usize>,
}

impl RevocationFeed for InProcess {
    fn publish(&self, message: String, _: Duration) -> FeedFuture<Result<(), UnavailableError>> {
        self.record.send_modify(|record| record.push(message));
        Box::pin(async { Ok(()) })
    }

    fn follow(&self, mut follower: Follower) -> FeedFuture<UnavailableError> {
        let (mut record, delivered) = (self.record.subscribe(), self.delivered.clone());
        Box::pin(async move {
            let mut next = 0;
            loop {
                let messages = record.borrow_and_update()[next..].to_vec();
                for message in messages {
                    next += 1;
                    if let Err(error) = follower.deliver(&message, next.to_string()) {
                        return UnavailableError::new(error);
                    }
                    delivered.send_modify(|number| *number += 1);
                }
                follower.is_up_to_date();
                if let Err(closed) = record.changed().await {
                    return UnavailableError::new(closed);
                }
            }
        })
    }
}

/// Revokes a session on one of two replicas. A third one begins when both know it.
pub(crate) async fn revoke_on_another_replica() {
    let feed = InProcess::default();
    let replica = || {
        let open = OpenScopes::new(Duration::from_secs(60));
        open.with_feed(feed.clone(), OnFeedLost::Refuse)
    };
    let (here, there) = (replica(), replica());
    here.connected().await;
    there.connected().await;
    let revoked = here.revoke(Revocation::of_session("a-session"));
    revoked.expect("room");
    let both = feed
        .delivered
        .subscribe()
        .wait_for(|number| *number == 2)
        .await
        .map(drop);
    both.expect("a sender");
    replica().connected().await;
}
