//! B26, B34: a store that crashes under load and clients that disconnect during a look-up never give
//! a client another user's session.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, task::JoinSet};
use tower_sessions::{MemoryStore, SessionStore, session::Id};
use tower_user_scope::{
    UserScopeLayer,
    rejection::RejectionKind,
    session::{SessionCookie, TowerSessions014Store},
    strategy::Strategy,
};

use crate::support::{
    Answered, send,
    servers::{Server, postgres_store, redis_store, skip},
    soon,
    store::{Watched, session_of},
    verdict::SID,
    with_cookies,
};

const USERS: usize = 40;
const CLIENTS: usize = 16;
const LIMIT: Duration = Duration::from_millis(500);

struct User {
    name: String,
    session: Id,
    /// The number of right responses since the last reading.
    right: AtomicUsize,
}

/// The results of all requests so far.
struct Tally {
    users: Vec<User>,
    unavailable: AtomicUsize,
    cancelled: AtomicUsize,
    wrong: Mutex<Vec<String>>,
    stopped: AtomicBool,
    changed: Notify,
}

impl Tally {
    async fn of(store: &impl SessionStore) -> Arc<Self> {
        let mut users = Vec::new();
        for user in 0..USERS {
            let name = format!("user-{user}");
            users.push(User {
                session: session_of(store, &name).await,
                name,
                right: AtomicUsize::new(0),
            });
        }
        Arc::new(Self {
            users,
            unavailable: AtomicUsize::new(0),
            cancelled: AtomicUsize::new(0),
            wrong: Mutex::default(),
            stopped: AtomicBool::new(false),
            changed: Notify::new(),
        })
    }

    fn hear(&self, user: &User, answered: Answered) {
        match answered {
            Ok(context) if context.user_id().is_some_and(|id| id == user.name.as_str()) => {
                user.right.fetch_add(1, Ordering::SeqCst);
            }
            Ok(context) => self.wrong(format!("{} was answered as {context:?}", user.name)),
            Err(refused) if matches!(refused.kind(), RejectionKind::Unavailable { .. }) => {
                self.unavailable.fetch_add(1, Ordering::SeqCst);
            }
            Err(refused) => self.wrong(format!("{} was refused: {refused}", user.name)),
        }
        self.changed.notify_waiters();
    }

    fn wrong(&self, what: String) {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        wrong.push(what);
    }

    fn nothing_is_wrong(&self) {
        let wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(
            wrong.is_empty(),
            "{} answers: {:?}",
            wrong.len(),
            wrong.first()
        );
    }

    async fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let waits = async {
            loop {
                let changed = self.changed.notified();
                self.nothing_is_wrong();
                if holds() {
                    break;
                }
                changed.await;
            }
        };
        soon(what, waits).await;
    }

    /// Sends requests of each user, several at a time, from now on.
    async fn until_everybody_is_served(&self, what: &str, mut meanwhile: impl FnMut()) {
        for user in &self.users {
            user.right.store(0, Ordering::SeqCst);
        }
        let served = |user: &User| user.right.load(Ordering::SeqCst) >= 3;
        self.until(what, || {
            meanwhile();
            self.users.iter().all(served)
        })
        .await;
    }

    async fn until_refusals(&self, what: &str) {
        let before = self.unavailable.load(Ordering::SeqCst);
        let since = || self.unavailable.load(Ordering::SeqCst) - before;
        self.until(what, || since() >= CLIENTS).await;
    }

    fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }
}

/// Sends requests one after the other, each of another user. Every third client disconnects before
/// the response, each time a little later.
async fn client<S: SessionStore>(number: usize, strategy: SessionCookie<S>, tally: Arc<Tally>) {
    let layer = UserScopeLayer::builder()
        .strategy(strategy.timeout(LIMIT))
        .context_only()
        .build()
        .expect("valid");
    let mut round = number;
    while !tally.stopped.load(Ordering::SeqCst) {
        round += 1;
        let user = &tally.users[(number * 7 + round) % USERS];
        let asked = send(&layer, with_cookies([format!("{SID}={}", user.session)]));
        if round % 3 == 0 {
            tokio::select! {
                biased;
                () = turns(round % 7) => {
                    tally.cancelled.fetch_add(1, Ordering::SeqCst);
                }
                answered = asked => tally.hear(user, answered),
            }
        } else {
            tally.hear(user, asked.await);
        }
        tokio::task::yield_now().await;
    }
}

async fn turns(count: usize) {
    for _ in 0..count {
        tokio::task::yield_now().await;
    }
}

async fn a_crash_under_load<S: SessionStore + Clone>(store: S, server: &mut Server) {
    let tally = Tally::of(&store).await;
    let store = Watched::new(store);
    let strategy = SessionCookie::new(SID, store.clone());
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        clients.spawn(client(number, strategy.clone(), Arc::clone(&tally)));
    }
    tally
        .until_everybody_is_served("everybody is served", || {})
        .await;
    for crash in 1..=2 {
        server.kill();
        tally
            .until_refusals(&format!("503 after crash {crash}"))
            .await;
        server.start();
        let back = format!("everybody is served again after crash {crash}");
        tally
            .until_everybody_is_served(&back, || server.keep_running())
            .await;
    }
    tally.stop();
    soon("the clients end", clients.join_all()).await;
    tally.nothing_is_wrong();
    let cancelled = tally.cancelled.load(Ordering::SeqCst);
    let cut = store.loads() - store.finished();
    assert_ne!(
        cut.min(cancelled),
        0,
        "some clients went away in the middle of a look-up"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn b34_redis_crashes_under_load() {
    let Some(mut server) = Server::redis() else {
        return skip("b34_redis_crashes_under_load", "redis-server");
    };
    let store = soon("Redis is up", redis_store(&server.url())).await;
    a_crash_under_load(TowerSessions014Store::new(store), &mut server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn b34_postgres_crashes_under_load() {
    let Some(mut server) = Server::postgres() else {
        return skip("b34_postgres_crashes_under_load", "PostgreSQL");
    };
    let store = soon("PostgreSQL is up", postgres_store(&server.url())).await;
    a_crash_under_load(TowerSessions014Store::new(store), &mut server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn b34_clients_that_go_away_leave_nothing_for_others() {
    let store = MemoryStore::default();
    let tally = Tally::of(&store).await;
    let strategy = SessionCookie::new(SID, store);
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        clients.spawn(client(number, strategy.clone(), Arc::clone(&tally)));
    }
    for round in 1..=10 {
        let what = format!("everybody is served in round {round}");
        tally.until_everybody_is_served(&what, || {}).await;
    }
    tally.stop();
    soon("the clients end", clients.join_all()).await;
    tally.nothing_is_wrong();
    assert_eq!(
        tally.unavailable.load(Ordering::SeqCst),
        0,
        "nothing was down"
    );
}
