//! A transaction for each request, with the user set for `PostgreSQL`'s row-level security: what a client
//! got as a success is committed, nothing else is, and no connection of the pool keeps a user or a
//! transaction, whatever happens to the request.

use std::{
    collections::HashMap,
    env,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Path, Request},
    http::StatusCode,
    middleware::{Next, from_fn as from_middleware},
    response::{IntoResponse, Response},
    routing::post,
};
use bytes::Bytes;
use futures::{FutureExt, StreamExt, stream};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Mutex,
    task::JoinSet,
};
use tower_sessions_sqlx_store::sqlx::{
    self, Executor, PgPool, Postgres, Row, Transaction,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tower_user_scope::{
    CredentialSource, Identity, Outcome, Scoped, UserContext, UserId, UserScopeLayer, from_fn,
};

use crate::support::{
    servers::{Server, postgres_store, skip},
    soon,
};

const USERS: usize = 50;
/// Clients at once; the pool has fewer connections.
const CLIENTS: u64 = 24;
const CONNECTIONS: u32 = 4;

/// The unit of work of the guide: the transaction of one request, begun when it is first needed.
struct UnitOfWork {
    pool: PgPool,
    user: String,
    state: Mutex<State>,
}

enum State {
    NotBegun,
    Open(Transaction<'static, Postgres>),
    Finished,
}

/// What must not be seen: a client that gets this fails the test.
const FAULT: StatusCode = StatusCode::IM_A_TEAPOT;

impl UnitOfWork {
    /// Inserts an order of the user's. Returns what of other requests could be seen.
    async fn order(&self, token: &str) -> Result<Option<&'static str>, sqlx::Error> {
        let mut state = self.state.lock().await;
        if let State::NotBegun = *state {
            let mut transaction = self.pool.begin().await?;
            // What an earlier request could have left on this connection.
            let left: String =
                sqlx::query_scalar("SELECT coalesce(current_setting('app.user_id', true), '')")
                    .fetch_one(&mut *transaction)
                    .await?;
            if !left.is_empty() {
                return Ok(Some("an earlier user"));
            }
            sqlx::query("SELECT set_config('app.user_id', $1, true)")
                .bind(&self.user)
                .execute(&mut *transaction)
                .await?;
            // Stored with its user only: a caller that gives up before begins anew.
            *state = State::Open(transaction);
        }
        let State::Open(transaction) = &mut *state else {
            return Ok(Some("a transaction after the response"));
        };
        sqlx::query("INSERT INTO orders (token) VALUES ($1)")
            .bind(token)
            .execute(&mut **transaction)
            .await?;
        let others = sqlx::query("SELECT count(*) AS n FROM orders WHERE owner <> $1")
            .bind(&self.user)
            .fetch_one(&mut **transaction)
            .await?;
        if others.get::<i64, _>("n") != 0 {
            return Ok(Some("orders of others"));
        }
        if token.starts_with("session") {
            // As an application must not: it holds for the connection, beyond the commit.
            sqlx::query("SELECT set_config('app.user_id', $1, false)")
                .bind(&self.user)
                .execute(&mut **transaction)
                .await?;
        }
        Ok(None)
    }

    async fn finish(&self, commit: bool) -> Result<(), sqlx::Error> {
        let state = std::mem::replace(&mut *self.state.lock().await, State::Finished);
        match state {
            State::Open(transaction) if commit => transaction.commit().await,
            State::Open(transaction) => transaction.rollback().await,
            State::NotBegun | State::Finished => Ok(()),
        }
    }
}

/// `token` says what becomes of the request: its first word.
async fn order(work: Scoped<UnitOfWork>, Path(token): Path<String>) -> Response {
    match work.order(&token).await {
        Ok(None) => {}
        Ok(Some(fault)) => return (FAULT, fault).into_response(),
        Err(error) => return (StatusCode::CONFLICT, error.to_string()).into_response(),
    }
    match token.split('-').next() {
        Some("error") => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Some("panic") => panic!("planted"),
        Some("hang") => std::future::pending().await,
        Some("stream") => {
            let frames = stream::iter(0..20).then(|_| async {
                tokio::task::yield_now().await;
                Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 512]))
            });
            (StatusCode::CREATED, Body::from_stream(frames)).into_response()
        }
        _ => StatusCode::CREATED.into_response(),
    }
}

