//! The service by hand: a helper that looks everywhere, a default, and one factory for everybody.
//!
//! Real services have each of these mistakes. Don't copy them.

use std::{convert::Infallible, sync::Arc};

use axum::{
    Router,
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, request::Parts},
    middleware::{self, Next},
    response::Response,
};
use tower_user_scope::scope::IsolationError;

use crate::agents::{AgentFactory, Agents, Database, Model, NOBODY, Pinned, routes};

/// Finds out who it is: a header, else a cookie, else a token.
fn find_user(headers: &HeaderMap) -> Option<&str> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    // Wrong: anybody can send it. And of two it takes the first, which the client sent before the
    // gateway added its own.
    if let Some(user) = text("x-user-id") {
        return Some(user);
    }
    // Wrong: nobody signed the cookie.
    if let Some(user) = text("cookie").and_then(|cookie| cookie.strip_prefix("user=")) {
        return Some(user);
    }
    // Wrong: the name in the token is believed, and its secret is not compared. A JWT that is
    // decoded and not verified is the same.
    let token = text("authorization")?.strip_prefix("Bearer ")?;
    let (user, _secret) = token.split_once('.')?;
    Some(user)
}

/// Tells the one factory whose request this is.
async fn prepare(State(shared): State<Shared>, mut request: Request, next: Next) -> Response {
    // Wrong: where nobody is found, it goes on as whoever the factory worked for last.
    if let Some(user) = find_user(request.headers()) {
        // Wrong: all requests share the factory. The next one changes it while this one waits.
        shared.0.act_as(user);
    }
    request.extensions_mut().insert(shared.clone());
    let response = next.run(request).await;
    // Wrong: a request whose client goes away is dropped in the line before this.
    shared.0.act_as(NOBODY);
    response
}

/// The one factory, for everybody.
#[derive(Clone)]
pub(crate) struct Shared(Arc<AgentFactory>);

impl Shared {
    pub(crate) fn new(database: Arc<Database>, model: Arc<Model>) -> Self {
        Self(Arc::new(AgentFactory::new(database, model, NOBODY)))
    }

    /// Forgets what the factory did, before the next scenario.
    pub(crate) fn forget(&self) {
        self.0.forget();
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Shared {
    type Rejection = Infallible;

    async fn from_request_parts(head: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let shared = head.extensions.get::<Self>();
        Ok(shared.expect("`prepare` inserts it").clone())
    }
}

impl Agents for Shared {
    fn factory(&self) -> Result<&AgentFactory, IsolationError> {
        // Wrong: there is nothing to compare, as the factory is nobody's.
        Ok(&self.0)
    }
}

pub(crate) fn app(shared: Shared, pinned: Pinned<Shared>) -> Router {
    routes(pinned).layer(middleware::from_fn_with_state(shared, prepare))
}
