//! Whether an identity belongs to the tenant that the request names.

use std::sync::Arc;

use http::request::Parts;

use crate::{
    authorize::ForbiddenError,
    context::{Identity, TenantError, TenantId, TenantSource},
};

/// The application's rule for identities that have no tenant of their own.
pub(crate) type BelongsTo = dyn Fn(&Identity, &TenantId) -> bool + Send + Sync;

/// Where the tenant is named, and who belongs to it.
pub(crate) struct TenantRule {
    pub(crate) source: TenantSource,
    /// Nobody without a tenant belongs to one if there is no rule.
    pub(crate) belongs_to: Option<Arc<BelongsTo>>,
}

impl TenantRule {
    /// Returns the tenant that the request names, if the identity belongs to it; `None` if it names none.
    pub(super) fn tenant_of(
        &self,
        head: &Parts,
        identity: &Identity,
    ) -> Result<Option<TenantId>, NotAdmitted> {
        let Some(named) = self.source.read(head).map_err(NotAdmitted::Unreadable)? else {
            return Ok(None);
        };
        // One id in two tenants is two users, so a tenant of its own is never replaced.
        let belongs = match identity.tenant_id() {
            Some(own) => *own == named,
            None => (self.belongs_to.as_ref()).is_some_and(|rule| rule(identity, &named)),
        };
        if belongs {
            Ok(Some(named))
        } else {
            Err(NotAdmitted::Another(ForbiddenError::new("another_tenant")))
        }
    }
}

/// Why an identity is not let into the tenant that the request names.
pub(super) enum NotAdmitted {
    Unreadable(TenantError),
    Another(ForbiddenError),
}
