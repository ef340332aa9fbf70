//! The handlers. Each takes the agents of its own user, and names no user.

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header::ACCEPT},
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tower_user_scope::{
    Scoped, UserContext,
    open_scopes::{OpenScopes, Revocation},
};

use crate::{
    factory::{AgentFactory, OwnedTitle, Thread},
    failed::Failed,
    plant::KeptFactory,
    registry::{KINDS, find},
    streams,
};

type Agents = Scoped<AgentFactory>;

/// How long what a user writes may be, in bytes.
const LONGEST_BODY: usize = 16 * 1024;
const LONGEST_TITLE: usize = 200;
const LONGEST_INPUT: usize = 4_000;

pub(crate) fn routes(open: OpenScopes) -> Router {
    Router::new()
        .route("/api/me", get(me))
        .route("/api/kinds", get(kinds))
        .route("/api/threads", get(threads).post(add_thread))
        .route("/api/threads/{thread}", get(thread))
        .route("/api/threads/{thread}/runs", post(start))
        .route("/api/wrong-query", get(wrong_query))
        .route("/api/keys", get(keys).post(add_key))
        .route("/api/keys/{key}", delete(delete_key))
        .route("/api/events", get(streams::events))
        .route("/api/socket", get(streams::socket))
        .layer(DefaultBodyLimit::max(LONGEST_BODY))
        .with_state(open)
}

async fn me(agents: Agents, context: UserContext) -> Result<Json<Value>, Failed> {
    let agents = KeptFactory::or(agents);
    let agents = Scoped::try_get(&agents).map_err(|_| Failed::Unavailable)?;
    Ok(Json(json!({
        "user": agents.user().as_str(),
        "by": context.strategy(),
        "threads": agents.count_threads().await?,
    })))
}

async fn kinds() -> Json<Value> {
    let kinds = KINDS.map(|kind| json!({ "name": kind.name, "says": kind.says }));
    Json(json!(kinds))
}

async fn threads(agents: Agents) -> Result<Json<Vec<Thread>>, Failed> {
    Ok(Json(agents.threads().await?))
}

#[derive(Deserialize)]
struct NewThread {
    title: String,
}

async fn add_thread(
    agents: Agents,
    Json(wanted): Json<NewThread>,
) -> Result<(StatusCode, Json<Thread>), Failed> {
    let title = checked(&wanted.title, LONGEST_TITLE)?;
    let thread = agents.add_thread(title).await?;
    Ok((StatusCode::CREATED, Json(thread)))
}

async fn thread(agents: Agents, Path(id): Path<String>) -> Result<Json<Value>, Failed> {
    let thread = agents.thread(&id).await?;
    let runs = agents.runs(&thread.id).await?;
    Ok(Json(
        json!({ "id": thread.id, "title": thread.title, "runs": runs }),
    ))
}

#[derive(Deserialize)]
struct NewRun {
    agent: String,
    input: String,
}

/// Starts a run. A client that accepts an event stream gets the user's events until it has ended;
/// any other client gets the run as it is now.
async fn start(
    agents: Agents,
    Path(thread): Path<String>,
    headers: HeaderMap,
    Json(wanted): Json<NewRun>,
) -> Result<Response, Failed> {
    let kind = find(&wanted.agent).ok_or(Failed::BadRequest)?;
    let input = checked(&wanted.input, LONGEST_INPUT)?;
    // From before the run begins, which is after this handler.
    let events = agents.events();
    let run = agents.start(&thread, kind, input).await?;
    let accepted = headers.get(ACCEPT).map(HeaderValue::as_bytes);
    if accepted == Some(b"text/event-stream") {
        return Ok(streams::until_end(events, run).into_response());
    }
    Ok((StatusCode::ACCEPTED, Json(run)).into_response())
}

/// What no handler should do, to show that the database does not let it.
async fn wrong_query(agents: Agents) -> Result<Json<Vec<OwnedTitle>>, Failed> {
    Ok(Json(agents.threads_of_everybody().await?))
}

async fn keys(agents: Agents) -> Result<Json<Vec<String>>, Failed> {
    Ok(Json(agents.keys().await?))
}

async fn add_key(agents: Agents) -> Result<(StatusCode, Json<Value>), Failed> {
    let key = agents.add_key().await?;
    // The only time that it is shown.
    let shown = json!({ "id": key.id().as_str(), "key": key.expose_secret() });
    Ok((StatusCode::CREATED, Json(shown)))
}

/// Deletes a key, and ends the streams that were opened with it.
async fn delete_key(
    agents: Agents,
    State(open): State<OpenScopes>,
    Path(id): Path<String>,
) -> Result<StatusCode, Failed> {
    // Only the owner's deletion gets past this line.
    agents.delete_key(&id).await?;
    if let Err(error) = open.revoke(Revocation::of_token(id)) {
        tracing::warn!(%error, "the end of a key could not be remembered");
    }
    Ok(StatusCode::NO_CONTENT)
}

fn checked(text: &str, longest: usize) -> Result<&str, Failed> {
    let text = text.trim();
    if text.is_empty() || text.len() > longest {
        return Err(Failed::BadRequest);
    }
    Ok(text)
}
