//! Polls several pieces of work in an order that a seed decides.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Wake, Waker},
};

use fastrand::Rng;

/// Work in progress. Only what was woken is polled, in random order, and a quarter of it later.
pub(in crate::testing) struct Schedule<T> {
    slots: Vec<Slot<T>>,
    task: Arc<Mutex<Option<Waker>>>,
}

struct Slot<T> {
    work: T,
    woken: Arc<Woken>,
    waker: Waker,
}

/// Remembers that a piece of work was woken, and wakes the task that polls all of them.
struct Woken {
    woken: AtomicBool,
    task: Arc<Mutex<Option<Waker>>>,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.woken.swap(true, Ordering::AcqRel) {
            return;
        }
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        let waker = task.clone();
        drop(task);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Schedule<T> {
    pub(in crate::testing) fn new() -> Self {
        Self {
            slots: Vec::new(),
            task: Arc::default(),
        }
    }

    pub(in crate::testing) fn push(&mut self, work: T) {
        let woken = Arc::new(Woken {
            woken: AtomicBool::new(true),
            task: Arc::clone(&self.task),
        });
        let waker = Waker::from(Arc::clone(&woken));
        self.slots.push(Slot { work, woken, waker });
    }

    pub(in crate::testing) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(in crate::testing) fn drain(&mut self) -> impl Iterator<Item = T> + '_ {
        self.slots.drain(..).map(|slot| slot.work)
    }

    /// Polls each piece that was woken; `poll` returns whether it is done.
    pub(in crate::testing) fn turn(
        &mut self,
        cx: &mut Context<'_>,
        rng: &mut Rng,
        mut poll: impl FnMut(&mut T, &mut Context<'_>) -> bool,
    ) {
        *self.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(cx.waker().clone());
        rng.shuffle(&mut self.slots);
        let mut held_up = false;
        self.slots.retain_mut(|slot| {
            if !slot.woken.woken.load(Ordering::Acquire) {
                return true;
            }
            if rng.u8(..4) == 0 {
                held_up = true;
                return true;
            }
            slot.woken.woken.store(false, Ordering::Release);
            !poll(&mut slot.work, &mut Context::from_waker(&slot.waker))
        });
        if held_up {
            cx.waker().wake_by_ref();
        }
    }
}
