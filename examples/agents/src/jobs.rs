//! Runs are jobs: they begin after their request has been committed, and go on after its response.
//!
//! A job has no request, so the message says whose it is, and [`UserScopeLayer::run`] gives it a
//! scope, a factory, limits and audit events of its own. The queue here is a channel of this process;
//! what goes through it could go through any other that nobody else can write to.
//!
//! [`UserScopeLayer::run`]: tower_user_scope::UserScopeLayer::run

use std::time::Duration;

use tokio::{
    sync::mpsc::{self, OwnedPermit},
    task::JoinSet,
};
use tower_user_scope::{Scoped, context::PortableContext};

use crate::{factory::AgentFactory, failed::Failed, shutdown::Shutdown, users::Users};

/// How many jobs may wait, and how many are at work at a time, of all users together. How many of one
/// user are at work is a limit of the layer.
const MOST_WAITING: usize = 1024;
const MOST_AT_WORK: usize = 64;

/// What a job is called in the audit log, and by which limits know it.
pub(crate) const AGENT_RUN: &str = "agent_run";

/// The longest time that jobs may take to end when the program does.
const LAST_JOBS: Duration = Duration::from_secs(10);

/// What goes through the queue.
#[derive(Debug)]
pub(crate) struct Job {
    /// Who it is for, and until when: proof stays behind.
    pub(crate) context: PortableContext,
    pub(crate) run: String,
}

#[derive(Clone, Debug)]
pub(crate) struct Queue(mpsc::Sender<Job>);

/// A place in the queue, which is taken before a transaction is committed: what was promised to a
/// client is not lost because there is no room for it.
#[derive(Debug)]
pub(crate) struct Place(OwnedPermit<Job>);

impl Queue {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Job>) {
        let (sender, receiver) = mpsc::channel(MOST_WAITING);
        (Self(sender), receiver)
    }

    pub(crate) fn reserve(&self) -> Result<Place, Failed> {
        let permit = self.0.clone().try_reserve_owned();
        permit.map(Place).map_err(|_| Failed::Busy)
    }
}

impl Place {
    pub(crate) fn send(self, job: Job) {
        self.0.send(job);
    }
}

/// Works until the program ends, and then for as long as the last jobs need.
pub(crate) async fn work(users: Users, mut jobs: mpsc::Receiver<Job>, shutdown: Shutdown) {
    let mut at_work = JoinSet::new();
    loop {
        tokio::select! {
            () = shutdown.begins() => break,
            job = jobs.recv(), if at_work.len() < MOST_AT_WORK => match job {
                Some(job) => { at_work.spawn(perform(users.clone(), job)); }
                None => break,
            },
            Some(_) = at_work.join_next() => {}
        }
    }
    jobs.close();
    let last = async {
        while let Some(job) = jobs.recv().await {
            at_work.spawn(perform(users.clone(), job));
        }
        while at_work.join_next().await.is_some() {}
    };
    if tokio::time::timeout(LAST_JOBS, last).await.is_err() {
        tracing::warn!("runs were still at work when the program ended");
    }
}

async fn perform(users: Users, job: Job) {
    // Right because nobody but this program can write to the queue.
    let context = match job.context.vouched_for("run_queue") {
        Ok(context) => context,
        Err(error) => return tracing::warn!(%error, "a run has no user any more"),
    };
    let run = job.run.clone();
    let work = |agents: Scoped<AgentFactory>| async move { agents.perform(&run).await };
    let failed = match users.run(AGENT_RUN, &context, work).await {
        Ok(Ok(())) => return,
        Ok(Err(error)) => format!("{error:?}"),
        // Such as a limit. The audit log has it, too.
        Err(refused) => refused.to_string(),
    };
    tracing::warn!(error = failed, "a run failed");
    let work = |agents: Scoped<AgentFactory>| async move { agents.give_up(&job.run).await };
    if let Ok(Err(error)) = users.run("agent_run_failed", &context, work).await {
        tracing::error!(?error, "a run that failed could not be marked");
    }
}
