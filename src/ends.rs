//! How a layer ends scopes when their identity ends.

use std::sync::Arc;

#[cfg(feature = "open-scopes")]
use http::request::Parts;

use crate::{
    clock::Clock,
    context::UserContext,
    lifetime::{EndReason, Lifetime},
};
#[cfg(feature = "open-scopes")]
use crate::{
    open_scopes::{Credential, OnFeedLost, OpenScopes},
    scope::Attached,
};

/// What ends the scopes of a layer.
#[derive(Default)]
pub(crate) struct Ends {
    pub(crate) at_expiry: bool,
    #[cfg(feature = "open-scopes")]
    pub(crate) open_scopes: Option<OpenScopes>,
}

impl Ends {
    /// Begins the life of a context's scope, if something can end it.
    pub(crate) fn begin(&self, context: &UserContext, clock: &Arc<dyn Clock>) {
        let end = context.identity().expires_at();
        if (end.is_some() && self.at_expiry) || self.may_revoke() {
            let life = context.life();
            life.begin(|| Lifetime::new(Arc::clone(clock), end, self.at_expiry));
        }
    }

    /// Moves the end of a context's scope to that of the fresh one, whose credential the open scope is
    /// known by from then on; or returns why one of them has ended.
    #[cfg_attr(
        not(feature = "open-scopes"),
        expect(clippy::unused_self, reason = "nothing is revoked then")
    )]
    pub(crate) fn renew(
        &self,
        context: &UserContext,
        fresh: &UserContext,
    ) -> Result<(), EndReason> {
        #[cfg(feature = "open-scopes")]
        self.check_revoked(fresh)?;
        let Some(life) = context.life().get() else {
            return Ok(());
        };
        life.renew(fresh.identity().expires_at())?;
        #[cfg(feature = "open-scopes")]
        {
            let credential = fresh.attributes().get::<Credential>();
            life.set_credential(Arc::new(credential.cloned().unwrap_or_default()));
            // Looked at again: a revocation that comes in between finds the scope by its new credential.
            self.check_revoked(fresh)
                .inspect_err(|reason| life.end_as(*reason))?;
        }
        Ok(())
    }

    #[cfg(feature = "open-scopes")]
    fn check_revoked(&self, context: &UserContext) -> Result<(), EndReason> {
        let reason = (self.open_scopes.as_ref()).and_then(|open| open.why_revoked(context));
        reason.map_or(Ok(()), Err)
    }

    #[cfg(feature = "open-scopes")]
    fn may_revoke(&self) -> bool {
        self.open_scopes.is_some()
    }

    #[cfg(not(feature = "open-scopes"))]
    #[expect(clippy::unused_self, reason = "nothing revokes without the feature")]
    fn may_revoke(&self) -> bool {
        false
    }

    /// Returns what becomes of a request, if its revocations are not known.
    #[cfg(feature = "open-scopes")]
    pub(crate) fn lost_feed(&self) -> Option<OnFeedLost> {
        self.open_scopes.as_ref()?.lost_feed()
    }

    /// Adds the scope to the open ones until what is attached is dropped; or returns why its credential
    /// is no longer valid.
    #[cfg(feature = "open-scopes")]
    pub(crate) fn register(
        &self,
        context: &UserContext,
        head: &Parts,
        attached: Attached,
    ) -> Result<Attached, EndReason> {
        let Some(open_scopes) = &self.open_scopes else {
            return Ok(attached);
        };
        let registered = open_scopes.register(context, head)?;
        Ok(attached.and(registered))
    }
}
