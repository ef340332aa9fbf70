//! A timer that needs no runtime.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker},
    thread::{self, Thread},
    time::{Duration, Instant},
};

/// Is ready after a time, in whatever runtime it is polled.
///
/// Runtimes have timers of their own, which tests may pause; this one is a thread.
pub(in crate::testing) struct Timer {
    shared: Arc<Shared>,
    thread: Option<Thread>,
}

struct Shared {
    deadline: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    over: bool,
    waker: Option<Waker>,
}

impl Timer {
    pub(in crate::testing) fn new(duration: Duration) -> Self {
        let shared = Arc::new(Shared {
            deadline: Instant::now() + duration,
            state: Mutex::default(),
        });
        let of_thread = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("isolation-check-timer".to_owned())
            .spawn(move || of_thread.wait());
        Self {
            shared,
            // Without a thread the time is still looked at whenever the check is polled.
            thread: thread.ok().map(|handle| handle.thread().clone()),
        }
    }
}

impl Future for Timer {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.shared.deadline {
            return Poll::Ready(());
        }
        let mut state = self.shared.lock();
        if !state
            .waker
            .as_ref()
            .is_some_and(|known| known.will_wake(cx.waker()))
        {
            state.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.shared.lock().over = true;
        if let Some(thread) = &self.thread {
            thread.unpark();
        }
    }
}

impl Shared {
    fn wait(&self) {
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            let mut state = self.lock();
            if state.over {
                return;
            }
            if left.is_zero() {
                let waker = state.waker.take();
                drop(state);
                if let Some(waker) = waker {
                    waker.wake();
                }
                return;
            }
            drop(state);
            thread::park_timeout(left);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
