//! What each request, and each job, gets: the agents of one user.
//!
//! [`Shared`] is made once and knows nobody. [`AgentFactory`] is made by the layer for each scope, knows
//! its user, and is gone with the scope. Handlers never name a user.

use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use sqlx::{Row, any::AnyRow};
use tower_user_scope::{
    UserContext, UserId, api_key::ApiKey, context::PortableContext, context::UserRequiredError,
};
use uuid::Uuid;

use crate::{
    database::Database,
    failed::Failed,
    hub::{Event, Hub, Subscription, What},
    jobs::{Job, Place, Queue},
    keys::{PREFIX, encoded},
    model::Model,
    plant::{Plant, Planted},
    registry::{self, Kind},
    work::Work,
};

/// What all users share.
pub(crate) struct Shared {
    pub(crate) database: Database,
    pub(crate) hub: Hub,
    pub(crate) model: Arc<dyn Model>,
    pub(crate) queue: Queue,
    pub(crate) planted: Planted,
}

/// The agents of one user, for as long as one scope is open.
pub(crate) struct AgentFactory {
    shared: Arc<Shared>,
    context: UserContext,
    user: UserId,
    work: Work,
    /// Runs that begin when the transaction is committed.
    queued: Mutex<Vec<(Place, Job)>>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Thread {
    pub(crate) id: String,
    pub(crate) title: String,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Run {
    pub(crate) id: String,
    pub(crate) thread: String,
    pub(crate) agent: String,
    pub(crate) input: String,
    pub(crate) state: String,
    pub(crate) output: String,
}

/// A row that a query without `WHERE` has returned.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct OwnedTitle {
    pub(crate) owner: String,
    pub(crate) title: String,
}

impl From<&AnyRow> for Thread {
    fn from(row: &AnyRow) -> Self {
        Self {
            id: row.get("id"),
            title: row.get("title"),
        }
    }
}

impl From<&AnyRow> for Run {
    fn from(row: &AnyRow) -> Self {
        Self {
            id: row.get("id"),
            thread: row.get("thread"),
            agent: row.get("agent"),
            input: row.get("input"),
            state: row.get("state"),
            output: row.get("output"),
        }
    }
}

impl AgentFactory {
    /// For the layer: an error is a 500, so that no factory is ever without a user.
    pub(crate) fn new(
        shared: &Arc<Shared>,
        context: &UserContext,
    ) -> Result<Self, UserRequiredError> {
        let user = context.require_user()?.clone();
        Ok(Self {
            shared: Arc::clone(shared),
            context: context.clone(),
            work: Work::new(shared.database.clone(), user.clone()),
            user,
            queued: Mutex::default(),
        })
    }

    pub(crate) fn user(&self) -> &UserId {
        &self.user
    }

    pub(crate) fn planted(&self) -> &Planted {
        &self.shared.planted
    }

    /// Returns the user's threads, the newest first.
    pub(crate) async fn threads(&self) -> Result<Vec<Thread>, Failed> {
        let sql = "SELECT id, title FROM threads WHERE owner = $1 ORDER BY id DESC LIMIT 200";
        let rows = self.work.fetch(sql, &[self.user.as_str()]).await?;
        Ok(self.planted().list(rows.iter().map(Thread::from).collect()))
    }

    /// Returns how many threads the user has.
    pub(crate) async fn count_threads(&self) -> Result<i64, Failed> {
        let sql = if self.planted().is(Plant::TotalCount) {
            "SELECT count(*) FROM threads WHERE $1 <> ''"
        } else {
            "SELECT count(*) FROM threads WHERE owner = $1"
        };
        let rows = self.work.fetch(sql, &[self.user.as_str()]).await?;
        Ok(rows.first().map_or(0, |row| row.get(0)))
    }

    pub(crate) async fn add_thread(&self, title: &str) -> Result<Thread, Failed> {
        // Ids can't be guessed. They are in URLs, so nothing depends on that.
        let id = Uuid::now_v7().to_string();
        let sql = "INSERT INTO threads (id, owner, title) VALUES ($1, $2, $3)";
        let values = [&id, self.user.as_str(), title];
        self.work.execute(sql, &values).await?;
        let title = title.to_owned();
        Ok(Thread { id, title })
    }

