//! The check that a factory is used in its own user's scope.

use std::{borrow::Cow, sync::Arc};

use super::{close::Watch, current::with_current};
use crate::{
    audit::AuditEvent,
    context::UserContext,
    isolation::{Checks, Isolation},
    violation::IsolationError,
};

/// The check of a layer. Each factory of the layer holds it.
#[derive(Clone, Default)]
pub(crate) struct Guard {
    pub(crate) checks: Checks,
    pub(crate) watch: Option<Arc<Watch>>,
}

impl Guard {
    /// Checks one access. Within one request it costs a comparison of two pointers.
    #[inline]
    pub(crate) fn check(
        &self,
        owner: &UserContext,
        factory: fn() -> &'static str,
    ) -> Result<(), IsolationError> {
        if owner.is_current() {
            return Ok(());
        }
        self.check_elsewhere(owner, factory)
    }

    /// Checks an access in another scope than that of the factory's own request, or in none.
    #[inline(never)]
    fn check_elsewhere(
        &self,
        owner: &UserContext,
        factory: fn() -> &'static str,
    ) -> Result<(), IsolationError> {
        let checks = self.checks.stricter(owner.checks());
        let (checks, allowed) = with_current(|current| match current {
            Some(current) => (
                checks.stricter(current.checks()),
                current.is_of_same_subject(owner),
            ),
            None => (checks, !checks.require_scope),
        })
        // The thread ends, and no scope is left on it.
        .unwrap_or((checks, !checks.require_scope));
        if allowed || checks.isolation == Isolation::Off {
            return Ok(());
        }
        self.violated(owner, factory(), checks.isolation)
    }

    #[cold]
    fn violated(
        &self,
        owner: &UserContext,
        factory: &'static str,
        isolation: Isolation,
    ) -> Result<(), IsolationError> {
        let owner_strategy = owner.strategy();
        let violation = match UserContext::current() {
            Some(current) => IsolationError::OtherUser {
                factory,
                owner: owner.request_id().clone(),
                owner_strategy,
                current: current.request_id().clone(),
                current_strategy: current.strategy(),
            },
            None => IsolationError::NoScope {
                factory,
                owner: owner.request_id().clone(),
                owner_strategy,
            },
        };
        let event = AuditEvent::CrossUserAccess {
            violation: Cow::Borrowed(&violation),
        };
        Watch::emit(self.watch.as_deref(), &event);
        match isolation {
            Isolation::Enforce => Err(violation),
            Isolation::Report | Isolation::Off => Ok(()),
        }
    }
}
