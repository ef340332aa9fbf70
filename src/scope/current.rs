//! The current context: the one whose scope is being polled on this thread.

use std::{cell::RefCell, mem, thread};

use crate::{context::UserContext, isolation::Checks};

thread_local! {
    static CURRENT: RefCell<Option<UserContext>> = const { RefCell::new(None) };
}

/// Swaps the context in `slot` with the current one until the guard is dropped. Swapping costs no
/// reference count.
#[inline]
pub(crate) fn enter(slot: &mut Option<UserContext>) -> Entered<'_> {
    exchange(slot);
    Entered {
        slot,
        was_panicking: thread::panicking(),
    }
}

/// Does work in the scope of a context for which no [`OpenScope`](super::OpenScope) exists.
pub(crate) fn within<R>(context: &UserContext, work: impl FnOnce() -> R) -> R {
    let mut slot = Some(context.clone());
    let _entered = enter(&mut slot);
    work()
}

pub(crate) struct Entered<'a> {
    slot: &'a mut Option<UserContext>,
    was_panicking: bool,
}

impl Entered<'_> {
    /// Returns whether a panic that began inside the scope is unwinding.
    pub(super) fn panics(&self) -> bool {
        !self.was_panicking && thread::panicking()
    }
}

impl Drop for Entered<'_> {
    #[inline]
    fn drop(&mut self) {
        exchange(self.slot);
    }
}

/// Does nothing while the thread ends, because its thread-locals are destroyed then.
#[inline]
fn exchange(slot: &mut Option<UserContext>) {
    let _ = CURRENT.try_with(|current| mem::swap(&mut *current.borrow_mut(), slot));
}

/// Reads the current context without cloning it.
pub(super) fn with_current<R>(look: impl FnOnce(&Option<UserContext>) -> R) -> Option<R> {
    CURRENT.try_with(|current| look(&current.borrow())).ok()
}

/// Returns the settings of a layer, or those of the current scope's layer where they are stricter:
/// the settings of a scope within that one.
pub(crate) fn checks_within_current(own: Checks) -> Checks {
    let outer = with_current(|current| current.as_ref().map(UserContext::checks));
    outer.flatten().map_or(own, |outer| outer.stricter(own))
}

impl UserContext {
    /// Returns the context whose scope is being polled on this thread. There is one while
    /// `authorize`, the factory's closure, the inner service, its response's body, or work
    /// [instrumented](crate::scope::InstrumentScope) with a context or [entered](Self::enter) runs.
    ///
    /// ```
    /// use tower_user_scope::{Identity, UserContext, UserId, scope::InstrumentScope};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tower_user_scope::context::IdError> {
    /// let alice = UserContext::builder(Identity::asserted("alice".parse::<UserId>()?)).build();
    ///
    /// assert_eq!(UserContext::current(), None);
    /// let seen = async { UserContext::current() }.in_scope(alice.clone()).await;
    /// assert_eq!(seen, Some(alice));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn current() -> Option<Self> {
        with_current(Clone::clone).flatten()
    }

    /// Runs a closure in the scope of this context, and returns its result.
    ///
    /// This is the synchronous form of [`in_scope`](crate::scope::InstrumentScope::in_scope), for
    /// work that is not polled: `spawn_blocking`, threads, thread pools such as rayon's. The scope
    /// that was current before is current again afterwards, also if the closure panics.
    ///
    /// A closure that returns a future has run before that future is polled: use `in_scope` for the
    /// future.
    ///
    /// ```
    /// use std::thread;
    /// use tower_user_scope::{Identity, UserContext, UserId};
    ///
    /// let alice = UserContext::builder(Identity::asserted("alice".parse::<UserId>()?)).build();
    ///
    /// let context = alice.clone();
    /// let worker = thread::spawn(move || context.enter(UserContext::current));
    /// assert_eq!(worker.join().ok(), Some(Some(alice)));
    /// assert_eq!(UserContext::current(), None);
    /// # Ok::<(), tower_user_scope::context::IdError>(())
    /// ```
    pub fn enter<R>(&self, work: impl FnOnce() -> R) -> R {
        within(self, work)
    }

    /// Returns whether the current scope belongs to this context.
    #[inline]
    pub(crate) fn is_current(&self) -> bool {
        with_current(|current| {
            current
                .as_ref()
                .is_some_and(|current| current.is_same(self))
        })
        .unwrap_or(false)
    }
}