/// Turns panics, and handlers that hang, into errors outside the layer. Others have no limit: one
/// that strikes during a commit leaves it to the database whether that has taken place.
async fn bounded(request: Request, next: Next) -> Response {
    let limit = if request.uri().path().starts_with("/orders/hang") {
        Duration::from_millis(300)
    } else {
        Duration::MAX
    };
    let answer = AssertUnwindSafe(next.run(request)).catch_unwind();
    match tokio::time::timeout(limit, answer).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Err(_) => StatusCode::GATEWAY_TIMEOUT.into_response(),
    }
}

fn app(pool: PgPool) -> Router {
    let layer = UserScopeLayer::builder()
        .strategy(from_fn(CredentialSource::header("x-user"), |head| {
            let user = head
                .headers
                .get("x-user")
                .and_then(|user| user.to_str().ok());
            match user.map(UserId::try_from) {
                None => Outcome::Absent,
                Some(Ok(user)) => Identity::proved(user).into(),
                Some(Err(error)) => Outcome::Invalid(error.into()),
            }
        }))
        .try_factory(move |context: &UserContext| {
            let user = context.require_user()?.to_string();
            Ok::<_, tower_user_scope::context::UserRequiredError>(UnitOfWork {
                pool: pool.clone(),
                user,
                state: Mutex::new(State::NotBegun),
            })
        })
        .before_response_async(|answered| {
            let (work, commit) = (answered.scoped(), answered.is_success());
            async move { work.finish(commit).await }
        })
        .build()
        .expect("good");
    Router::new()
        .route("/orders/{token}", post(order))
        .layer(layer)
        .layer(from_middleware(bounded))
}

/// The tables, and a role that row-level security holds for.
const SCHEMA: &str = "
    CREATE ROLE app LOGIN;
    CREATE TABLE orders (
        owner text NOT NULL DEFAULT current_setting('app.user_id'),
        token text NOT NULL,
        UNIQUE (token) DEFERRABLE INITIALLY DEFERRED
    );
    -- Without it each request reads all rows of all requests before it.
    CREATE INDEX ON orders (owner);
    ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
    CREATE POLICY own ON orders USING (owner = current_setting('app.user_id'))
        WITH CHECK (owner = current_setting('app.user_id'));
    GRANT SELECT, INSERT ON orders TO app;
";

/// What a client does, and what comes of it.
struct Client {
    random: fastrand::Rng,
    address: std::net::SocketAddr,
}

