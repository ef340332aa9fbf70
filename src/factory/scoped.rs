//! The handle that handlers receive.

use std::{
    any::{Any, type_name},
    fmt, mem,
    ops::Deref,
    panic::Location,
    sync::{Arc, OnceLock},
};

use crate::{
    context::UserContext,
    scope::{ClosedScope, Guard, Handle, ScopeState, Use, within},
    violation::IsolationError,
};

/// The fresh factory of one request, and the context that it is bound to.
///
/// It dereferences to the factory. Clones share the one instance; it is dropped when the scope
/// of its request has closed and no clone is left.
///
/// # Isolation
/// Each access checks that it happens in a scope of the user whom the factory was built for:
///
/// | used | what happens | refused with |
/// | --- | --- | --- |
/// | in a scope of the same user | it is allowed | |
/// | in another user's scope | it panics, or [`try_get`](Self::try_get) returns the [`IsolationError`] | the default of [`isolation`](crate::middleware::LayerBuilder::isolation) |
/// | outside every scope | it is allowed, and reported once for each place in the program | [`require_scope`](crate::middleware::LayerBuilder::require_scope) |
/// | after its own scope has closed | it is allowed, and reported once for each scope | [`require_open_scope`](crate::middleware::LayerBuilder::require_open_scope) |
///
/// A clone that is still held when its scope closes is reported. A handle that
/// [`keep`](Self::keep) returned, for a job that goes on, is neither reported for that nor for its
/// use afterwards. The scope of an upgraded connection, such as a WebSocket, lasts as long as its
/// handles.
///
/// Two things skip the check on purpose: [`unchecked`](Self::unchecked), and
/// [`in_scope`](crate::scope::InstrumentScope::in_scope) or [`enter`](UserContext::enter) with another
/// user's context.
///
/// With the `axum` feature it is an extractor; elsewhere it is in the request's extensions
/// ([`UserScopeExt`](crate::UserScopeExt)).
///
/// ```
/// # struct AgentFactory;
/// # impl AgentFactory { fn start(&self, _: &str) -> String { String::new() } }
/// use tower_user_scope::Scoped;
///
/// async fn run_agent(agents: Scoped<AgentFactory>) -> String {
///     agents.start("researcher")
/// }
/// ```
pub struct Scoped<F> {
    // The first field, because it is dropped first: a kept handle must not be counted as another
    // one while it is dropped.
    shared: Arc<Shared<F>>,
    /// There if this handle is kept on purpose.
    kept: Option<Arc<Kept>>,
}

/// Counts the handles that are kept on purpose.
struct Kept;

struct Shared<F> {
    context: UserContext,
    factory: Held<F>,
    guard: Guard,
    state: ScopeState,
    kept: OnceLock<Arc<Kept>>,
    /// The scope of a connection that changed its protocol: it closes with the last handle.
    open: OnceLock<Box<dyn Any + Send + Sync>>,
}

/// The factory, in an `Arc` of its own where existing handlers take that.
enum Held<F> {
    Own(F),
    Shared(Arc<F>),
    /// While the last handle is dropped.
    Gone,
}

/// The factory's `Drop` runs in its user's scope, wherever the last handle is dropped.
impl<F> Drop for Shared<F> {
    fn drop(&mut self) {
        let Self {
            context, factory, ..
        } = self;
        if mem::needs_drop::<F>() && !context.is_current() {
            within(context, || *factory = Held::Gone);
        }
    }
}

impl<F> Scoped<F> {
    pub(crate) fn own(context: UserContext, guard: &Guard, factory: F) -> Self {
        Self::hold(context, guard, ScopeState::open(), Held::Own(factory))
    }

    pub(super) fn shared(context: UserContext, guard: &Guard, factory: Arc<F>) -> Self {
        Self::hold(context, guard, ScopeState::open(), Held::Shared(factory))
    }

    /// A factory that no layer built: nothing is reported about where and when it is used.
    #[cfg(feature = "testing")]
    pub(crate) fn untracked(context: UserContext, factory: F) -> Self {
        let (guard, state) = (Guard::default(), ScopeState::untracked());
        Self::hold(context, &guard, state, Held::Own(factory))
    }

    fn hold(context: UserContext, guard: &Guard, state: ScopeState, factory: Held<F>) -> Self {
        Self {
            shared: Arc::new(Shared {
                context,
                factory,
                guard: guard.clone(),
                state,
                kept: OnceLock::new(),
                open: OnceLock::new(),
            }),
            kept: None,
        }
    }

    /// Returns the factory if the current scope belongs to the same user, or there is no scope.
    ///
    /// # Errors
    /// [`IsolationError`] in another user's scope. Outside every scope and after the factory's own
    /// scope has closed only where a layer asks for that: with
    /// [`require_scope`](crate::middleware::LayerBuilder::require_scope) and
    /// [`require_open_scope`](crate::middleware::LayerBuilder::require_open_scope).
    #[inline]
    #[track_caller]
    pub fn try_get(this: &Self) -> Result<&F, IsolationError> {
        let shared = &*this.shared;
        // Within one request it costs one relaxed load and a comparison of two pointers.
        if !shared.state.is_open() || !shared.context.is_current() {
            shared.guard.check(&Use {
                owner: &shared.context,
                factory: type_name::<F>(),
                place: Location::caller(),
                state: &shared.state,
                kept: this.kept.is_some(),
            })?;
        }
        Ok(shared.factory())
    }

