//! The handle that handlers receive.

use std::{any::type_name, fmt, ops::Deref, sync::Arc};

use crate::context::UserContext;

/// The fresh factory of one request, and the context that it is bound to.
///
/// It dereferences to the factory. Clones share the one instance; it is dropped with the last
/// of them.
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
    shared: Arc<Shared<F>>,
}

struct Shared<F> {
    context: UserContext,
    factory: Held<F>,
}

/// A factory that existing handlers want as an `Arc` is one from the start.
enum Held<F> {
    Own(F),
    Shared(Arc<F>),
}

impl<F> Scoped<F> {
    pub(super) fn own(context: UserContext, factory: F) -> Self {
        Self::hold(context, Held::Own(factory))
    }

    pub(super) fn shared(context: UserContext, factory: Arc<F>) -> Self {
        Self::hold(context, Held::Shared(factory))
    }

    fn hold(context: UserContext, factory: Held<F>) -> Self {
        Self {
            shared: Arc::new(Shared { context, factory }),
        }
    }

    /// The context that the factory was built for.
    #[must_use]
    pub fn context(this: &Self) -> &UserContext {
        &this.shared.context
    }

    /// Whether two handles are of one and the same instance.
    #[must_use]
    pub fn ptr_eq(this: &Self, other: &Self) -> bool {
        Arc::ptr_eq(&this.shared, &other.shared)
    }
}

impl<F> Deref for Scoped<F> {
    type Target = F;

    fn deref(&self) -> &F {
        match &self.shared.factory {
            Held::Own(factory) => factory,
            Held::Shared(factory) => factory,
        }
    }
}

impl<F> Clone for Scoped<F> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<F> fmt::Debug for Scoped<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scoped")
            .field("factory", &format_args!("{}", type_name::<F>()))
            .field("context", &self.shared.context)
            .finish()
    }
}