impl Client {
    /// Sends an order, and returns the status if the client stayed for the whole response.
    async fn send(&mut self, user: usize, token: &str) -> Option<u16> {
        let request = format!(
            "POST /orders/{token} HTTP/1.1\r\nhost: h\r\nx-user: user-{user}\r\n\
             content-length: 0\r\nconnection: close\r\n\r\n"
        );
        let mut stream = TcpStream::connect(self.address).await.ok()?;
        // One in three leaves, after some bytes were sent or some were received.
        let leaves = self.random.usize(..3) == 0;
        if leaves && self.random.usize(..4) == 0 {
            let len = self.random.usize(..request.len());
            let _ = stream.write_all(&request.as_bytes()[..len]).await;
            return None;
        }
        stream.write_all(request.as_bytes()).await.ok()?;
        if leaves {
            let mut some = vec![0; self.random.usize(..400)];
            // Gone after a part of the answer, or while nothing has been answered yet.
            if self.random.usize(..2) == 0 {
                let _ = stream.read_exact(&mut some).await;
            } else {
                for _ in 0..self.random.usize(..20) {
                    tokio::task::yield_now().await;
                }
            }
            return None;
        }
        let mut response = Vec::new();
        stream.read_to_end(&mut response).await.ok()?;
        let status = response.get(9..12)?;
        std::str::from_utf8(status).ok()?.parse().ok()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b54_what_a_client_got_as_a_success_is_committed_and_nothing_else_is() {
    let Some(server) = Server::postgres() else {
        skip("transactions", "PostgreSQL");
        return;
    };
    let requests = env::var("TRANSACTIONS").ok().and_then(|n| n.parse().ok());
    let requests: usize = requests.unwrap_or(1_500);
    // It waits until the server is up.
    drop(postgres_store(&server.url()).await);
    let admin = PgPool::connect(&server.url())
        .await
        .expect("the server is up");
    sqlx::raw_sql(SCHEMA)
        .execute(&admin)
        .await
        .expect("the schema");
    let options: PgConnectOptions = server.url().parse().expect("a URL");
    let pool = PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .after_release(|connection, _| {
            Box::pin(async move {
                connection.execute("ROLLBACK; RESET ALL").await?;
                Ok(true)
            })
        })
        .connect_with(options.username("app"))
        .await
        .expect("the role may log in");

    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let app = app(pool.clone());
    let serving = tokio::spawn(async move { axum::serve(listener, app).await });

    let next = Arc::new(AtomicUsize::new(0));
    let mut clients = JoinSet::new();
    for seed in 0..CLIENTS {
        let next = Arc::clone(&next);
        let random = fastrand::Rng::with_seed(seed);
        let mut client = Client { random, address };
        clients.spawn(async move {
            let mut got = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= requests {
                    return got;
                }
                let how = match client.random.usize(..40) {
                    0 => "hang",
                    1..=3 => "panic",
                    4..=8 => "error",
                    9..=14 => "stream",
                    15..=16 => "session",
                    _ => "order",
                };
                let user = client.random.usize(..USERS);
                let mut token = format!("{how}-{number}-user-{user}");
                let mut status = client.send(user, &token).await;
                // The same token again: the commit fails, and nothing before it.
                if status == Some(201) && client.random.usize(..10) == 0 {
                    let again = client.send(user, &token).await;
                    assert!(matches!(again, None | Some(500)), "{again:?}: {token}");
                    if client.random.usize(..2) == 0 {
                        token = format!("order-again-{number}-user-{user}");
                        status = client.send(user, &token).await;
                    }
                }
                got.push((token, status));
            }
        });
    }
    let mut got = HashMap::new();
    while let Some(done) = clients.join_next().await {
        got.extend(done.expect("no client fails"));
    }

    // Whatever is still at work ends.
    let idle = async {
        loop {
            let busy = sqlx::query(
                "SELECT count(*) AS n FROM pg_stat_activity \
                 WHERE usename = 'app' AND state <> 'idle'",
            );
            let busy = busy.fetch_one(&admin).await.expect("the server is up");
            if busy.get::<i64, _>("n") == 0 && pool.num_idle() == pool.size() as usize {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    soon("every connection is back in the pool", idle).await;

    let rows = sqlx::query("SELECT owner, token FROM orders");
    let rows = rows.fetch_all(&admin).await.expect("the orders");
    let committed: HashMap<String, String> = rows
        .iter()
        .map(|row| (row.get("token"), row.get("owner")))
        .collect();
    assert_eq!(rows.len(), committed.len(), "no token twice");
    let (mut successes, mut errors, mut left) = (0, 0, 0);
    for (token, status) in &got {
        match status {
            Some(201) => {
                successes += 1;
                assert!(
                    committed.contains_key(token),
                    "{token} was answered and is not there"
                );
            }
            Some(status) => {
                errors += 1;
                assert!(
                    !committed.contains_key(token),
                    "{token} is there, after {status}"
                );
                let how = token.split('-').next();
                let expected = if how == Some("hang") { 504 } else { 500 };
                assert_eq!(*status, expected, "{token}");
                assert!(
                    matches!(how, Some("error" | "panic" | "hang")),
                    "{token} should have succeeded, and is {status}"
                );
            }
            None => left += 1,
        }
    }
    for (token, owner) in &committed {
        assert!(
            token.ends_with(&format!("-{owner}")),
            "{token} is {owner}'s"
        );
        assert!(
            ["order", "stream", "session"]
                .iter()
                .any(|how| token.starts_with(how)),
            "{token}"
        );
    }
    println!(
        "{successes} committed, {errors} errors, {left} left; {} rows",
        rows.len()
    );
    assert!(successes > 0 && errors > 0 && left > 0);
    serving.abort();
}