    /// Returns a thread of this user's. Another user's is not there.
    pub(crate) async fn thread(&self, id: &str) -> Result<Thread, Failed> {
        let sql = if self.planted().is(Plant::AnyThread) {
            "SELECT id, title FROM threads WHERE id = $1 AND $2 <> ''"
        } else {
            "SELECT id, title FROM threads WHERE id = $1 AND owner = $2"
        };
        let rows = self.work.fetch(sql, &[id, self.user.as_str()]).await?;
        rows.first().map(Thread::from).ok_or(Failed::NotFound)
    }

    /// Returns the runs of a thread of this user's, the oldest first.
    pub(crate) async fn runs(&self, thread: &str) -> Result<Vec<Run>, Failed> {
        let sql = "SELECT id, thread, agent, input, state, output FROM runs
                   WHERE thread = $1 AND owner = $2 ORDER BY id LIMIT 200";
        let rows = self.work.fetch(sql, &[thread, self.user.as_str()]).await?;
        Ok(rows.iter().map(Run::from).collect())
    }

    /// Runs a query that forgets the owner, to show that the database does not.
    ///
    /// # Errors
    /// [`Failed::NoRowLevelSecurity`] where nothing but the query holds rows apart.
    pub(crate) async fn threads_of_everybody(&self) -> Result<Vec<OwnedTitle>, Failed> {
        if !self.shared.database.has_row_level_security {
            return Err(Failed::NoRowLevelSecurity);
        }
        let sql = "SELECT owner, title FROM threads ORDER BY id LIMIT 200";
        let rows = self.work.fetch(sql, &[]).await?;
        let rows = rows.iter().map(|row| OwnedTitle {
            owner: row.get("owner"),
            title: row.get("title"),
        });
        Ok(rows.collect())
    }

    /// Adds a run, which begins when the request's transaction is committed.
    ///
    /// # Errors
    /// [`Failed::Busy`] where no place in the queue is free, and then nothing is committed.
    pub(crate) async fn start(
        &self,
        thread: &str,
        kind: &Kind,
        input: &str,
    ) -> Result<Run, Failed> {
        let thread = self.thread(thread).await?;
        let place = self.shared.queue.reserve()?;
        let run = Run {
            id: Uuid::now_v7().to_string(),
            thread: thread.id,
            agent: kind.name.to_owned(),
            input: input.to_owned(),
            state: "queued".to_owned(),
            output: String::new(),
        };
        let sql = "INSERT INTO runs (id, thread, owner, agent, input, state)
                   VALUES ($1, $2, $3, $4, $5, 'queued')";
        let user = self.user.as_str();
        let values = [&run.id, &run.thread, user, &run.agent, &run.input];
        self.work.execute(sql, &values).await?;
        // Whose job it is goes along, as it would into a queue of another process.
        let job = Job {
            context: PortableContext::from(&self.context),
            run: run.id.clone(),
        };
        let mut queued = self.queued.lock().unwrap_or_else(PoisonError::into_inner);
        queued.push((place, job));
        Ok(run)
    }

    /// Ends the request's transaction. After a commit its runs begin, and not before: a job that reads
    /// what is not there yet would fail, and one whose request was rolled back must not be.
    pub(crate) async fn finish(&self, commit: bool) -> sqlx::Result<()> {
        self.work.finish(commit).await?;
        let mut queued = self.queued.lock().unwrap_or_else(PoisonError::into_inner);
        for (place, job) in queued.drain(..) {
            if commit {
                place.send(job);
            }
        }
        Ok(())
    }

    /// Returns what happens to this user's runs from now on.
    pub(crate) fn events(&self) -> Subscription {
        let subject = self.planted().subject(self.context.subject());
        self.shared.hub.subscribe(&subject)
    }

    pub(crate) fn publish(&self, run: &Run, what: What) {
        let subject = self.planted().subject(self.context.subject());
        let event = Event {
            run: run.id.clone(),
            thread: run.thread.clone(),
            what,
        };
        self.shared.hub.publish(&subject, event);
    }

