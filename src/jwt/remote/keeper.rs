//! Fetches keys, one fetch at a time, and knows for how long they may be used.
//!
//! Keys have a *lease*: the time in which the next fetch has to be heard of. A task renews it
//! before it ends, whether the fetch went well or not. Where the task is gone, stands still, or
//! died, the lease ends, and whoever needs the keys then has to fetch them first.

use std::{
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    task::Poll,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwapOption;
use tokio::{
    runtime::Handle,
    sync::watch,
    task::AbortHandle,
    time::{Sleep, sleep},
};
use tracing::{debug, warn};

use super::{
    super::{KeyError, KeySet},
    Settings,
    address::{Answer, Known},
    fetch::FetchError,
    moment::Moment,
};
use crate::clock::{Clock, SystemClock};

pub(super) struct Keeper {
    pub(super) settings: Settings,
    /// The first layer's, whose strategies are asked.
    clock: OnceLock<Arc<dyn Clock>>,
    loaded: ArcSwapOption<Loaded>,
    state: Mutex<State>,
    /// How many attempts have ended.
    ended: watch::Sender<u64>,
}

struct Loaded {
    keys: Arc<KeySet>,
    /// When the issuer was asked for them.
    fetched: Moment,
    leased: Moment,
    lease: Duration,
}

#[derive(Default)]
struct State {
    /// Counts those who took over the fetching: what an earlier one still brings is too late.
    generation: u64,
    /// The attempt that is under way, since when.
    running: Option<Moment>,
    /// When the last attempt ended, and how.
    last: Option<(Moment, Result<(), FetchError>)>,
    failures: u32,
    known: Known,
    task: Option<AbortHandle>,
}

/// What is known after the issuer was asked.
pub(in super::super) struct Asked {
    pub(in super::super) keys: Option<Arc<KeySet>>,
    pub(in super::super) result: Result<(), FetchError>,
}

enum Start {
    Waiting(watch::Receiver<u64>),
    /// It was tried a moment ago, or can't be.
    Known(Result<(), FetchError>),
}

impl Keeper {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            clock: OnceLock::new(),
            loaded: ArcSwapOption::empty(),
            state: Mutex::default(),
            ended: watch::Sender::new(0),
        }
    }

    pub(super) fn use_clock(&self, clock: &Arc<dyn Clock>) {
        self.clock.get_or_init(|| Arc::clone(clock));
    }

    pub(super) fn now(&self) -> SystemTime {
        self.clock
            .get()
            .map_or_else(|| SystemClock.now(), Clock::now)
    }

    fn moment(&self) -> Moment {
        Moment::at(self.now())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The keys, while their lease lasts.
    pub(super) fn current(&self, now: SystemTime) -> Option<Arc<KeySet>> {
        let loaded = self.loaded.load();
        let loaded = loaded.as_ref()?;
        let is_leased = loaded.leased.elapsed(Moment::at(now)) < loaded.lease;
        is_leased.then(|| Arc::clone(&loaded.keys))
    }

    /// Fetches the keys, unless that was tried a moment ago, and waits for it.
    pub(super) async fn ask(self: &Arc<Self>) -> Asked {
        let result = match self.start() {
            Start::Known(result) => result,
            Start::Waiting(mut ended) => {
                // An attempt ends by itself, and tells if its runtime drops it. One that stands
                // still with its runtime doesn't.
                match timer(self.settings.periods.overdue()) {
                    Err(error) => Err(error),
                    Ok(overdue) => {
                        let ended = async move { ended.changed().await.is_ok() };
                        match bounded(ended, overdue).await {
                            Ok(_) => self.last_result(),
                            Err(error) => Err(error),
                        }
                    }
                }
            }
        };
        Asked {
            keys: self.current(self.now()),
            result,
        }
    }

    fn last_result(&self) -> Result<(), FetchError> {
        let state = self.state();
        let last = state.last.as_ref().map(|(_, result)| result.clone());
        last.unwrap_or(Err(FetchError::Interrupted))
    }

    /// Starts an attempt on the runtime of whoever asks, where none is under way.
    fn start(self: &Arc<Self>) -> Start {
        let now = self.moment();
        let periods = &self.settings.periods;
        let (attempt, before, ended, runtime) = {
            let mut state = self.state();
            let ended = self.ended.subscribe();
            match (state.running, &state.last) {
                (Some(since), _) if since.elapsed(now) <= periods.overdue() => {
                    return Start::Waiting(ended);
                }
                (None, Some((when, result))) if when.elapsed(now) < periods.refetch => {
                    return Start::Known(result.clone());
                }
                _ => {}
            }
            let Ok(runtime) = Handle::try_current() else {
                return Start::Known(Err(FetchError::NoRuntime));
            };
            state.generation += 1;
            state.running = Some(now);
            let attempt = Attempt::new(Arc::clone(self), state.generation, now);
            (attempt, state.task.take(), ended, runtime)
        };
        if let Some(before) = before {
            before.abort();
        }
        let generation = attempt.generation;
        // Without the lock: a runtime that shuts down drops the attempt at once.
        let task = runtime.spawn(keep(attempt)).abort_handle();
        let mut state = self.state();
        if state.generation == generation {
            state.task = Some(task);
        } else {
            drop(state);
            task.abort();
        }
        Start::Waiting(ended)
    }

    /// Ends the task. What it still brings is too late.
    pub(super) fn stop(&self) {
        let task = {
            let mut state = self.state();
            state.generation += 1;
            state.task.take()
        };
        if let Some(task) = task {
            task.abort();
        }
    }

    /// Takes the end of an attempt, and returns when the next one is due; `None` where somebody
    /// else has taken over.
    fn take(
        &self,
        attempt: &Attempt,
        result: Result<Answer, FetchError>,
        left_out: Option<&str>,
    ) -> Option<Duration> {
        let now = self.moment();
        let mut state = self.state();
        if state.generation != attempt.generation {
            return None;
        }
        state.running = None;
        let (result, due) = match result.and_then(|answer| self.load(&mut state, attempt, answer)) {
            Ok(due) => (Ok(()), due),
            Err(error) => {
                let due = self.settings.periods.after_failures(state.failures);
                state.failures = state.failures.saturating_add(1);
                self.keep_or_drop(&mut state, now, due, &error);
                (Err(error), due)
            }
        };
        state.last = Some((now, result.clone()));
        // With the lock, so that who starts the next attempt is not woken by the end of this one.
        self.ended.send_modify(|ended| *ended += 1);
        drop(state);
        // One line, whatever came of it.
        let address = &self.settings.address;
        match (&result, left_out) {
            (Ok(()), None) => debug!(%address, "the key set was fetched"),
            (Ok(()), Some(left_out)) => {
                warn!(%address, %left_out, "the key set was fetched without keys that can't be used");
            }
            (Err(error), left_out) => {
                warn!(%address, %error, left_out, "the key set could not be fetched");
            }
        }
        Some(due)
    }

    fn load(
        &self,
        state: &mut State,
        attempt: &Attempt,
        answer: Answer,
    ) -> Result<Duration, FetchError> {
        let old = self.loaded.load_full();
        let keys = match (answer.keys, old) {
            (Some(keys), Some(old)) => Arc::new(keys.keeping(&old.keys)),
            (Some(keys), None) => Arc::new(keys),
            (None, Some(old)) => Arc::clone(&old.keys),
            (None, None) => return Err(FetchError::Status(304)),
        };
        let periods = &self.settings.periods;
        let due = periods.after_success(answer.freshness);
        self.loaded.store(Some(Arc::new(Loaded {
            keys,
            fetched: attempt.began,
            leased: attempt.began,
            lease: due.saturating_add(periods.patience()).min(periods.keep),
        })));
        state.known = answer.known;
        state.failures = 0;
        Ok(due)
    }

    /// Renews the lease of the old keys, where it is the issuer that is down and they are young
    /// enough.
    fn keep_or_drop(&self, state: &mut State, now: Moment, due: Duration, error: &FetchError) {
        // It is there and has withdrawn what it published: that is not being down.
        let is_withdrawn = matches!(error, FetchError::Keys(KeyError::NoKey));
        let Some(old) = self.loaded.load_full() else {
            return;
        };
        let periods = &self.settings.periods;
        let left = periods.keep.saturating_sub(old.fetched.elapsed(now));
        if is_withdrawn || left.is_zero() {
            self.loaded.store(None);
            state.known = Known::default();
        } else if !error.is_our_own() {
            self.loaded.store(Some(Arc::new(Loaded {
                keys: Arc::clone(&old.keys),
                fetched: old.fetched,
                leased: now,
                lease: due.saturating_add(periods.patience()).min(left),
            })));
        }
    }
}

