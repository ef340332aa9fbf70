//! The principal of requests without any credential: a service or nobody, never a user.

use std::{fmt, sync::Arc};

use http::request::Parts;

use super::Predicate;
use crate::context::{Evidence, IdError, Identity, Principal, ServiceName};

/// The principal of requests in which no strategy found a credential *and* none was sent.
///
/// It is not a strategy but an option of the layer, and never a user: code that requires a user gets
/// an error.
///
/// ```
/// use tower_user_scope::Fallback;
///
/// let probe = Fallback::service("health-check").only_if(|head| head.uri.path() == "/health");
/// let everyone_else = Fallback::anonymous();
/// # let _ = (probe, everyone_else);
/// ```
///
/// Whatever the condition lets through acts as the service. A condition on the peer's address, such
/// as [`is_loopback`](crate::is_loopback), lets everybody through behind a proxy on the same
/// machine, whose address that is.
#[derive(Clone)]
#[must_use]
pub struct Fallback {
    principal: Result<Principal, IdError>,
    name: &'static str,
    condition: Option<Predicate>,
}

impl Fallback {
    /// A service of this name. An invalid name is an error of `build()`.
    pub fn service(name: &str) -> Self {
        Self {
            principal: ServiceName::try_from(name).map(Principal::Service),
            name: "service_fallback",
            condition: None,
        }
    }

    /// Nobody: [`Principal::Anonymous`]. Two requests are two visitors, whose factories and
    /// [keys](crate::UserContext::scoped_key) stay apart.
    pub fn anonymous() -> Self {
        Self {
            principal: Ok(Principal::Anonymous),
            name: "anonymous_fallback",
            condition: None,
        }
    }

    /// Acts only on requests that meet a condition. Replaces an earlier condition.
    pub fn only_if(mut self, condition: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        self.condition = Some(Arc::new(condition));
        self
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn validate(&self) -> Result<(), IdError> {
        self.principal.as_ref().map(|_| ()).map_err(|error| *error)
    }

    pub(crate) fn identity(&self, head: &Parts) -> Option<Identity> {
        let applies = self
            .condition
            .as_ref()
            .is_none_or(|condition| condition(head));
        let principal = self.principal.as_ref().ok().filter(|_| applies)?;
        Some(Identity::known(principal.clone(), Evidence::FALLBACK))
    }
}

impl fmt::Debug for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fallback")
            .field("principal", &self.principal)
            .field("conditional", &self.condition.is_some())
            .finish_non_exhaustive()
    }
}
