//! B53: jobs of a queue, here of apalis, run in the scope of the user who is in their message, with a
//! factory of that user, and end as the work does.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use apalis::prelude::{Data, MemoryStorage, TaskSink, WorkerBuilder, WorkerContext};
use tokio::sync::Barrier;
use tower_user_scope::{
    ExistingContext, Identity, Scoped, UserContext, UserId, UserScopeLayer, audit::AuditEvent,
    authorize::ForbiddenError, context::PortableContext, factory::BoxFactory,
    middleware::BoxUserScopeLayer,
};

/// What a job's factory is: somebody's.
struct Desk(String);

/// What is in the queue.
#[derive(Clone)]
struct Job {
    /// Whose it is, as the handler of a request has written it.
    user: Vec<u8>,
    fails: bool,
}

impl Job {
    fn of(user: &str, fails: bool) -> Self {
        let id = UserId::try_from(user).expect("a user id");
        let context = UserContext::builder(Identity::proved(id)).build();
        let user = serde_json::to_vec(&PortableContext::from(&context)).expect("JSON");
        Self { user, fails }
    }
}

/// What all jobs share.
#[derive(Clone)]
struct Office {
    users: BoxUserScopeLayer<BoxFactory<Desk>>,
    /// All jobs that may begin meet here, so that they are under way at once.
    meeting: Arc<Barrier>,
    finished: Arc<AtomicUsize>,
}

impl Office {
    const JOBS: usize = 5;

    async fn work(&self, job: &Job) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let arrived: PortableContext = serde_json::from_slice(&job.user)?;
        let context = arrived.vouched_for("jobs")?;
        let work = async |desk: Scoped<Desk>| {
            self.meeting.wait().await;
            for _ in 0..20 {
                assert_eq!(desk.0, name(&UserContext::current().expect("in scope")));
                tokio::task::yield_now().await;
            }
            if job.fails {
                Err("failed on purpose")
            } else {
                Ok(())
            }
        };
        Ok(self.users.run("send_invoices", &context, work).await??)
    }
}

fn name(user: &UserContext) -> String {
    user.user_id().map_or_else(String::new, ToString::to_string)
}

/// The handler, in apalis's usual form.
async fn send_invoices(
    job: Job,
    office: Data<Office>,
    worker: WorkerContext,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let done = office.work(&job).await;
    if office.finished.fetch_add(1, Ordering::SeqCst) + 1 == Office::JOBS {
        worker.stop()?;
    }
    done
}

#[tokio::test]
async fn b53_jobs_of_apalis_have_the_scope_of_their_user_and_their_own_ending() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let events = Arc::clone(&seen);
    let users = UserScopeLayer::builder()
        .strategy(ExistingContext::new())
        .authorize(|user, _| match user.user_id() {
            Some(user) if user == "mallory" => Err(ForbiddenError::new("mallory").into()),
            _ => Ok(()),
        })
        .factory(|user| Desk(name(user)))
        .observer(move |event: &AuditEvent<'_>| {
            let line = match event {
                AuditEvent::ScopeClosed {
                    context, ending, ..
                } => (name(context), context.work(), ending.as_str().to_owned()),
                AuditEvent::Refused {
                    rejection, work, ..
                } => (String::new(), *work, rejection.status().to_string()),
                _ => return,
            };
            events.lock().expect("no panic").push(line);
        })
        .boxed()
        .build()
        .expect("a valid configuration");
    let office = Office {
        users,
        // Mallory's job is refused.
        meeting: Arc::new(Barrier::new(Office::JOBS - 1)),
        finished: Arc::default(),
    };
    let mut queue = MemoryStorage::new();
    for job in [
        Job::of("alice", false),
        Job::of("bob", true),
        Job::of("mallory", false),
        Job::of("alice", true),
        Job::of("carol", false),
    ] {
        queue.push(job).await.expect("in memory");
    }
    let worker = WorkerBuilder::new("invoices")
        .backend(queue)
        .data(office)
        .build(send_invoices);
    // A limit for a worker that hangs, and no measure of one that does not.
    let run = tokio::time::timeout(Duration::from_secs(60), worker.run());
    run.await
        .expect("all jobs are done")
        .expect("a worker that stops");

    let mut seen = seen.lock().expect("no panic").clone();
    seen.sort();
    let line = |user: &str, end: &str| (user.to_owned(), Some("send_invoices"), end.to_owned());
    let expected = [
        line("", "403 Forbidden"),
        line("alice", "completed"),
        line("alice", "failed"),
        line("bob", "failed"),
        line("carol", "completed"),
    ];
    assert_eq!(seen, expected);
}
