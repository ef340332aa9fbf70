//! The same service with the layer.

use std::sync::Arc;

use axum::{Router, http::request::Parts};
use tower_user_scope::{
    ConfigError, CredentialSource, Identity, InvalidError, Outcome, Scoped, TrustedHeader, UserId,
    UserScopeLayer,
    authorize::Authorize,
    factory::ProvideFactory,
    from_fn,
    middleware::StrategyList,
    scope::IsolationError,
    strategy::{InvalidErrorKind, Strategy},
};

use crate::{
    agents::{AgentFactory, Agents, Database, Model, NOBODY, Pinned, routes},
    feed::Feed,
};

/// What the gateway adds to each request beside the user, and nobody else knows.
pub(crate) const GATEWAY_SECRET: &str = "demo-gateway-secret";

/// The tokens that were given out, with the name in front, as the service by hand reads it. A real
/// service uses `ApiKeys`, which stores hashes only, or `Jwt` for signed tokens.
const TOKENS: [(&str, &str); 2] = [("alice.K3vT9qLx", "alice"), ("bob.Zw81mNpd", "bob")];

/// Takes the user from a token, if it is one of those that were given out.
fn token(head: &Parts) -> Outcome {
    let Some(sent) = head.headers.get("authorization") else {
        return Outcome::Absent;
    };
    let sent = sent
        .to_str()
        .ok()
        .and_then(|sent| sent.strip_prefix("Bearer "));
    // The whole token is compared; what it says of itself counts for nothing.
    let found = TOKENS.into_iter().find(|(token, _)| Some(*token) == sent);
    match found.map(|(_, user)| UserId::try_from(user)) {
        Some(Ok(user)) => Identity::proved(user).into(),
        Some(Err(error)) => Outcome::Invalid(error.into()),
        // Here and bad, which is not the same as absent: nothing weaker is tried after it.
        None => InvalidError::new(InvalidErrorKind::Rejected("token_unknown")).into(),
    }
}

/// Builds the layer: all that the service does about its users.
pub(crate) fn layer(
    database: Arc<Database>,
    model: Arc<Model>,
    feed: Feed,
) -> Result<
    UserScopeLayer<
        impl StrategyList<Pending: Send> + Send + Sync + 'static,
        impl ProvideFactory<Future: Send> + Send + Sync + 'static,
        impl Authorize<Future: Send> + Send + Sync + 'static,
    >,
    ConfigError,
> {
    UserScopeLayer::builder()
        .strategy(from_fn(CredentialSource::header("authorization"), token).named("token"))
        // The address alone is not enough here: everybody on this machine has it.
        .strategy(
            TrustedHeader::new("x-user-id")
                .from_proxies(["127.0.0.1"])?
                .shared_secret("x-gateway-secret", GATEWAY_SECRET),
        )
        // Two credentials in one request have to be the same user's.
        .unanimous()
        // A fresh one for each request. What it shares with others knows nobody.
        .factory(move |context| {
            let user = context.user_id().map_or(NOBODY, UserId::as_str);
            AgentFactory::new(Arc::clone(&database), Arc::clone(&model), user)
        })
        .observer(feed)
        .build()
}

impl Agents for Scoped<AgentFactory> {
    fn factory(&self) -> Result<&AgentFactory, IsolationError> {
        // Handlers that take a `Scoped` in their arguments just use it; this is for one that was
        // kept.
        Scoped::try_get(self)
    }
}

pub(crate) fn app<L, M, A>(
    layer: UserScopeLayer<L, M, A>,
    pinned: Pinned<Scoped<AgentFactory>>,
) -> Router
where
    L: StrategyList<Pending: Send> + Send + Sync + 'static,
    M: ProvideFactory<Future: Send> + Send + Sync + 'static,
    A: Authorize<Future: Send> + Send + Sync + 'static,
{
    routes(pinned).layer(layer)
}
