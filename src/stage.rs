//! What a request waits for: its strategies, its authorization, or its factory.

use pin_project::pin_project;

#[cfg(feature = "limit")]
use crate::limit::TakeAll;
use crate::{
    context::UserContext,
    resolve::Tally,
    scope::{Attached, InScope, InstrumentScope},
};

/// What is waited for.
#[pin_project(project = StageProjection)]
pub(crate) enum Stage<P, A, M> {
    Resolving {
        #[pin]
        pending: P,
        tally: Tally,
    },
    Authorizing {
        /// In its scope, also where it is dropped.
        #[pin]
        future: InScope<A>,
        context: UserContext,
    },
    /// Waits for the stores of limits.
    #[cfg(feature = "limit")]
    Counting {
        #[pin]
        future: InScope<TakeAll>,
        context: UserContext,
    },
    Building {
        #[pin]
        future: InScope<M>,
        context: UserContext,
        attached: Attached,
    },
}

impl<P, A, M> Stage<P, A, M> {
    pub(crate) fn authorizing(future: A, context: UserContext) -> Self {
        Self::Authorizing {
            future: future.in_scope(context.clone()),
            context,
        }
    }

    #[cfg(feature = "limit")]
    pub(crate) fn counting(future: TakeAll, context: UserContext) -> Self {
        Self::Counting {
            future: future.in_scope(context.clone()),
            context,
        }
    }

    pub(crate) fn building(future: M, context: UserContext, attached: Attached) -> Self {
        Self::Building {
            future: future.in_scope(context.clone()),
            context,
            attached,
        }
    }
}
