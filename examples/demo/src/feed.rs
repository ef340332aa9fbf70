//! The audit feed: what the layer saw, for the page.

use std::convert::Infallible;

use axum::response::sse::{Event, KeepAlive, Sse};
use futures::{Stream, stream};
use serde::Serialize;
use tokio::sync::broadcast::{self, error::RecvError};
use tower_user_scope::audit::{AuditEvent, Observer};

/// How many lines a slow page may be behind before it misses some.
const CAPACITY: usize = 256;

/// One audit event.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Line {
    pub(crate) kind: Kind,
    pub(crate) text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    Accepted,
    Refused,
    Removed,
    Isolation,
    Closed,
    Other,
}

/// Hands each audit event on to whoever listens.
#[derive(Clone)]
pub(crate) struct Feed(broadcast::Sender<Line>);

impl Feed {
    pub(crate) fn new() -> Self {
        Self(broadcast::Sender::new(CAPACITY))
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Line> {
        self.0.subscribe()
    }

    /// Returns the lines from now on, as a stream of server-sent events.
    pub(crate) fn events(&self) -> Sse<impl Stream<Item = Result<Event, Infallible>> + use<>> {
        let lines = stream::unfold(self.subscribe(), async |mut lines| {
            loop {
                match lines.recv().await {
                    Ok(line) => {
                        let event = Event::default().json_data(line).unwrap_or_default();
                        return Some((Ok(event), lines));
                    }
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return None,
                }
            }
        });
        Sse::new(lines).keep_alive(KeepAlive::default())
    }
}

/// The text of an event names no user and has no credential, so it may be shown.
impl Observer for Feed {
    fn observe(&self, event: &AuditEvent<'_>) {
        let kind = match event {
            // A line for each strategy of each request is too much here; the box for `explain`
            // shows them.
            AuditEvent::Consulted { .. } => return,
            AuditEvent::Accepted { .. } => Kind::Accepted,
            AuditEvent::Refused { .. } => Kind::Refused,
            AuditEvent::HeaderStripped { .. } => Kind::Removed,
            AuditEvent::CrossUserAccess { .. } | AuditEvent::FactoryRetained { .. } => {
                Kind::Isolation
            }
            AuditEvent::ScopeClosed { .. } => Kind::Closed,
            _ => Kind::Other,
        };
        // An error means that nobody listens.
        let _ = self.0.send(Line {
            kind,
            text: event.to_string(),
        });
    }
}
