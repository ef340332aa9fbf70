//! The one question to the store, and what its answer is worth.

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

use super::{
    SessionError,
    data::{SessionData, UserOf},
};
use crate::{
    clock::Clock,
    maybe_future::MaybeFuture,
    strategy::{Outcome, UnavailableError},
};

/// The future of [`SessionCookie`](super::SessionCookie) and [`FromSession`](super::FromSession).
///
/// # Cancel safety
/// Dropping it drops the store's own future and nothing else; it holds no lock and no
/// connection of its own.
pub struct SessionLookup {
    future: Pin<Box<dyn Future<Output = Outcome> + Send>>,
}

impl SessionLookup {
    /// The one box: a store's future borrows the store, so this has to own both, and such a
    /// future has no name.
    pub(super) fn new(future: impl Future<Output = Outcome> + Send + 'static) -> Self {
        Self {
            future: Box::pin(future),
        }
    }

    /// A store in memory has its answer at the first poll, and nobody has to be woken for it.
    /// One that has to wait is polled again, by whoever then waits.
    pub(super) fn at_once(mut self) -> MaybeFuture<Self> {
        let mut nobody = Context::from_waker(Waker::noop());
        match self.future.as_mut().poll(&mut nobody) {
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

/// What counts as no credential, though something was sent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lenience {
    pub(super) unknown: bool,
    pub(super) visitors: bool,
}

impl Lenience {
    pub(super) fn any(self) -> bool {
        self.unknown || self.visitors
    }

    pub(super) fn unknown(self, problem: SessionError) -> Outcome {
        if self.unknown {
            Outcome::Absent
        } else {
            Outcome::Invalid(problem.into())
        }
    }
}

pub(super) async fn look_up<S: SessionStore>(
    store: Arc<S>,
    id: Id,
    user: Arc<UserOf>,
    lenience: Lenience,
    clock: Arc<dyn Clock>,
) -> Outcome {
    match store.load(&id).await {
        Ok(Some(record)) => answer(&record, id, &user, lenience, &*clock),
        Ok(None) => lenience.unknown(SessionError::Unknown),
        Err(error) => UnavailableError::new(error).into(),
    }
}

fn answer(
    record: &Record,
    asked: Id,
    user: &UserOf,
    lenience: Lenience,
    clock: &dyn Clock,
) -> Outcome {
    // A connection that was left in the middle of a reply can give one request the next one's.
    if record.id != asked {
        return Outcome::Invalid(SessionError::OtherSession.into());
    }
    let expiry = end(
        record.expiry_date.unix_timestamp(),
        record.expiry_date.nanosecond(),
    );
    if expiry.is_some_and(|end| end <= clock.now()) {
        return lenience.unknown(SessionError::Expired);
    }
    user.outcome(&SessionData::new(&record.data, expiry))
}

/// A date as the system's clock tells it; one before 1970 is then, as its past is all that counts.
pub(super) fn end(unix_seconds: i64, nanoseconds: u32) -> Option<SystemTime> {
    let seconds = u64::try_from(unix_seconds).unwrap_or(0);
    UNIX_EPOCH.checked_add(Duration::new(seconds, nanoseconds))
}