    /// Returns the factory without the check of each access: it can be used in the scope of any
    /// user, and after its own scope has closed.
    ///
    /// This is right for a service that acts for several users at once, such as an export that
    /// reads all of their data. It is wrong as a cure for an [`IsolationError`], which says that
    /// one user's request reached another user's factory. It counts as a handle that is still held
    /// when the scope closes.
    ///
    /// ```
    /// use tower_user_scope::Scoped;
    ///
    /// struct Repository;
    ///
    /// /// Copies what two users own, in the scope of whoever asked for it.
    /// fn merge(from: &Scoped<Repository>, to: &Scoped<Repository>) {
    ///     let (from, to) = (Scoped::unchecked(from), Scoped::unchecked(to));
    ///     let _: (&Repository, &Repository) = (&from, &to);
    /// }
    /// ```
    #[must_use]
    pub fn unchecked(this: &Self) -> Unchecked<F> {
        Unchecked {
            shared: Arc::clone(&this.shared),
        }
    }

    /// Returns a handle that is held beyond the request on purpose, such as by a job: this one
    /// handle is not reported when the scope closes, and may be used afterwards.
    ///
    /// Each other handle is reported, clones of this one too. The user stays checked: give the job
    /// its scope.
    ///
    /// ```
    /// use tower_user_scope::{Scoped, scope::InstrumentScope};
    ///
    /// # struct Agents;
    /// # impl Agents { async fn work(&self) {} }
    /// async fn start(agents: Scoped<Agents>) {
    ///     let agents = Scoped::keep(&agents);
    ///     tokio::spawn(async move { agents.work().await }.in_current_scope());
    /// }
    /// # let _ = start;
    /// ```
    #[must_use = "what is kept is the handle that this returns"]
    pub fn keep(this: &Self) -> Self {
        let kept = this.shared.kept.get_or_init(|| Arc::new(Kept));
        Self {
            kept: Some(Arc::clone(kept)),
            ..this.clone()
        }
    }

    /// Returns the context that the factory was built for.
    #[must_use]
    pub fn context(this: &Self) -> &UserContext {
        &this.shared.context
    }

    /// Whether two handles share one instance.
    #[must_use]
    pub fn ptr_eq(this: &Self, other: &Self) -> bool {
        Arc::ptr_eq(&this.shared, &other.shared)
    }
}

impl<F> Deref for Scoped<F> {
    type Target = F;

    /// # Panics
    /// Where [`try_get`](Self::try_get) gives an error.
    #[inline]
    #[track_caller]
    #[expect(
        clippy::panic,
        reason = "going on would show one user's data to another; `try_get` doesn't panic"
    )]
    fn deref(&self) -> &F {
        match Self::try_get(self) {
            Ok(factory) => factory,
            Err(violation) => panic!("{violation}"),
        }
    }
}

impl<F> Shared<F> {
    fn factory(&self) -> &F {
        match &self.factory {
            Held::Own(factory) => factory,
            Held::Shared(factory) => factory,
            Held::Gone => unreachable!("a handle is there, so the factory is"),
        }
    }
}

impl<F: Send + Sync + 'static> Scoped<F> {
    pub(super) fn handle(this: &Self) -> Arc<dyn Handle> {
        Arc::clone(&this.shared) as Arc<dyn Handle>
    }

    pub(crate) fn from_handle(handle: Arc<dyn Handle>) -> Option<Self> {
        let shared = handle.into_any().downcast().ok()?;
        Some(Self { shared, kept: None })
    }
}

impl<F: Send + Sync + 'static> Handle for Shared<F> {
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }

    fn factory(&self) -> &'static str {
        type_name::<F>()
    }

    fn state(&self) -> &ScopeState {
        &self.state
    }

    fn bare_holders(&self) -> usize {
        match &self.factory {
            Held::Own(_) | Held::Gone => 0,
            Held::Shared(factory) => Arc::strong_count(factory) - 1,
        }
    }

    fn kept_handles(&self) -> usize {
        self.kept
            .get()
            .map_or(0, |kept| Arc::strong_count(kept) - 1)
    }

    fn keep_open(&self, scope: Box<dyn Any + Send + Sync>) {
        // A second scope could only come from a service that answers twice.
        let _ = self.open.set(scope);
    }
}

/// A factory whose use is not checked: [`Scoped::unchecked`] returns it. It dereferences to the
/// factory.
pub struct Unchecked<F> {
    shared: Arc<Shared<F>>,
}

impl<F> Deref for Unchecked<F> {
    type Target = F;

    fn deref(&self) -> &F {
        self.shared.factory()
    }
}

impl<F> fmt::Debug for Unchecked<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unchecked")
            .field("factory", &format_args!("{}", type_name::<F>()))
            .field("context", &self.shared.context)
            .finish()
    }
}

/// The clone is not [kept](Scoped::keep).
impl<F> Clone for Scoped<F> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            kept: None,
        }
    }
}

impl ClosedScope {
    /// Returns the factory of the request, one last time; `None` where the layer built another
    /// type or none, and for an upgraded connection, whose scope closes because the factory is
    /// gone.
    ///
    /// The handle is [kept](Scoped::keep): the hook uses it after the scope has closed on purpose.
    #[must_use]
    pub fn scoped<F: Send + Sync + 'static>(&self) -> Option<Scoped<F>> {
        let scoped = Scoped::from_handle(Arc::clone(self.handle()?))?;
        Some(Scoped::keep(&scoped))
    }
}

impl<F> fmt::Debug for Scoped<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scoped")
            .field("factory", &format_args!("{}", type_name::<F>()))
            .field("context", &self.shared.context)
            .finish_non_exhaustive()
    }
}
