//! The layer: all that the program does about its users.

use std::{io::Write, sync::Arc, time::Duration};

use tower_sessions::SessionStore;
use tower_user_scope::{
    ConfigError, UserScopeLayer,
    api_key::ApiKeys,
    audit::{AuditLog, Metrics, UserIdTelemetry},
    factory::BoxFactory,
    limit::{Limit, Rate},
    middleware::BoxUserScopeLayer,
    open_scopes::OpenScopes,
    session::{SessionCookie, TowerSessions014Store},
    token::TokenSource,
};

use crate::{
    factory::{AgentFactory, Shared},
    jobs::AGENT_RUN,
    keys::{Keys, PREFIX},
};

/// The layer has a name, so that jobs can have it too.
pub(crate) type Users = BoxUserScopeLayer<BoxFactory<AgentFactory>>;

/// What one user may use.
const REQUESTS: Rate = Rate::new(600, Duration::from_secs(60)).with_burst(200);
const OPEN_STREAMS: u32 = 16;
const RUNS_AT_WORK: u32 = 4;

/// Builds the layer. `audit` makes the writer of the audit log.
pub(crate) fn layer<W: Write>(
    cookie: &'static str,
    sessions: impl SessionStore,
    open: &OpenScopes,
    shared: Arc<Shared>,
    audit: impl Fn() -> W + Send + Sync + 'static,
) -> Result<Users, ConfigError> {
    let keys =
        ApiKeys::new(PREFIX, Keys(shared.database.clone())).token_source(TokenSource::bearer());
    UserScopeLayer::builder()
        // People with browsers, and their programs.
        .strategy(SessionCookie::new(
            cookie,
            TowerSessions014Store::new(sessions),
        ))
        .strategy(keys)
        // A request with both has to be one user's.
        .unanimous()
        .limit(Limit::rate("requests", REQUESTS).only(|user, _| user.work().is_none()))
        .limit(
            Limit::concurrency("streams", OPEN_STREAMS)
                .only(|_, head| matches!(head.uri.path(), "/api/events" | "/api/socket")),
        )
        .limit(
            Limit::concurrency("runs", RUNS_AT_WORK).only(|user, _| user.work() == Some(AGENT_RUN)),
        )
        // Streams end with their session, also when it is revoked.
        .end_scopes_at_expiry()
        .open_scopes(open)
        // Work that was spawned without a scope can't use anybody's factory.
        .require_scope()
        .observer(AuditLog::new(UserIdTelemetry::Plain, audit)?)
        .observer(Metrics::new())
        .try_factory(move |context| AgentFactory::new(&shared, context))
        .before_response_async(|answered| {
            let (agents, commit) = (answered.scoped(), answered.is_success());
            async move { agents.finish(commit).await }
        })
        .boxed()
        .build()
}
