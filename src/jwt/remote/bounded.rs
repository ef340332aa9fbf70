//! Limits the time of a fetch, and turns its panic into an error.

use std::{
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::Poll,
    time::Duration,
};

use tokio::time::{Sleep, sleep};

use super::fetch::FetchError;

/// Creates a timer. Tokio panics if the runtime has none, and offers no way to ask.
pub(crate) fn timer(after: Duration) -> Result<Sleep, FetchError> {
    catch_unwind(|| sleep(after)).map_err(|_| FetchError::NoTimers)
}

/// Polls the future until the limit. A panic is an error: a runtime without I/O panics too.
pub(crate) async fn bounded<F: Future>(future: F, limit: Sleep) -> Result<F::Output, FetchError> {
    let (mut future, mut limit) = (pin!(future), pin!(limit));
    poll_fn(
        |cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Ok(Poll::Pending) => limit.as_mut().poll(cx).map(|()| Err(FetchError::TimedOut)),
            Err(_) => Poll::Ready(Err(FetchError::Panicked)),
        },
    )
    .await
}
