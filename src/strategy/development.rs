//! A fixed user for a developer's own machine.

use std::future::Ready;

use http::request::Parts;

use super::{Outcome, Presence, Strategy};
use crate::{
    config_error::ConfigError,
    context::{Evidence, IdError, Identity, Principal, UserId},
    maybe_future::MaybeFuture,
    peer::{is_loopback, is_meant_for_loopback},
};

/// **For development only**: a fixed user for requests that come from this very machine.
///
/// It answers only where [`is_loopback`] does and the request's `Host` is this machine too, so
/// that no page of another site gets a browser here to act as the user. It warns when the layer
/// is built, and marks the context and every audit event as development. Put it last.
///
/// # Security
///
/// Behind a proxy, a tunnel or a port forward on the same machine, the peer of every request is
/// that proxy. One that adds a forwarding header, passes the client's `Host` on, or speaks
/// HTTP/1.0 is noticed, and nobody is the user; one that does none of them is not, and then
/// **everybody in the world is**. Keep it out of what is deployed: add it in debug builds alone
/// (`cfg!(debug_assertions)`), or by a setting that only developers have.
///
/// ```
/// use tower_user_scope::{DevelopmentUser, UserScopeLayer};
///
/// let layer = UserScopeLayer::builder()
///     .strategy(DevelopmentUser::new("dev@localhost"))
///     .context_only()
///     .build()?;
/// # let _ = layer;
/// # Ok::<(), tower_user_scope::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct DevelopmentUser {
    user_id: Result<UserId, IdError>,
}

impl DevelopmentUser {
    /// Makes this the user of every request from this machine. An invalid id is an error of `build()`.
    #[must_use]
    pub fn new(user_id: &str) -> Self {
        Self {
            user_id: UserId::try_from(user_id),
        }
    }
}

impl Strategy for DevelopmentUser {
    type Future = Ready<Outcome>;

    fn name(&self) -> &'static str {
        "development_user"
    }

    fn resolve(&self, head: &Parts) -> MaybeFuture<Self::Future> {
        MaybeFuture::ready(match &self.user_id {
            Ok(id) if is_loopback(head) && is_meant_for_loopback(head) => {
                Identity::known(Principal::User(id.clone()), Evidence::DEVELOPMENT).into()
            }
            _ => Outcome::Absent,
        })
    }

    fn presence(&self, _: &Parts) -> Presence {
        Presence::NotSent
    }

    fn validate(&self) -> Result<(), ConfigError> {
        let user_id = self.user_id.as_ref().map_err(|error| *error)?;
        tracing::warn!(
            target: "tower_user_scope::audit",
            development = true,
            user.id = %user_id,
            "DevelopmentUser is on: every request from this machine acts as this user; \
             remove it before anybody else can reach this service"
        );
        Ok(())
    }
}
