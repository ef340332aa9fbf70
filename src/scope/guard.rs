//! The check that a factory is used in its own user's scope, and while its own scope is open.

use std::{borrow::Cow, panic::Location, sync::Arc};

use super::{
    close::Watch,
    current::with_current,
    places::{Places, Report, UNOBSERVED},
    state::ScopeState,
};
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

/// One use of a factory.
pub(crate) struct Use<'a> {
    pub(crate) owner: &'a UserContext,
    /// The type of the factory.
    pub(crate) factory: &'static str,
    pub(crate) place: &'static Location<'static>,
    /// The state of the scope of the factory's own request.
    pub(crate) state: &'a ScopeState,
    /// Whether the handle is kept beyond that scope on purpose.
    pub(crate) kept: bool,
}

impl Guard {
    /// Checks a use that is not plainly allowed: one outside the scope of the factory's own request,
    /// or after that scope has closed.
    #[inline(never)]
    pub(crate) fn check(&self, used: &Use<'_>) -> Result<(), IsolationError> {
        let own = self.checks.stricter(used.owner.checks());
        // There is none either while the thread ends.
        let scope = with_current(|current| {
            let current = current.as_ref()?;
            Some((current.checks(), current.is_of_same_subject(used.owner)))
        })
        .flatten();
        let checks = scope.map_or(own, |(checks, _)| own.stricter(checks));
        if checks.isolation == Isolation::Off {
            return Ok(());
        }
        match scope {
            Some((_, true)) => {}
            Some((_, false)) => self.violated(used, checks)?,
            None if checks.require_scope => self.violated(used, checks)?,
            None => self.report_place(used),
        }
        if used.kept || !used.state.is_closed() {
            return Ok(());
        }
        self.used_after_close(used, checks)
    }

    #[cold]
    fn violated(&self, used: &Use<'_>, checks: Checks) -> Result<(), IsolationError> {
        let (factory, owner) = (used.factory, used.owner.request_id().clone());
        let owner_strategy = used.owner.strategy();
        let violation = match UserContext::current() {
            Some(current) => IsolationError::OtherUser {
                factory,
                owner,
                owner_strategy,
                current: current.request_id().clone(),
                current_strategy: current.strategy(),
            },
            None => IsolationError::NoScope {
                factory,
                owner,
                owner_strategy,
            },
        };
        self.emit(&AuditEvent::CrossUserAccess {
            violation: Cow::Borrowed(&violation),
        });
        match checks.isolation {
            Isolation::Enforce => Err(violation),
            Isolation::Report | Isolation::Off => Ok(()),
        }
    }

    /// Reports a use outside every scope, once for each place.
    fn report_place(&self, used: &Use<'_>) {
        // What no layer built says nothing about how layers' factories are used.
        if !used.state.is_tracked() {
            return;
        }
        let places = match &self.watch {
            Some(watch) => &watch.places,
            None => &*UNOBSERVED,
        };
        match places.add(used.place, used.factory) {
            Report::Nothing => {}
            Report::Place => self.emit(&AuditEvent::FactoryUsedOutsideScope {
                context: Cow::Borrowed(used.owner),
                factory: used.factory,
                place: used.place,
            }),
            Report::Limit => tracing::warn!(
                target: "tower_user_scope::audit",
                limit = Places::MOST,
                "factories are used outside every scope at more places than are reported"
            ),
        }
    }

    #[cold]
    fn used_after_close(&self, used: &Use<'_>, checks: Checks) -> Result<(), IsolationError> {
        let refused = checks.require_open_scope && checks.isolation == Isolation::Enforce;
        // A refusal is always reported.
        if used.state.is_first_report() || refused {
            self.emit(&AuditEvent::FactoryUsedAfterClose {
                context: Cow::Borrowed(used.owner),
                factory: used.factory,
                place: used.place,
                refused,
            });
        }
        if refused {
            return Err(IsolationError::ScopeClosed {
                factory: used.factory,
                owner: used.owner.request_id().clone(),
                owner_strategy: used.owner.strategy(),
            });
        }
        Ok(())
    }

    fn emit(&self, event: &AuditEvent<'_>) {
        Watch::emit(self.watch.as_deref(), event);
    }
}