    /// Makes an API key of this user's. It can't be shown again.
    pub(crate) async fn add_key(&self) -> Result<ApiKey, Failed> {
        let key = ApiKey::generate(PREFIX).map_err(|_| Failed::Unavailable)?;
        let sql = "INSERT INTO api_keys (id, owner, hash) VALUES ($1, $2, $3)";
        let values = [key.id().as_str(), self.user.as_str(), &encoded(&key.hash())];
        self.work.execute(sql, &values).await?;
        Ok(key)
    }

    /// Returns the ids of this user's API keys, which are no secrets.
    pub(crate) async fn keys(&self) -> Result<Vec<String>, Failed> {
        let sql = "SELECT id FROM api_keys WHERE owner = $1 ORDER BY id LIMIT 200";
        let rows = self.work.fetch(sql, &[self.user.as_str()]).await?;
        Ok(rows.iter().map(|row| row.get("id")).collect())
    }

    pub(crate) async fn delete_key(&self, id: &str) -> Result<(), Failed> {
        let sql = "DELETE FROM api_keys WHERE id = $1 AND owner = $2";
        match self.work.execute(sql, &[id, self.user.as_str()]).await? {
            0 => Err(Failed::NotFound),
            _ => Ok(()),
        }
    }

    /// Does the work of a run, in a job. Waits for the model without a transaction open.
    pub(crate) async fn perform(&self, id: &str) -> Result<(), Failed> {
        let run = self.run(id).await?;
        self.store(id, "running", "").await?;
        self.publish(&run, What::Started);
        let Ok(output) = self.answers(&run).await else {
            return self.fail(&run).await;
        };
        self.store(id, "done", &output).await?;
        // After the commit: whoever reads on this event, reads the output.
        self.publish(&run, What::Done);
        Ok(())
    }

    /// Notes that a run has failed, or was refused.
    pub(crate) async fn give_up(&self, id: &str) -> Result<(), Failed> {
        let run = self.run(id).await?;
        self.fail(&run).await
    }

    async fn fail(&self, run: &Run) -> Result<(), Failed> {
        self.store(&run.id, "failed", "").await?;
        self.publish(run, What::Failed);
        Ok(())
    }

    async fn answers(&self, run: &Run) -> Result<String, crate::model::ModelError> {
        let prompts = registry::find(&run.agent).map_or(&[][..], |kind| kind.prompts);
        let mut output = String::new();
        for prompt in prompts {
            let mut prompt = prompt.replace("{input}", &run.input);
            if prompt.contains("{earlier}") {
                let earlier = self
                    .earlier(run)
                    .await
                    .map_err(|_| crate::model::ModelError)?;
                prompt = prompt.replace("{earlier}", &earlier);
            }
            let prompt = self.planted().instructions(&self.user, prompt);
            let mut words = self.shared.model.answer(&prompt);
            while let Some(word) = futures::StreamExt::next(&mut words).await {
                let word = word?;
                output.push_str(&word);
                self.publish(run, What::Words { text: word });
            }
            output.push('\n');
        }
        Ok(output)
    }

    /// A tool of the agents: what the same user asked before, in all threads.
    async fn earlier(&self, run: &Run) -> Result<String, Failed> {
        let sql = "SELECT input FROM runs WHERE owner = $1 AND id < $2 ORDER BY id DESC LIMIT 3";
        let rows = self.work.fetch(sql, &[self.user.as_str(), &run.id]).await?;
        let inputs: Vec<String> = rows.iter().map(|row| row.get("input")).collect();
        self.work.commit().await?;
        Ok(match &inputs[..] {
            [] => "nothing".to_owned(),
            inputs => inputs.join(", "),
        })
    }

    async fn run(&self, id: &str) -> Result<Run, Failed> {
        let sql = "SELECT id, thread, agent, input, state, output FROM runs
                   WHERE id = $1 AND owner = $2";
        let rows = self.work.fetch(sql, &[id, self.user.as_str()]).await?;
        rows.first().map(Run::from).ok_or(Failed::NotFound)
    }

    async fn store(&self, id: &str, state: &str, output: &str) -> Result<(), Failed> {
        let sql = "UPDATE runs SET state = $1, output = $2 WHERE id = $3 AND owner = $4";
        let values = [state, output, id, self.user.as_str()];
        self.work.execute(sql, &values).await?;
        Ok(self.work.commit().await?)
    }
}
