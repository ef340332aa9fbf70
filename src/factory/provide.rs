//! The forms in which a factory is inserted into the extensions.

use std::{fmt, sync::Arc};

use http::Extensions;

use super::{ContextOnly, MakeFactory, Scoped};
use crate::{
    context::{Handles, UserContext},
    maybe_future::MaybeFuture,
    scope::{Guard, Handle},
};

/// Builds a factory and inserts it; made by
/// [`LayerBuilder::factory`](crate::middleware::LayerBuilder::factory) and its variants.
///
/// Sealed: implement [`MakeFactory`] instead.
#[diagnostic::on_unimplemented(
    message = "the layer doesn't say what it builds for each request",
    label = "no factory was given",
    note = "call `.factory(|user| ..)`, `.factory_async(..)` or `.make_factory(..)` before \
            `.before_response(..)` and `.build()`",
    note = "or `.context_only()` where handlers need nothing but the `UserContext`"
)]
pub trait ProvideFactory: MakeFactory + private::Insert {
    /// What work ([`UserScopeLayer::run`](crate::UserScopeLayer::run)) and steps
    /// [before the response](crate::middleware::Answered) get of a layer: a
    /// [`Scoped`](crate::Scoped), or a [`UserContext`](crate::UserContext) from a layer without a
    /// factory.
    type Handle: Clone + Send + Sync + 'static;
}

impl<M> ProvideFactory for Provided<M, M::Factory>
where
    M: MakeFactory<Factory: Send + Sync + 'static>,
{
    type Handle = Scoped<M::Factory>;
}

impl ProvideFactory for ContextOnly {
    type Handle = UserContext;
}

pub(crate) mod private {
    use super::{Arc, Extensions, Guard, Handle, Handles, MakeFactory, UserContext};

    pub trait Insert: MakeFactory {
        /// Inserts the factory, and returns its handle where there is one.
        #[expect(private_interfaces, reason = "the trait itself can't be named outside")]
        fn insert(
            &self,
            factory: Self::Factory,
            context: UserContext,
            guard: &Guard,
            into: &mut Extensions,
        ) -> Option<Arc<dyn Handle>>;
        #[expect(private_interfaces, reason = "the trait itself can't be named outside")]
        fn handles(&self) -> Handles;
    }
}

/// No factory has been given yet.
#[derive(Clone, Copy, Debug)]
pub struct NoFactory {
    pub(crate) _private: (),
}

impl private::Insert for ContextOnly {
    #[expect(private_interfaces, reason = "the trait itself can't be named outside")]
    fn insert(
        &self,
        (): (),
        context: UserContext,
        _: &Guard,
        into: &mut Extensions,
    ) -> Option<Arc<dyn Handle>> {
        into.insert(context);
        None
    }

    #[expect(private_interfaces, reason = "the trait itself can't be named outside")]
    fn handles(&self) -> Handles {
        Handles::NONE
    }
}

/// Makes a factory and inserts it in one or several forms.
pub struct Provided<M, F> {
    make: M,
    shapes: Shapes<F>,
}

impl<M, F> Provided<M, F>
where
    F: Send + Sync + 'static,
{
    pub(crate) fn new(make: M) -> Self {
        Self {
            make,
            shapes: Shapes::handle_only(),
        }
    }

    pub(crate) fn map<N>(self, change: impl FnOnce(M) -> N) -> Provided<N, F> {
        Provided {
            make: change(self.make),
            shapes: self.shapes,
        }
    }

    pub(crate) fn reshape(self, reshape: impl FnOnce(Shapes<F>) -> Shapes<F>) -> Self {
        Self {
            shapes: reshape(self.shapes),
            ..self
        }
    }
}

/// The forms: always a [`Scoped`], and the bare types where existing handlers take those. They are
/// functions, because some need bounds that the others don't (`F: Clone`).
pub(crate) struct Shapes<F> {
    insert: fn(&Self, F, UserContext, &Guard, &mut Extensions) -> Arc<dyn Handle>,
    arc: Option<fn(&Arc<F>, &mut Extensions)>,
    value: Option<fn(&F, &mut Extensions)>,
    remove: fn(&mut Extensions),
}

impl<F: Send + Sync + 'static> Shapes<F> {
    fn handle_only() -> Self {
        Self {
            insert: |_, factory, context, guard, into| {
                insert_handle(Scoped::own(context, guard, factory), into)
            },
            arc: None,
            value: None,
            remove: |from| {
                from.remove::<Scoped<F>>();
            },
        }
    }

    fn with_bare_types(mut self) -> Self {
        self.insert = |shapes, factory, context, guard, into| {
            if let Some(value) = shapes.value {
                value(&factory, into);
            }
            match shapes.arc {
                Some(arc) => {
                    let factory = Arc::new(factory);
                    arc(&factory, into);
                    insert_handle(Scoped::shared(context, guard, factory), into)
                }
                None => insert_handle(Scoped::own(context, guard, factory), into),
            }
        };
        self.remove = match (self.arc, self.value) {
            (Some(_), Some(_)) => |from| {
                from.remove::<Scoped<F>>();
                from.remove::<Arc<F>>();
                from.remove::<F>();
            },
            (Some(_), None) => |from| {
                from.remove::<Scoped<F>>();
                from.remove::<Arc<F>>();
            },
            (None, Some(_)) => |from| {
                from.remove::<Scoped<F>>();
                from.remove::<F>();
            },
            (None, None) => self.remove,
        };
        self
    }

    pub(crate) fn with_arc(mut self) -> Self {
        self.arc = Some(|factory, into| {
            into.insert(Arc::clone(factory));
        });
        self.with_bare_types()
    }

    pub(crate) fn with_value(mut self) -> Self
    where
        F: Clone,
    {
        self.value = Some(|factory, into| {
            into.insert(factory.clone());
        });
        self.with_bare_types()
    }
}

fn insert_handle<F>(scoped: Scoped<F>, into: &mut Extensions) -> Arc<dyn Handle>
where
    F: Send + Sync + 'static,
{
    let handle = Scoped::handle(&scoped);
    into.insert(scoped);
    handle
}

impl<M: MakeFactory> MakeFactory for Provided<M, M::Factory> {
    type Factory = M::Factory;
    type Error = M::Error;
    type Future = M::Future;

    #[inline]
    fn make(&self, context: &UserContext) -> MaybeFuture<Self::Future> {
        self.make.make(context)
    }
}

impl<M: MakeFactory> private::Insert for Provided<M, M::Factory> {
    #[expect(private_interfaces, reason = "the trait itself can't be named outside")]
    fn insert(
        &self,
        factory: M::Factory,
        context: UserContext,
        guard: &Guard,
        into: &mut Extensions,
    ) -> Option<Arc<dyn Handle>> {
        into.insert(context.clone());
        let shapes = &self.shapes;
        Some((shapes.insert)(shapes, factory, context, guard, into))
    }

    #[expect(private_interfaces, reason = "the trait itself can't be named outside")]
    fn handles(&self) -> Handles {
        Handles::of::<M::Factory>(self.shapes.remove)
    }
}

impl<M: fmt::Debug, F> fmt::Debug for Provided<M, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provided")
            .field("make", &self.make)
            .field("arc", &self.shapes.arc.is_some())
            .field("value", &self.shapes.value.is_some())
            .finish()
    }
}
