//! Whose scope is being polled on this thread.

use std::{
    cell::{Cell, RefCell},
    mem, thread,
};

use crate::context::UserContext;

thread_local! {
    static CURRENT: RefCell<Option<UserContext>> = const { RefCell::new(None) };
    /// Where the current context is in memory, which nothing else can be while it is current:
    /// enough to know it again, and quicker to look at.
    static ADDRESS: Cell<usize> = const { Cell::new(NOWHERE) };
}

/// Where no context is.
const NOWHERE: usize = 0;

/// Makes the context that rests in `slot` the current one until the guard is dropped; what was
/// current before rests there meanwhile. Nothing is cloned, so it costs no reference count.
#[inline]
pub(crate) fn enter(slot: &mut Option<UserContext>) -> Entered<'_> {
    exchange(slot);
    Entered {
        slot,
        was_panicking: thread::panicking(),
    }
}

/// Does some work in the scope of this context, before there is a scope that could be open.
pub(crate) fn within<R>(context: &UserContext, work: impl FnOnce() -> R) -> R {
    within_and_back(context, work).0
}

/// As [`within`], and gives back the reference that was lent to the scope, for who needs one.
#[inline]
pub(crate) fn within_and_back<R>(
    context: &UserContext,
    work: impl FnOnce() -> R,
) -> (R, UserContext) {
    let mut slot = Some(context.clone());
    let entered = enter(&mut slot);
    let result = work();
    drop(entered);
    (result, slot.unwrap_or_else(|| context.clone()))
}

pub(crate) struct Entered<'a> {
    slot: &'a mut Option<UserContext>,
    was_panicking: bool,
}

impl Entered<'_> {
    /// Whether what was polled inside is panicking its way out.
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

/// While a thread ends, its locals are gone and so is every scope on it.
#[inline]
fn exchange(slot: &mut Option<UserContext>) {
    let _ = CURRENT.try_with(|current| {
        let mut current = current.borrow_mut();
        mem::swap(&mut *current, slot);
        ADDRESS.set(current.as_ref().map_or(NOWHERE, UserContext::address));
    });
}

/// Looks at the current context without cloning it.
pub(super) fn with_current<R>(look: impl FnOnce(&Option<UserContext>) -> R) -> Option<R> {
    CURRENT.try_with(|current| look(&current.borrow())).ok()
}

impl UserContext {
    /// The context whose scope is being polled on this thread: set while `authorize`, the
    /// factory's closure, the inner service, its response's body, or work
    /// [instrumented](crate::scope::InstrumentScope) with a context runs.
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

    /// Whether it is this very context's scope that is polled.
    #[inline]
    pub(crate) fn is_current(&self) -> bool {
        ADDRESS.get() == self.address()
    }
}
