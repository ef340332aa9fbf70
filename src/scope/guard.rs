//! Who may use a factory: its own user, and nobody else.

use std::sync::Arc;

use thiserror::Error;

use super::{close::Watch, current::with_current};
use crate::{
    context::{RequestId, UserContext},
    observe::AuditEvent,
};

/// What happens when one user's factory is used in another user's scope.
///
/// Users are told apart by [`Subject`](crate::Subject): principal and tenant. All requests of
/// nobody in particular are one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Isolation {
    /// It is refused and audited.
    #[default]
    Enforce,
    /// It is audited and let through, for a while, to find out before it is refused.
    Report,
    /// Nobody looks.
    Off,
}

/// A factory was used where it must not be.
///
/// It names strategies and requests, and neither user: what it says may end up in a log, or by
/// a panic in a response, that belongs to one of them.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ScopeViolation {
    /// In the scope of another user.
    #[error(
        "`{factory}` was built for request {owner} (by strategy `{owner_strategy}`) and used in \
         request {current} of another user (by strategy `{current_strategy}`): a static, a \
         cache or a captured clone kept it; take the one of the request at hand, or hand it \
         over with `Scoped::lend`"
    )]
    #[non_exhaustive]
    OtherUser {
        /// The type of the factory.
        factory: &'static str,
        /// The request that it was built for.
        owner: RequestId,
        /// The strategy that resolved that request.
        owner_strategy: &'static str,
        /// The request that it was used in.
        current: RequestId,
        /// The strategy that resolved that one.
        current_strategy: &'static str,
    },
    /// Outside every scope, as in a spawned task, where the layer is
    /// [strict](crate::Builder::require_scope).
    #[error(
        "`{factory}` was built for request {owner} (by strategy `{owner_strategy}`) and used \
         outside every scope: give the work its scope with `.in_current_scope()`"
    )]
    #[non_exhaustive]
    NoScope {
        /// The type of the factory.
        factory: &'static str,
        /// The request that it was built for.
        owner: RequestId,
        /// The strategy that resolved that request.
        owner_strategy: &'static str,
    },
}

/// The layer's settings, as each factory keeps them.
#[derive(Clone, Default)]
pub(crate) struct Guard {
    pub(crate) isolation: Isolation,
    pub(crate) strict: bool,
    pub(crate) watch: Option<Arc<Watch>>,
}

impl Guard {
    /// On every access; within one request, a comparison with what is in a thread-local.
    #[inline]
    pub(crate) fn check(
        &self,
        owner: &UserContext,
        factory: fn() -> &'static str,
    ) -> Result<(), ScopeViolation> {
        if owner.is_current() || self.allows(owner) {
            return Ok(());
        }
        self.violated(owner, factory())
    }

    fn allows(&self, owner: &UserContext) -> bool {
        if self.isolation == Isolation::Off {
            return true;
        }
        let allowed = with_current(|current| match current {
            Some(current) => current.is_of_same_subject(owner),
            None => !self.strict,
        });
        allowed.unwrap_or(true)
    }

    #[cold]
    fn violated(&self, owner: &UserContext, factory: &'static str) -> Result<(), ScopeViolation> {
        let owner_strategy = owner.strategy();
        let violation = match UserContext::current() {
            Some(current) => ScopeViolation::OtherUser {
                factory,
                owner: owner.request_id().clone(),
                owner_strategy,
                current: current.request_id().clone(),
                current_strategy: current.strategy(),
            },
            None => ScopeViolation::NoScope {
                factory,
                owner: owner.request_id().clone(),
                owner_strategy,
            },
        };
        let event = AuditEvent::CrossUserAccess {
            violation: &violation,
        };
        Watch::emit(self.watch.as_deref(), &event);
        match self.isolation {
            Isolation::Enforce => Err(violation),
            Isolation::Report | Isolation::Off => Ok(()),
        }
    }
}
