//! Hands each event to the open streams of its own user, and to no other.
//!
//! The hub is shared by all users, so it is keyed by [`Subject`], which is the principal *and* the
//! tenant. Nothing outside of `AgentFactory` names a key: a handler can only subscribe to, and
//! publish for, the user of its own scope.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::Serialize;
use tokio::sync::broadcast::{self, error::RecvError};
use tower_user_scope::context::Subject;

/// How many events a slow stream may be behind before it misses some.
const CAPACITY: usize = 256;

/// What is sent to the streams of a user.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Event {
    pub(crate) run: String,
    pub(crate) thread: String,
    #[serde(flatten)]
    pub(crate) what: What,
}

#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum What {
    Started,
    /// The next words of the output.
    Words {
        text: String,
    },
    Done,
    Failed,
    /// The stream was too slow: read the thread again.
    Missed,
}

impl What {
    /// Whether this is the last event of the run.
    pub(crate) fn is_last(&self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Missed)
    }
}

#[derive(Default)]
struct Channels {
    by_subject: HashMap<Subject, broadcast::Sender<Arc<Event>>>,
    closed: bool,
}

/// Who listens. It has as many entries as there are users with an open stream.
#[derive(Clone, Default)]
pub(crate) struct Hub(Arc<Mutex<Channels>>);

impl Hub {
    /// Returns the events of a subject from now on.
    pub(crate) fn subscribe(&self, subject: &Subject) -> Subscription {
        let mut channels = self.channels();
        let is_open = !channels.closed;
        let channel = || {
            let channels = channels.by_subject.entry(subject.clone());
            let channel = channels.or_insert_with(|| broadcast::Sender::new(CAPACITY));
            channel.subscribe()
        };
        Subscription {
            events: is_open.then(channel),
            hub: self.clone(),
            subject: subject.clone(),
        }
    }

    /// Hands an event to the subject's streams, of which there may be none.
    pub(crate) fn publish(&self, subject: &Subject, event: Event) {
        if let Some(channel) = self.channels().by_subject.get(subject) {
            // An error means that nobody listens.
            let _ = channel.send(Arc::new(event));
        }
    }

    /// Ends all streams, and those that begin later.
    pub(crate) fn close(&self) {
        let mut channels = self.channels();
        channels.closed = true;
        channels.by_subject.clear();
    }

    fn channels(&self) -> MutexGuard<'_, Channels> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The events of one user, for one stream. The last one to be dropped takes the user's channel along.
pub(crate) struct Subscription {
    events: Option<broadcast::Receiver<Arc<Event>>>,
    hub: Hub,
    subject: Subject,
}

impl Subscription {
    /// Returns the next event.
    pub(crate) async fn next(&mut self) -> Option<Arc<Event>> {
        match self.events.as_mut()?.recv().await {
            Ok(event) => Some(event),
            Err(RecvError::Lagged(_)) => Some(Arc::new(Event {
                run: String::new(),
                thread: String::new(),
                what: What::Missed,
            })),
            Err(RecvError::Closed) => None,
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut channels = self.hub.channels();
        // Within the lock, so that nobody subscribes between the two.
        self.events.take();
        let is_idle = |channel: &broadcast::Sender<_>| channel.receiver_count() == 0;
        if channels.by_subject.get(&self.subject).is_some_and(is_idle) {
            channels.by_subject.remove(&self.subject);
        }
    }
}
