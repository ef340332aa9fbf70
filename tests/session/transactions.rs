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
    self, PgPool, Postgres, Row, Transaction,
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

/// A unit of work: the transaction of one request, begun when it is first needed.
struct UnitOfWork {
    pool: PgPool,
    user: String,
    open: Mutex<Option<Transaction<'static, Postgres>>>,
}

impl UnitOfWork {
    /// Inserts an order of the user's, and returns how many orders of others can be seen.
    async fn order(&self, token: &str) -> Result<i64, sqlx::Error> {
        let mut open = self.open.lock().await;
        let transaction = match &mut *open {
            Some(transaction) => transaction,
            None => {
                let mut connection = self.pool.acquire().await?;
                // What an earlier request could have left.
                let left = sqlx::query(
                    "SELECT coalesce(current_setting('app.user_id', true), '') AS id, \
                     pg_current_xact_id_if_assigned() IS NULL AS idle",
                );
                let left = left.fetch_one(&mut *connection).await?;
                assert_eq!(left.get::<String, _>("id"), "", "an earlier user");
                assert!(left.get::<bool, _>("idle"), "an earlier transaction");
                drop(connection);
                let transaction = open.insert(self.pool.begin().await?);
                sqlx::query("SELECT set_config('app.user_id', $1, true)")
                    .bind(&self.user)
                    .execute(&mut **transaction)
                    .await?;
                transaction
            }
        };
        sqlx::query("INSERT INTO orders (token) VALUES ($1)")
            .bind(token)
            .execute(&mut **transaction)
            .await?;
        let others = sqlx::query("SELECT count(*) AS n FROM orders WHERE owner <> $1")
            .bind(&self.user)
            .fetch_one(&mut **transaction)
            .await?;
        Ok(others.get("n"))
    }

    async fn commit(&self) -> Result<(), sqlx::Error> {
        match self.open.lock().await.take() {
            Some(transaction) => transaction.commit().await,
            None => Ok(()),
        }
    }
}

/// `token` says what becomes of the request: its first word.
async fn order(work: Scoped<UnitOfWork>, Path(token): Path<String>) -> Response {
    match work.order(&token).await {
        Ok(0) => {}
        Ok(_) => return (StatusCode::IM_A_TEAPOT, "orders of others").into_response(),
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

/// Turns panics and requests that take too long into errors, outside the layer.
async fn bounded(request: Request, next: Next) -> Response {
    let answer = AssertUnwindSafe(next.run(request)).catch_unwind();
    match tokio::time::timeout(Duration::from_millis(500), answer).await {
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
                open: Mutex::default(),
            })
        })
        .before_response_async(|answered| {
            let work = answered
                .scoped::<UnitOfWork>()
                .filter(|_| answered.is_success());
            async move {
                match work {
                    Some(work) => work.commit().await,
                    // Dropped, it is rolled back.
                    None => Ok(()),
                }
            }
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
                assert!(matches!(status, 500 | 504), "{token}: {status}");
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
            token.starts_with("order") || token.starts_with("stream"),
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
