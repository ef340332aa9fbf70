//! Sessions in real stores: in memory, SQLite, Redis and PostgreSQL, and what happens to requests
//! when a store is killed under them.

mod stores;

use std::{
    convert::Infallible,
    error::Error as _,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use http::{Request, Response, header};
use serde_json::json;
use tower::{Layer, ServiceExt, service_fn};
use tower_sessions::{
    MemoryStore, SessionStore,
    session::{Id, Record},
};
use tower_user_scope::{
    Reason, Rejection, SessionCookie, SessionProblem, Strategy, UserScopeExt, UserScopeLayer,
};

use crate::stores::{postgres, postgres_store, redis, redis_store, sqlite_store};

/// Who the layer found, or why nobody.
#[derive(Debug, PartialEq)]
enum Answer {
    User(String),
    Session(SessionProblem),
    Unavailable,
    Other(String),
}

impl From<&Rejection> for Answer {
    fn from(rejection: &Rejection) -> Self {
        match rejection.reason() {
            Reason::Unavailable { .. } => Self::Unavailable,
            Reason::Invalid { invalid, .. } => {
                let problem = invalid.source().and_then(|source| source.downcast_ref());
                problem.map_or_else(
                    || Self::Other(invalid.to_string()),
                    |problem| Self::Session(SessionProblem::clone(problem)),
                )
            }
            other => Self::Other(other.to_string()),
        }
    }
}

async fn ask<S>(strategy: &SessionCookie<S>, id: Id) -> Answer
where
    S: SessionStore,
{
    // Longer than the clients wait for themselves.
    let strategy = strategy.clone().timeout(Duration::from_secs(5));
    let layer = UserScopeLayer::builder()
        .strategy(strategy)
        .context_only()
        .build()
        .expect("the configuration is good");
    let inner = service_fn(|request: Request<()>| async move {
        let (head, ()) = request.into_parts();
        let user = head
            .user_context()
            .ok()
            .and_then(|user| user.user_id().cloned());
        let mut response = Response::new(());
        response.extensions_mut().insert(user);
        Ok::<_, Infallible>(response)
    });
    let request = Request::builder()
        .header(header::COOKIE, format!("a=b; sid={id}"))
        .body(())
        .expect("a request");
    let response = layer
        .layer(inner)
        .oneshot(request)
        .await
        .expect("infallible");
    let extensions = response.extensions();
    match extensions.get::<Rejection>() {
        Some(rejection) => rejection.into(),
        None => match extensions.get::<Option<tower_user_scope::UserId>>() {
            Some(Some(user)) => Answer::User(user.to_string()),
            other => Answer::Other(format!("{other:?}")),
        },
    }
}

fn session_of(user: &str) -> Record {
    Record {
        id: Id::default(),
        data: [
            ("user_id".to_owned(), json!(user)),
            ("cart".to_owned(), json!([1, 2])),
        ]
        .into(),
        expiry_date: (SystemTime::now() + Duration::from_secs(3_600)).into(),
    }
}

async fn logged_in(store: &impl SessionStore, user: &str) -> Id {
    let mut record = session_of(user);
    store.create(&mut record).await.expect("it can be stored");
    record.id
}

/// What every store has to do, whatever it is.
async fn is_read(store: impl SessionStore + Clone) {
    let strategy = SessionCookie::new("sid", store.clone());
    let alice = logged_in(&store, "alice").await;
    let bob = logged_in(&store, "bob").await;
    for _ in 0..2 {
        assert_eq!(
            ask(&strategy, alice).await,
            Answer::User("alice".to_owned())
        );
        assert_eq!(ask(&strategy, bob).await, Answer::User("bob".to_owned()));
    }
    let unknown = Answer::Session(SessionProblem::Unknown);
    assert_eq!(ask(&strategy, Id::default()).await, unknown);
    store.delete(&alice).await.expect("it can be deleted");
    assert_eq!(ask(&strategy, alice).await, unknown);

    // Logged in as somebody else, in the same session.
    let record = Record {
        id: bob,
        ..session_of("carol")
    };
    store.save(&record).await.expect("it can be stored");
    assert_eq!(ask(&strategy, bob).await, Answer::User("carol".to_owned()));

    let ended = Record {
        expiry_date: (SystemTime::now() - Duration::from_secs(60)).into(),
        ..session_of("dave")
    };
    // Some stores refuse what has ended, some keep it, some delete it.
    let _ = store.save(&ended).await;
    let answer = ask(&strategy, ended.id).await;
    let stale = [Answer::Session(SessionProblem::Expired), unknown];
    assert!(stale.contains(&answer), "an ended session: {answer:?}");
}

#[tokio::test]
async fn sessions_in_memory_are_read() {
    is_read(MemoryStore::default()).await;
}

#[tokio::test]
async fn sessions_in_sqlite_are_read() {
    let folder = tempfile::tempdir().expect("a folder");
    is_read(sqlite_store(&folder.path().join("sessions.db")).await).await;
}

#[tokio::test]
async fn sessions_in_redis_are_read() {
    let url = std::env::var("REDIS_URL").ok();
    let (_server, url) = match url {
        Some(url) => (None, url),
        None => match redis("sessions_in_redis_are_read").await {
            Some((server, url)) => (Some(server), url),
            None => return,
        },
    };
    is_read(redis_store(&url).await).await;
}

#[tokio::test]
async fn sessions_in_postgresql_are_read() {
    let url = std::env::var("DATABASE_URL").ok();
    let (_server, url) = match url {
        Some(url) => (None, url),
        None => match postgres("sessions_in_postgresql_are_read").await {
            Some((server, url)) => (Some(server), url),
            None => return,
        },
    };
    is_read(postgres_store(&url).await).await;
}

/// Kills the server under twenty users who ask all the time, and starts it again.
async fn survives(store: impl SessionStore + Clone, server: &mut stores::Server) {
    let strategy = SessionCookie::new("sid", store.clone());
    let stop = Arc::new(AtomicBool::new(false));
    let (right, down) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut workers = Vec::new();
    for number in 0..20 {
        let user = format!("user-{number}");
        let id = logged_in(&store, &user).await;
        let (strategy, stop) = (strategy.clone(), Arc::clone(&stop));
        let (right, down) = (Arc::clone(&right), Arc::clone(&down));
        workers.push(tokio::spawn(async move {
            while !stop.load(Ordering::SeqCst) {
                let mut asking = Box::pin(ask(&strategy, id));
                // Every so often a client goes away before its answer.
                if right.load(Ordering::SeqCst) % 7 == number % 7 {
                    let _ = futures::poll!(&mut asking);
                    drop(asking);
                    asking = Box::pin(ask(&strategy, id));
                }
                match asking.await {
                    Answer::User(found) => {
                        assert_eq!(found, user, "another user's session");
                        right.fetch_add(1, Ordering::SeqCst);
                    }
                    Answer::Unavailable => {
                        down.fetch_add(1, Ordering::SeqCst);
                    }
                    other => panic!("{user} was answered {other:?}"),
                }
                tokio::task::yield_now().await;
            }
        }));
    }
    let more = async |count: &AtomicUsize, what: &str| {
        let before = count.load(Ordering::SeqCst);
        let wait = async {
            while count.load(Ordering::SeqCst) < before + 40 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(60), wait).await;
        waited.unwrap_or_else(|_| panic!("a minute without {what}"));
    };
    for _ in 0..2 {
        more(&right, "right answers").await;
        server.kill();
        more(&down, "503").await;
        server.restart().await;
        more(&right, "right answers after the restart").await;
    }
    stop.store(true, Ordering::SeqCst);
    for worker in workers {
        worker.await.expect("every answer was right, or 503");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_killed_under_load_gives_right_answers_or_503() {
    let test = "a_redis_that_is_killed_under_load_gives_right_answers_or_503";
    if let Some((mut server, url)) = redis(test).await {
        survives(redis_store(&url).await, &mut server).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgresql_that_is_killed_under_load_gives_right_answers_or_503() {
    let test = "a_postgresql_that_is_killed_under_load_gives_right_answers_or_503";
    if let Some((mut server, url)) = postgres(test).await {
        survives(postgres_store(&url).await, &mut server).await;
    }
}
