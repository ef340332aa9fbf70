//! Fetches keys in the background, one fetch at a time, and limits how long they are used.
//!
//! Loaded keys have a *lease*, which a background task renews after each fetch, successful or not. If
//! the task was dropped or its runtime does not run, the lease ends, and the next request fetches
//! the keys itself. Knows nothing of URLs and tokens.

use std::{
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwapOption;
use tokio::{runtime::Handle, sync::watch, task::AbortHandle};
use tracing::{debug, warn};

use super::{
    super::{KeyError, KeySet},
    Settings,
    address::{Answer, Validators},
    bounded::{bounded, timer},
    fetch::FetchError,
};
use crate::{
    clock::{Clock, Moment, SystemClock},
    measured::KeySetFetches,
};

pub(super) struct Refresher {
    pub(super) settings: Settings,
    /// The clock of the layer that was built first.
    clock: OnceLock<Arc<dyn Clock>>,
    loaded: ArcSwapOption<Loaded>,
    state: Mutex<State>,
    /// The number of attempts that have ended.
    ended: watch::Sender<u64>,
    fetches: KeySetFetches,
}

struct Loaded {
    keys: Arc<KeySet>,
    /// When the fetch began.
    fetched: Moment,
    leased: Moment,
    lease: Duration,
}

#[derive(Default)]
struct State {
    /// Increases with each new task; results of earlier tasks are ignored.
    generation: u64,
    /// When the running attempt began.
    running: Option<Moment>,
    /// When the last attempt ended, and its result.
    last: Option<(Moment, Result<(), FetchError>)>,
    failures: u32,
    validators: Validators,
    task: Option<AbortHandle>,
}

/// The keys after a fetch, and how the fetch ended.
pub(in super::super) struct Refreshed {
    pub(in super::super) keys: Option<Arc<KeySet>>,
    pub(in super::super) result: Result<(), FetchError>,
}

impl Refreshed {
    /// Returns why a key may be missing that the issuer has; `None` if the set is complete.
    pub(in super::super) fn why_incomplete(self) -> Option<FetchError> {
        match self {
            Self {
                result: Err(error), ..
            } => Some(error),
            Self { keys: None, .. } => Some(FetchError::TimedOut),
            Self { .. } => None,
        }
    }
}

enum Start {
    Pending(watch::Receiver<u64>),
    /// No attempt was started: one ended a moment ago, or there is no runtime.
    Finished(Result<(), FetchError>),
}

impl Refresher {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            clock: OnceLock::new(),
            loaded: ArcSwapOption::empty(),
            state: Mutex::default(),
            ended: watch::Sender::new(0),
            fetches: KeySetFetches::new(),
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

    /// Returns the keys while their lease lasts.
    pub(super) fn current(&self, now: SystemTime) -> Option<Arc<KeySet>> {
        let loaded = self.loaded.load();
        let loaded = loaded.as_ref()?;
        let is_leased = loaded.leased.elapsed(Moment::at(now)) < loaded.lease;
        is_leased.then(|| Arc::clone(&loaded.keys))
    }

    /// Fetches the keys, unless an attempt ended a moment ago, and waits for the result.
    pub(super) async fn refresh(self: &Arc<Self>) -> Refreshed {
        let result = match self.start() {
            Start::Finished(result) => result,
            Start::Pending(mut ended) => {
                // An attempt has a time limit, and reports when its runtime drops it. A runtime
                // that does not run does neither.
                match timer(self.settings.periods.stalled_after()) {
                    Err(error) => Err(error),
                    Ok(limit) => {
                        let ended = async move { ended.changed().await.is_ok() };
                        match bounded(ended, limit).await {
                            Ok(_) => self.last_result(),
                            Err(error) => Err(error),
                        }
                    }
                }
            }
        };
        Refreshed {
            keys: self.current(self.now()),
            result,
        }
    }

    fn last_result(&self) -> Result<(), FetchError> {
        let state = self.state();
        let last = state.last.as_ref().map(|(_, result)| result.clone());
        last.unwrap_or(Err(FetchError::Interrupted))
    }

    /// Starts an attempt on the current runtime, unless one is running.
    fn start(self: &Arc<Self>) -> Start {
        let now = self.moment();
        let periods = &self.settings.periods;
        let (attempt, before, ended, runtime) = {
            let mut state = self.state();
            let ended = self.ended.subscribe();
            match (state.running, &state.last) {
                (Some(since), _) if since.elapsed(now) <= periods.stalled_after() => {
                    return Start::Pending(ended);
                }
                (None, Some((when, result))) if when.elapsed(now) < periods.refetch => {
                    return Start::Finished(result.clone());
                }
                _ => {}
            }
            let Ok(runtime) = Handle::try_current() else {
                return Start::Finished(Err(FetchError::NoRuntime));
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
        // Not under the lock: a runtime that shuts down drops the attempt here, which takes the lock.
        let task = runtime.spawn(refresh_loop(attempt)).abort_handle();
        let mut state = self.state();
        if state.generation == generation {
            state.task = Some(task);
        } else {
            drop(state);
            task.abort();
        }
        Start::Pending(ended)
    }

    /// Ends the background task and ignores its result.
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

    /// Stores the result of an attempt, and returns when the next one is due; `None` if a newer task
    /// has replaced this one.
    fn finish(
        &self,
        attempt: &Attempt,
        result: Result<Answer, FetchError>,
        skipped: Option<&str>,
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
                self.renew_or_drop(&mut state, now, due, &error);
                (Err(error), due)
            }
        };
        state.last = Some((now, result.clone()));
        // Under the lock, so that a waiter of the next attempt is not woken by the end of this one.
        self.ended.send_modify(|ended| *ended += 1);
        drop(state);
        // At most one line of log for each attempt, whatever the issuer sends.
        let address = &self.settings.source.address;
        match &result {
            Ok(()) => self.fetches.succeeded(address, self.now()),
            Err(_) => self.fetches.failed(address),
        }
        match (&result, skipped) {
            (Ok(()), None) => debug!(%address, "the key set was fetched"),
            (Ok(()), Some(skipped)) => {
                warn!(%address, %skipped, "the key set was fetched without keys that can't be used");
            }
            (Err(error), skipped) => {
                warn!(%address, %error, skipped, "the key set could not be fetched");
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
            (Some(keys), Some(old)) => Arc::new(keys.reusing(&old.keys)),
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
            lease: due.saturating_add(periods.grace()).min(periods.keep),
        })));
        state.validators = answer.validators;
        state.failures = 0;
        Ok(due)
    }

    /// Renews the lease of the old keys if the issuer is down and they are young enough; drops them
    /// if they are not.
    fn renew_or_drop(&self, state: &mut State, now: Moment, due: Duration, error: &FetchError) {
        // An issuer that publishes an empty set has withdrawn its keys.
        let is_withdrawn = matches!(error, FetchError::Keys(KeyError::NoKey));
        let Some(old) = self.loaded.load_full() else {
            return;
        };
        let periods = &self.settings.periods;
        let left = periods.keep.saturating_sub(old.fetched.elapsed(now));
        if is_withdrawn || left.is_zero() {
            self.loaded.store(None);
            state.validators = Validators::default();
        } else if !error.is_local() {
            self.loaded.store(Some(Arc::new(Loaded {
                keys: Arc::clone(&old.keys),
                fetched: old.fetched,
                leased: now,
                lease: due.saturating_add(periods.grace()).min(left),
            })));
        }
    }
}

