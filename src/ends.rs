//! How a layer ends scopes when their identity ends.

use std::sync::Arc;

#[cfg(feature = "open-scopes")]
use http::request::Parts;

use crate::{clock::Clock, context::UserContext, lifetime::Lifetime};
#[cfg(feature = "open-scopes")]
use crate::{lifetime::EndReason, open_scopes::OpenScopes, scope::Attached};

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
        let end = (context.identity().expires_at()).filter(|_| self.at_expiry);
        if end.is_some() || self.may_revoke() {
            let life = context.life();
            life.begin(|| Lifetime::new(Arc::clone(clock), end));
        }
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
        Ok(Some(match attached {
            None => Box::new(registered),
            Some(attached) => Box::new((registered, attached)),
        }))
    }
}
