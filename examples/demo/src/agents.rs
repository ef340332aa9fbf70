//! The application: agents that write notes for their user.
//!
//! Nothing here knows how a request's user is found. The handlers are the same functions in both
//! services; [`Agents`] is how they get the factory.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    extract::{FromRequestParts, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use tokio::{
    sync::{Semaphore, watch},
    time::timeout,
};
use tower_user_scope::scope::IsolationError;

/// The user of a factory that was given no other.
pub(crate) const NOBODY: &str = "default";

/// The longest time that the model takes for an answer.
const SLOW: Duration = Duration::from_secs(5);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What all users share: a database, in which each note has an owner.
#[derive(Default)]
pub(crate) struct Database(Mutex<HashMap<String, Vec<String>>>);

impl Database {
    fn of(&self, owner: &str) -> Vec<String> {
        lock(&self.0).get(owner).cloned().unwrap_or_default()
    }

    pub(crate) fn add(&self, owner: &str, note: &str) {
        let mut notes = lock(&self.0);
        notes
            .entry(owner.to_owned())
            .or_default()
            .push(note.to_owned());
    }

    pub(crate) fn clear(&self) {
        lock(&self.0).clear();
    }
}

/// A language model, which all users share, and which needs a while for its answers.
///
/// It answers in the order in which it was asked: when the page says so, or after five seconds. So
/// the page decides which of two requests is faster.
pub(crate) struct Model {
    answers: Semaphore,
    /// How many wait for an answer.
    waiting: watch::Sender<usize>,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            answers: Semaphore::new(0),
            waiting: watch::Sender::new(0),
        }
    }
}

impl Model {
    async fn ask(&self) {
        /// Counts down when the answer is there, or when the request is dropped before.
        struct Waits<'a>(&'a watch::Sender<usize>);
        impl Drop for Waits<'_> {
            fn drop(&mut self) {
                self.0.send_modify(|waiting| *waiting -= 1);
            }
        }
        self.waiting.send_modify(|waiting| *waiting += 1);
        let _waits = Waits(&self.waiting);
        if let Ok(Ok(answer)) = timeout(SLOW, self.answers.acquire()).await {
            answer.forget();
        }
    }

    /// Lets whoever waits longest have an answer.
    pub(crate) fn answer_one(&self) {
        self.answers.add_permits(1);
    }

    /// Takes back answers that nobody has asked for.
    pub(crate) fn forget(&self) {
        self.answers.forget_permits(usize::MAX);
    }

    /// Waits until so many requests wait.
    pub(crate) async fn until_waiting(&self, wanted: usize) {
        let mut waiting = self.waiting.subscribe();
        // An error would mean that the sender is gone, and `self` has it.
        let _ = waiting.wait_for(|waiting| *waiting == wanted).await;
    }
}

/// Writes the notes of one user. It was written for one user at a time.
pub(crate) struct AgentFactory {
    database: Arc<Database>,
    model: Arc<Model>,
    current_user: Mutex<String>,
    /// What it wrote, so that it need not be looked up.
    written: Mutex<Vec<String>>,
}

impl AgentFactory {
    pub(crate) fn new(database: Arc<Database>, model: Arc<Model>, user: &str) -> Self {
        Self {
            database,
            model,
            current_user: Mutex::new(user.to_owned()),
            written: Mutex::default(),
        }
    }

    pub(crate) fn act_as(&self, user: &str) {
        user.clone_into(&mut lock(&self.current_user));
    }

    pub(crate) fn forget(&self) {
        self.act_as(NOBODY);
        lock(&self.written).clear();
    }

    fn user(&self) -> String {
        lock(&self.current_user).clone()
    }

    fn notes(&self) -> String {
        let user = self.user();
        let notes = self.database.of(&user);
        format!("Notes of {user}: {}", listed(&notes))
    }

    fn add_note(&self, text: &str) -> String {
        let user = self.user();
        self.database.add(&user, text);
        lock(&self.written).push(text.to_owned());
        format!("Saved for {user}.")
    }

    /// Lets an agent work on a task. Its result becomes a note.
    async fn run(&self, task: &str) -> String {
        self.model.ask().await;
        // After an await, a factory that all requests share may be another user's.
        self.add_note(&format!("Result of \"{task}\""))
    }

    fn written(&self) -> String {
        format!("Written so far: {}", listed(&lock(&self.written)))
    }
}

fn listed(notes: &[String]) -> String {
    match notes {
        [] => "none".to_owned(),
        notes => notes.join("; "),
    }
}

/// How handlers get the factory: by hand the one that all requests share, with the layer a fresh
/// one in a `Scoped`.
pub(crate) trait Agents:
    FromRequestParts<Pinned<Self>> + Clone + Send + Sync + 'static
{
    /// Returns the factory if this request may use it.
    fn factory(&self) -> Result<&AgentFactory, IsolationError>;
}

/// A cache in the application, with the factory that a user pinned.
pub(crate) struct Pinned<A>(Arc<Mutex<Option<A>>>);

impl<A> Pinned<A> {
    pub(crate) fn clear(&self) {
        lock(&self.0).take();
    }
}

impl<A> Default for Pinned<A> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<A> Clone for Pinned<A> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// The routes of the service, for both services.
pub(crate) fn routes<A: Agents>(pinned: Pinned<A>) -> Router {
    Router::new()
        .route("/notes", get(notes::<A>).post(add_note::<A>))
        .route("/runs", post(run::<A>))
        .route("/pinned", get(read_pinned::<A>).post(pin::<A>))
        .with_state(pinned)
}

async fn notes<A: Agents>(agents: A) -> Result<String, Failed> {
    Ok(agents.factory()?.notes())
}

async fn add_note<A: Agents>(agents: A, text: String) -> Result<String, Failed> {
    Ok(agents.factory()?.add_note(&text))
}

async fn run<A: Agents>(agents: A, task: String) -> Result<String, Failed> {
    Ok(agents.factory()?.run(&task).await)
}

/// Writes a note and keeps the factory for the next request: faster, and wrong.
async fn pin<A: Agents>(
    State(pinned): State<Pinned<A>>,
    agents: A,
    text: String,
) -> Result<String, Failed> {
    let answer = agents.factory()?.add_note(&text);
    *lock(&pinned.0) = Some(agents);
    Ok(answer)
}

/// Uses the factory that was kept, whoever asks.
async fn read_pinned<A: Agents>(State(pinned): State<Pinned<A>>) -> Result<String, Failed> {
    let agents = lock(&pinned.0).clone();
    match agents {
        Some(agents) => Ok(agents.factory()?.written()),
        None => Ok("Nothing is pinned.".to_owned()),
    }
}

/// Another user's factory reached a handler: a fault of the application, of which the client learns
/// nothing. The audit log has the reason.
struct Failed;

impl From<IsolationError> for Failed {
    fn from(_: IsolationError) -> Self {
        Self
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    }
}
