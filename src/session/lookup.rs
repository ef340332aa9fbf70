//! Loads a session from the store, and checks the record.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tower_sessions_core::{
    SessionStore,
    session::{Id, Record},
};

use super::{SessionData, SessionError, options::SessionOptions};
use crate::{
    clock::Clock,
    maybe_future::MaybeFuture,
    strategy::{Outcome, UnavailableError},
};

/// Resolves the session of a [`SessionCookie`](super::SessionCookie) or a [`FromSession`](super::FromSession).
///
/// # Cancel safety
/// Dropping it drops the store's own future and nothing else; it holds no lock and no
/// connection of its own.
pub struct SessionLookup {
    future: Pin<Box<dyn Future<Output = Outcome> + Send>>,
}

impl SessionLookup {
    /// Boxes a future. A store's future borrows the store, so an `async` block has to own both.
    pub(super) fn new(future: impl Future<Output = Outcome> + Send + 'static) -> Self {
        Self {
            future: Box::pin(future),
        }
    }

    /// Polls once without a waker: a store in memory answers at the first poll. A future that has
    /// to wait is polled again by its caller, with a waker.
    pub(super) fn poll_once(mut self) -> MaybeFuture<Self> {
        let mut noop = Context::from_waker(Waker::noop());
        match self.future.as_mut().poll(&mut noop) {
            Poll::Ready(outcome) => MaybeFuture::Ready(outcome),
            Poll::Pending => MaybeFuture::Future(self),
        }
    }
}

impl Future for SessionLookup {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        self.future.as_mut().poll(cx)
    }
}

impl fmt::Debug for SessionLookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionLookup(..)")
    }
}

/// Loads the session of this id from the store, and returns its outcome.
pub(super) async fn look_up<S: SessionStore>(
    store: Arc<S>,
    id: Id,
    options: Arc<SessionOptions>,
    clock: Arc<dyn Clock>,
) -> Outcome {
    match store.load(&id).await {
        Ok(Some(record)) => outcome_of(&record, id, &options, &*clock),
        Ok(None) => options.unknown(SessionError::Unknown),
        Err(error) => UnavailableError::new(error).into(),
    }
}

fn outcome_of(
    record: &Record,
    requested: Id,
    options: &SessionOptions,
    clock: &dyn Clock,
) -> Outcome {
    // A pooled connection whose request was cancelled can return the reply to another request.
    if record.id != requested {
        return Outcome::Invalid(SessionError::OtherSession.into());
    }
    let expires_at = system_time(
        record.expiry_date.unix_timestamp(),
        record.expiry_date.nanosecond(),
    );
    if expires_at.is_some_and(|end| end <= clock.now()) {
        return options.unknown(SessionError::Expired);
    }
    options.outcome(&SessionData::new(&record.data, expires_at))
}

/// Converts a Unix time. A time before 1970 becomes 1970: both are past.
pub(super) fn system_time(unix_seconds: i64, nanoseconds: u32) -> Option<SystemTime> {
    let seconds = u64::try_from(unix_seconds).unwrap_or(0);
    UNIX_EPOCH.checked_add(Duration::new(seconds, nanoseconds))
}
