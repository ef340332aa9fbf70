//! Renews the identity of an open scope with a fresh credential.

use std::{future::Future, sync::Arc};

use http::request::Parts;

use crate::{
    authorize::Authorize,
    context::UserContext,
    factory::ProvideFactory,
    layer::UserScopeLayer,
    peer::peer_ip,
    policy::Policy,
    rejection::{Rejection, RejectionKind},
    resolve::{Refused, StrategyList},
};

/// What the audit calls it.
const NAME: &str = "renewal";

/// # Renewal
#[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
impl<L, M, A> UserScopeLayer<L, M, A>
where
    L: StrategyList,
    M: ProvideFactory,
    A: Authorize,
{
    /// Renews the identity of an open scope with a fresh credential: moves the scope's end to that of
    /// the credential, so that a WebSocket or a stream goes on without a new connection.
    ///
    /// `context` is the one that the handler got, and the layer the one that it got it from. `head` is
    /// made by the application and has the fresh credential where the strategies look for one, such as
    /// a token that came in a message in `Authorization`. It is resolved as the head of a request. The
    /// `authorize` step, the limits and the factory are not asked.
    ///
    /// [`ended`](UserContext::ended), the response's body and inner layers go by the new end. From then
    /// on, [revocations](crate::open_scopes) find the scope by its new credential, and no longer by the
    /// old one.
    ///
    /// Returns a context with the fresh identity and the same ids. Contexts never change: the given one,
    /// and the factory that is bound to it, keep the attributes of the old credential, and
    /// [`run`](Self::run) refuses work for it when the old credential has expired. Use the new context
    /// for what comes next, so that fewer rights of the fresh credential count.
    ///
    /// # Errors
    /// [`Rejection`], which is audited as a refused work of the name `renewal`. The scope keeps its end.
    /// - A fresh credential that is refused, or none: as for a request.
    /// - [`OtherSubject`](RejectionKind::OtherSubject): another principal, tenant or actor.
    /// - [`Evidence`](RejectionKind::Evidence): the scope's identity is proved, and the fresh one is
    ///   only asserted.
    /// - [`IdentityEnded`](RejectionKind::IdentityEnded): the scope has ended already, or the fresh
    ///   credential was revoked.
    /// - [`Correlation`](RejectionKind::Correlation): the fresh credential is for another thread or run.
    /// - `RevocationsUnknown`: the feed of revocations is lost, and requests are refused then.
    ///
    /// ```
    /// use http::{Request, header};
    /// use tower_user_scope::{UserContext, middleware::BoxUserScopeLayer};
    ///
    /// /// The client of a socket has sent `{"token": ".."}`.
    /// async fn renew(users: &BoxUserScopeLayer, user: &mut UserContext, token: &str) -> String {
    ///     let head = Request::builder().header(header::AUTHORIZATION, format!("Bearer {token}"));
    ///     let Ok(head) = head.body(()) else {
    ///         return "not a token".to_owned();
    ///     };
    ///     match users.renew_identity(user, head.into_parts().0).await {
    ///         Ok(fresh) => {
    ///             *user = fresh;
    ///             "renewed".to_owned()
    ///         }
    ///         // The socket stays open until its end.
    ///         Err(refused) => format!("refused: {}", refused.status()),
    ///     }
    /// }
    /// # let _ = renew;
    /// ```
    pub fn renew_identity(
        &self,
        context: &UserContext,
        mut head: Parts,
    ) -> impl Future<Output = Result<UserContext, Rejection>> + use<L, M, A> {
        let (policy, context) = (Arc::clone(&self.policy), context.clone());
        async move {
            let renewed = renew(&policy, &context, &mut head).await;
            renewed.map_err(|mut refused| {
                refused.request_id = Some(context.request_id().clone());
                refused.work = Some(NAME);
                let peer = peer_ip(&head.extensions);
                policy.audit.emit(&refused.event(None, peer));
                refused.rejection
            })
        }
    }
}

async fn renew<L, M, A>(
    policy: &Policy<L, M, A>,
    context: &UserContext,
    head: &mut Parts,
) -> Result<UserContext, Refused>
where
    L: StrategyList,
    M: ProvideFactory,
    A: Authorize,
{
    let resolver = &policy.resolver;
    let found = (resolver.resolve(head, &policy.audit, policy.handles())).await?;
    let refuse = |kind| {
        let rejection = resolver.challenged(Rejection::new(kind));
        Refused::of(&found, rejection)
    };
    if found.subject() != context.subject() || found.actor() != context.actor() {
        return Err(refuse(RejectionKind::OtherSubject));
    }
    if context.evidence().is_proved() {
        let proved = found.require_proved();
        proved.map_err(|asserted| refuse(RejectionKind::Evidence(asserted)))?;
    }
    let (identity, strategy) = (found.identity().clone(), found.strategy());
    let fresh = context
        .renewed(identity, strategy, policy.handles())
        .map_err(|error| refuse(RejectionKind::Correlation(error)))?;
    #[cfg(feature = "open-scopes")]
    policy.check_feed(&fresh).map_err(refuse)?;
    let renewed = policy.ends.renew(context, &fresh);
    renewed.map_err(|reason| refuse(RejectionKind::IdentityEnded(reason)))?;
    Ok(fresh)
}
