//! Leases of slots: renewed while their scopes are open, and given back when these close.

use std::{
    collections::HashMap,
    future::{Future, poll_fn},
    hash::{BuildHasher, RandomState},
    mem,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
    time::Duration,
};

use redis::{Script, pipe};
use tokio::{
    sync::Notify,
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};

use super::link::Link;
use crate::outcome::UnavailableError;

/// How many leases are renewed, or given back, in one call.
const BATCH: usize = 512;

/// The leases of this process.
pub(super) struct Leases {
    link: Arc<Link>,
    time: Duration,
    /// What the ids of this process begin with.
    process: u64,
    next: AtomicU64,
    state: Mutex<State>,
    changed: Arc<Notify>,
    renew: Script,
}

#[derive(Default)]
struct State {
    /// The limits of each lease.
    held: HashMap<Arc<str>, Vec<Arc<str>>>,
    /// The leases of each limit that Redis has not yet said to be gone.
    given_back: HashMap<Arc<str>, Vec<Arc<str>>>,
    task: Option<JoinHandle<()>>,
}

/// The key of a limit, and the id of a lease.
type Slot = (Arc<str>, Arc<str>);

/// A lease of one slot of each limit, given back where it is dropped.
pub(super) struct Lease {
    leases: Arc<Leases>,
    id: Arc<str>,
    limits: Vec<Arc<str>>,
}

impl Leases {
    pub(super) fn new(link: Arc<Link>, time: Duration) -> Arc<Self> {
        Arc::new(Self {
            link,
            time,
            process: RandomState::new().hash_one(()),
            next: AtomicU64::new(0),
            state: Mutex::default(),
            changed: Arc::default(),
            renew: Script::new(include_str!("renew.lua")),
        })
    }

    pub(super) fn time(&self) -> Duration {
        self.time
    }

    /// Prepares a lease, for Redis to grant.
    pub(super) fn prepare(self: &Arc<Self>, limits: Vec<Arc<str>>) -> Lease {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        Lease {
            leases: Arc::clone(self),
            id: format!("{:016x}{number:x}", self.process).into(),
            limits,
        }
    }

    /// Returns what is given back of a lease's limits, at most a batch of it: a request goes to Redis
    /// with it, so that it finds the slot of one that has just ended free.
    pub(super) fn given_back_of(&self, lease: &Lease) -> Vec<Slot> {
        let state = self.lock();
        let limits = lease.limits.iter();
        let slots = limits.filter_map(|limit| state.given_back.get_key_value(limit));
        slots.flat_map(slots_of).take(BATCH).collect()
    }

    /// Forgets what was given back: Redis has heard of it, or leaves it to the lease's end.
    pub(super) fn forget(&self, slots: &[Slot]) {
        let mut state = self.lock();
        for (limit, id) in slots {
            if let Some(ids) = state.given_back.get_mut(limit) {
                ids.retain(|known| known != id);
                if ids.is_empty() {
                    state.given_back.remove(limit);
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_back(&self, slots: impl Iterator<Item = Slot>) {
        let mut state = self.lock();
        for (limit, id) in slots {
            state.given_back.entry(limit).or_default().push(id);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Gives back what no request has taken along.
    async fn send_given_back(&self) {
        loop {
            let slots: Vec<Slot> = {
                let state = self.lock();
                let slots = state.given_back.iter().flat_map(slots_of);
                slots.take(BATCH).collect()
            };
            if slots.is_empty() {
                return;
            }
            // What Redis does not hear of ends by itself.
            let _ = self.send(&slots).await;
            self.forget(&slots);
        }
    }

    async fn send(&self, slots: &[Slot]) -> Result<(), UnavailableError> {
        let mut connected = self.link.connect().await?;
        let mut calls = pipe();
        for (limit, id) in slots {
            calls.zrem(&**limit, &**id).ignore();
        }
        let answer = calls.query_async(&mut connected.connection).await;
        self.link.answered(connected.number(), answer).await
    }

    async fn renew_all(&self) -> Result<(), UnavailableError> {
        let slots: Vec<Slot> = {
            let state = self.lock();
            let held = state.held.iter().flat_map(slots_of);
            held.map(|(id, limit)| (limit, id)).collect()
        };
        for slots in slots.chunks(BATCH) {
            let mut connected = self.link.connect().await?;
            let mut call = self.renew.arg(self.time.as_millis().to_string());
            for (limit, id) in slots {
                call.key(&**limit).arg(&**id);
            }
            let answer = call.invoke_async(&mut connected.connection).await;
            let _: u8 = self.link.answered(connected.number(), answer).await?;
            // What was given back meanwhile may have been renewed after that.
            let again: Vec<Slot> = {
                let state = self.lock();
                let given_back = slots.iter().filter(|(_, id)| !state.held.contains_key(id));
                given_back.cloned().collect()
            };
            if !again.is_empty() {
                self.give_back(again.into_iter());
            }
        }
        Ok(())
    }
}

/// Pairs a key with each of its values.
fn slots_of((key, values): (&Arc<str>, &Vec<Arc<str>>)) -> impl Iterator<Item = Slot> {
    values
        .iter()
        .map(|value| (Arc::clone(key), Arc::clone(value)))
}

/// Renews and gives back, until nobody has the leases any more.
async fn keep(leases: Weak<Leases>, changed: Arc<Notify>, renew_after: Duration) {
    let mut ticks = interval(renew_after);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut was_reported = false;
    loop {
        let is_time = {
            let mut tick = pin!(ticks.tick());
            let mut change = pin!(changed.notified());
            poll_fn(|cx| match tick.as_mut().poll(cx) {
                Poll::Ready(_) => Poll::Ready(true),
                Poll::Pending => change.as_mut().poll(cx).map(|()| false),
            })
            .await
        };
        let Some(leases) = leases.upgrade() else {
            return;
        };
        leases.send_given_back().await;
        if !is_time {
            continue;
        }
        match leases.renew_all().await {
            Ok(()) => was_reported = false,
            Err(error) => {
                if !mem::replace(&mut was_reported, true) {
                    tracing::error!(
                        target: "tower_user_scope::audit",
                        reason = %error,
                        "the slots of open scopes could not be renewed: other replicas may see them \
                         as free"
                    );
                }
            }
        }
    }
}

impl Drop for Leases {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = state.task.take() {
            task.abort();
        }
    }
}

impl Lease {
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Renews the lease from now on, which Redis has granted; `None` where it is of no slot.
    pub(super) fn hold(self) -> Option<Self> {
        if self.limits.is_empty() {
            return None;
        }
        let leases = &self.leases;
        let mut state = leases.lock();
        state.held.insert(Arc::clone(&self.id), self.limits.clone());
        // Anew where the runtime that it ran on is gone.
        if state.task.as_ref().is_none_or(JoinHandle::is_finished) {
            let changed = Arc::clone(&leases.changed);
            let keep = keep(Arc::downgrade(leases), changed, leases.time / 3);
            state.task = Some(tokio::spawn(keep));
        }
        drop(state);
        Some(self)
    }

    /// Drops the lease, which Redis has not granted.
    pub(super) fn forget(mut self) {
        self.limits.clear();
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.limits.is_empty() {
            return;
        }
        self.leases.lock().held.remove(&self.id);
        let limits = mem::take(&mut self.limits).into_iter();
        let slots = limits.map(|limit| (limit, Arc::clone(&self.id)));
        self.leases.give_back(slots);
    }
}