/// One fetch. Dropped before its end, it tells that it was interrupted.
struct Attempt {
    keeper: Arc<Keeper>,
    generation: u64,
    began: Moment,
    has_ended: bool,
}

impl Attempt {
    fn new(keeper: Arc<Keeper>, generation: u64, began: Moment) -> Self {
        Self {
            keeper,
            generation,
            began,
            has_ended: false,
        }
    }

    async fn run(mut self) -> Option<Duration> {
        let mut left_out = None;
        let result = self.fetch(&mut left_out).await;
        self.has_ended = true;
        self.keeper.take(&self, result, left_out.as_deref())
    }

    async fn fetch(&self, left_out: &mut Option<String>) -> Result<Answer, FetchError> {
        let settings = &self.keeper.settings;
        let limit = timer(settings.periods.limit)?;
        // `build()` has told of it where there is none.
        let fetch = settings.fetch().map_err(FetchError::transport)?;
        let known = self.keeper.state().known.clone();
        bounded(settings.address.keys(&**fetch, known, left_out), limit).await?
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.has_ended {
            self.keeper.take(self, Err(FetchError::Interrupted), None);
        }
    }
}

/// Fetches again and again, until somebody else does or the runtime ends.
async fn keep(mut attempt: Attempt) {
    loop {
        let (keeper, generation) = (Arc::clone(&attempt.keeper), attempt.generation);
        let Some(due) = attempt.run().await else {
            return;
        };
        let Ok(due) = timer(due) else { return };
        due.await;
        let began = keeper.moment();
        {
            let mut state = keeper.state();
            if state.generation != generation {
                return;
            }
            state.running = Some(began);
        }
        attempt = Attempt::new(keeper, generation, began);
    }
}

/// A timer, where the runtime has any: Tokio panics where it has none, and doesn't tell before.
fn timer(after: Duration) -> Result<Sleep, FetchError> {
    catch_unwind(|| sleep(after)).map_err(|_| FetchError::NoTimers)
}

/// Polls the future until the limit. A panic of it is an error, as a runtime without sockets
/// makes them too.
async fn bounded<F: Future>(future: F, limit: Sleep) -> Result<F::Output, FetchError> {
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
