//! The check that a factory is used in its own user's scope.

use std::{borrow::Cow, sync::Arc};

use super::{close::Watch, current::with_current};
use crate::{audit::AuditEvent, context::UserContext, violation::IsolationError};

/// What happens when one user's factory is used in another user's scope.
///
/// Two users are equal if their [`Subject`](crate::context::Subject)s are: principal and tenant. Two
/// anonymous requests are two users, unless one continues the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Isolation {
    /// The use is refused and audited.
    #[default]
    Enforce,
    /// The use is audited and allowed, to find leaks before they are refused.
    Report,
    /// The use is not checked.
    Off,
}

/// The layer's settings of the check. Each factory holds them.
#[derive(Clone, Default)]
pub(crate) struct Guard {
    pub(crate) isolation: Isolation,
    pub(crate) strict: bool,
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
    fn violated(&self, owner: &UserContext, factory: &'static str) -> Result<(), IsolationError> {
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
        match self.isolation {
            Isolation::Enforce => Err(violation),
            Isolation::Report | Isolation::Off => Ok(()),
        }
    }
}
