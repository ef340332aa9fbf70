//! Keeps a registry connected with its feed: publishes what was revoked here, and takes in what was
//! revoked on other replicas.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    task::AbortHandle,
    time::{sleep, timeout},
};

use super::{
    feed::{Follower, OnFeedLost, RevocationFeed, TakeIn},
    message::Message,
    revoked::MOST,
};
use crate::outcome::{UnavailableError, root_cause};

const PUBLISH_LIMIT: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The feed of a registry.
pub(super) struct Feed {
    pub(super) on_lost: OnFeedLost,
    pub(super) origin: u64,
    connected: watch::Sender<bool>,
    outbox: Arc<Outbox>,
    tasks: [AbortHandle; 2],
}

/// What is not published yet.
struct Outbox {
    messages: Mutex<VecDeque<String>>,
    added: Notify,
    /// How many there are.
    left: watch::Sender<usize>,
}

impl Feed {
    /// Begins to follow, and to publish.
    pub(super) fn begin(
        feed: impl RevocationFeed + Send + Sync + 'static,
        origin: u64,
        take_in: TakeIn,
        keep_for: Duration,
        on_lost: OnFeedLost,
    ) -> Self {
        let connected = watch::Sender::new(false);
        let feed = Arc::new(feed);
        let outbox = Arc::new(Outbox {
            messages: Mutex::default(),
            added: Notify::new(),
            left: watch::Sender::new(0),
        });
        let follows = follow(Arc::clone(&feed), take_in, connected.clone(), on_lost);
        let publishes = publish(feed, Arc::clone(&outbox), keep_for);
        Self {
            on_lost,
            origin,
            connected,
            outbox,
            tasks: [
                tokio::spawn(follows).abort_handle(),
                tokio::spawn(publishes).abort_handle(),
            ],
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        *self.connected.borrow()
    }

    pub(super) async fn connected(&self) {
        // The sender is in `self`, so there is always an answer.
        let _ = self.connected.subscribe().wait_for(|it| *it).await;
    }

    /// Waits until nothing is left to publish.
    pub(super) async fn published(&self) {
        let _ = self.outbox.left.subscribe().wait_for(|it| *it == 0).await;
    }

    /// Publishes a message as soon as it can. Returns whether there was room for it.
    pub(super) fn send(&self, message: &Message) -> bool {
        let text = match message.encode() {
            None => return true,
            Some(Ok(text)) => text,
            Some(Err(error)) => {
                tracing::error!(
                    target: "tower_user_scope::audit",
                    reason = %error,
                    "a revocation does not reach other replicas: its message can't be made"
                );
                return true;
            }
        };
        {
            let mut messages = self.outbox.lock();
            if messages.len() >= MOST {
                return false;
            }
            messages.push_back(text);
            self.outbox.left.send_replace(messages.len());
        }
        self.outbox.added.notify_one();
        true
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Outbox {
    fn lock(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn first(&self) -> Option<String> {
        self.lock().front().cloned()
    }

    fn remove_first(&self) {
        let mut messages = self.lock();
        messages.pop_front();
        self.left.send_replace(messages.len());
    }
}

async fn follow(
    feed: Arc<impl RevocationFeed>,
    take_in: TakeIn,
    connected: watch::Sender<bool>,
    on_lost: OnFeedLost,
) {
    let position = Arc::default();
    let mut pause = FIRST_PAUSE;
    let mut was_reported = false;
    loop {
        let state = connected.subscribe();
        let follower = Follower::new(&take_in, &connected, &position);
        let ended = without_panic(|| feed.follow(follower)).await;
        // Whether it was connected in between.
        if state.has_changed().unwrap_or(false) {
            (pause, was_reported) = (FIRST_PAUSE, false);
        }
        if !mem::replace(&mut was_reported, true) {
            let (reason, cause) = texts(ended.as_ref());
            tracing::error!(
                target: "tower_user_scope::audit",
                reason,
                cause,
                refuses = on_lost == OnFeedLost::Refuse,
                "the feed of revocations is lost, and is tried again until it is back"
            );
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn publish(feed: Arc<impl RevocationFeed>, outbox: Arc<Outbox>, keep_for: Duration) {
    let mut pause = FIRST_PAUSE;
    loop {
        let Some(message) = outbox.first() else {
            outbox.added.notified().await;
            continue;
        };
        let attempt = without_panic(|| feed.publish(message, keep_for));
        let error = match timeout(PUBLISH_LIMIT, attempt).await {
            Ok(Some(Ok(()))) => {
                outbox.remove_first();
                pause = FIRST_PAUSE;
                continue;
            }
            Ok(Some(Err(error))) => Some(error),
            Ok(None) => None,
            Err(_) => Some(UnavailableError::timed_out(PUBLISH_LIMIT)),
        };
        if pause == FIRST_PAUSE {
            let (reason, cause) = texts(error.as_ref());
            tracing::error!(
                target: "tower_user_scope::audit",
                reason,
                cause,
                "a revocation is not published yet, and is tried again"
            );
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// What a log line says of an error; of a panic, which has a line of its own, nothing.
fn texts(error: Option<&UnavailableError>) -> (Option<String>, Option<String>) {
    let cause = error.and_then(|error| root_cause(error));
    (
        error.map(ToString::to_string),
        cause.map(ToString::to_string),
    )
}

/// Returns what a future of an application's feed returns, or `None` where it panics.
async fn without_panic<F: Future>(make: impl FnOnce() -> F) -> Option<F::Output> {
    let future = catch_unwind(AssertUnwindSafe(make)).ok()?;
    let mut future = pin!(future);
    poll_fn(|cx| {
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)));
        polled.map_or(Poll::Ready(None), |poll| poll.map(Some))
    })
    .await
}