/// One fetch. If it is dropped before its end, it reports `Interrupted`.
struct Attempt {
    refresher: Arc<Refresher>,
    generation: u64,
    began: Moment,
    has_ended: bool,
}

impl Attempt {
    fn new(refresher: Arc<Refresher>, generation: u64, began: Moment) -> Self {
        Self {
            refresher,
            generation,
            began,
            has_ended: false,
        }
    }

    async fn run(mut self) -> Option<Duration> {
        let mut skipped = None;
        let result = self.fetch(&mut skipped).await;
        self.has_ended = true;
        self.refresher.finish(&self, result, skipped.as_deref())
    }

    async fn fetch(&self, skipped: &mut Option<String>) -> Result<Answer, FetchError> {
        let settings = &self.refresher.settings;
        let limit = timer(settings.periods.limit)?;
        let validators = self.refresher.state().validators.clone();
        bounded(settings.source.keys(validators, skipped), limit).await?
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.has_ended {
            self.refresher
                .finish(self, Err(FetchError::Interrupted), None);
        }
    }
}

/// Fetches when due, until a newer task takes over or the runtime ends.
async fn refresh_loop(mut attempt: Attempt) {
    loop {
        let (refresher, generation) = (Arc::clone(&attempt.refresher), attempt.generation);
        let Some(due) = attempt.run().await else {
            return;
        };
        let Ok(due) = timer(due) else { return };
        due.await;
        let began = refresher.moment();
        {
            let mut state = refresher.state();
            if state.generation != generation {
                return;
            }
            state.running = Some(began);
        }
        attempt = Attempt::new(refresher, generation, began);
    }
}
