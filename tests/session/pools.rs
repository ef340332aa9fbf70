//! B80, B82: What a pooled connection keeps of one user and shows to the next is found by the checks, in
//! `PostgreSQL` and in Redis; the same services without the bug have no finding.

use std::{env, io, ops::Range, pin::Pin, sync::Arc};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use http::Request;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufStream},
    net::TcpStream,
    sync::Mutex,
};
use tower_sessions_sqlx_store::sqlx::{
    self, Executor, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tower_user_scope::{
    ExistingContext, UserId, UserScopeLayer,
    testing::{AsUser, Client, Finding, IsolationCheck, IsolationReport, ScenarioCheck, TestBody},
};

use crate::support::servers::{Server, postgres_store, redis_pool, skip};

type Answering<'a, E> = Pin<Box<dyn Future<Output = Result<String, E>> + Send + 'a>>;
/// Adds a note of the user's, or returns the notes where there is none to add.
type OfPostgres =
    for<'a> fn(&'a mut PgConnection, &'a str, Option<String>) -> Answering<'a, sqlx::Error>;
type OfRedis = for<'a> fn(&'a Shared, &'a str, Option<String>) -> Answering<'a, io::Error>;

/// The name, with how many of 20 seeds its leak is found at least, and the service.
const ON_POSTGRES: [(&str, u64, OfPostgres); 6] = [
    (
        "a setting that the connection keeps",
        20,
        |connection, user, text| {
            Box::pin(async move {
                let Some(text) = text else {
                    // The user is still the one of the last insert.
                    return visible(connection).await;
                };
                set_user(connection, user, false).await?;
                insert(connection, &text).await
            })
        },
    ),
    (
        "a setting of the transaction",
        0,
        |connection, user, text| {
            Box::pin(async move {
                let mut transaction = sqlx::Connection::begin(connection).await?;
                set_user(&mut transaction, user, true).await?;
                let answer = match text {
                    Some(text) => insert(&mut transaction, &text).await?,
                    None => visible(&mut transaction).await?,
                };
                transaction.commit().await?;
                Ok(answer)
            })
        },
    ),
    (
        "a temporary table that the connection keeps",
        20,
        |connection, _, text| {
            Box::pin(async move {
                connection
                    .execute("CREATE TEMP TABLE IF NOT EXISTS draft (text text)")
                    .await?;
                match text {
                    Some(text) => insert_into(connection, "draft", &text).await,
                    None => texts(connection, "draft").await,
                }
            })
        },
    ),
    (
        "a temporary table of the transaction",
        0,
        |connection, user, text| {
            Box::pin(async move {
                let mut transaction = sqlx::Connection::begin(connection).await?;
                set_user(&mut transaction, user, true).await?;
                transaction
                    .execute("CREATE TEMP TABLE draft (text text) ON COMMIT DROP")
                    .await?;
                let answer = match text {
                    Some(text) => {
                        insert_into(&mut transaction, "draft", &text).await?;
                        let text = texts(&mut transaction, "draft").await?;
                        insert(&mut transaction, &text).await?
                    }
                    None => visible(&mut transaction).await?,
                };
                transaction.commit().await?;
                Ok(answer)
            })
        },
    ),
    (
        "a search path that the connection keeps",
        20,
        |connection, user, text| {
            Box::pin(async move {
                let Some(text) = text else {
                    return texts(connection, "own").await;
                };
                open_schema(connection, user, "").await?;
                insert_into(connection, "own", &text).await
            })
        },
    ),
    (
        "a search path of the transaction",
        0,
        |connection, user, text| {
            Box::pin(async move {
                let mut transaction = sqlx::Connection::begin(connection).await?;
                open_schema(&mut transaction, user, "LOCAL").await?;
                let answer = match text {
                    Some(text) => insert_into(&mut transaction, "own", &text).await?,
                    None => texts(&mut transaction, "own").await?,
                };
                transaction.commit().await?;
                Ok(answer)
            })
        },
    ),
];

async fn set_user(connection: &mut PgConnection, user: &str, local: bool) -> sqlx::Result<()> {
    let set = sqlx::query("SELECT set_config('app.user_id', $1, $2)")
        .bind(user)
        .bind(local);
    set.execute(connection).await.map(drop)
}

async fn insert(connection: &mut PgConnection, text: &str) -> sqlx::Result<String> {
    let insert = "INSERT INTO notes (owner, text) VALUES (current_setting('app.user_id'), $1)";
    sqlx::query(insert).bind(text).execute(connection).await?;
    Ok("added".to_owned())
}

/// Returns the notes of the user for whom the connection is set.
async fn visible(connection: &mut PgConnection) -> sqlx::Result<String> {
    let select = "SELECT coalesce(string_agg(text, ' '), '') FROM notes \
                  WHERE owner = current_setting('app.user_id', true)";
    sqlx::query_scalar(select).fetch_one(connection).await
}

async fn insert_into(
    connection: &mut PgConnection,
    table: &str,
    text: &str,
) -> sqlx::Result<String> {
    let insert = format!("INSERT INTO {table} (text) VALUES ($1)");
    sqlx::query(&insert).bind(text).execute(connection).await?;
    Ok("added".to_owned())
}

async fn texts(connection: &mut PgConnection, table: &str) -> sqlx::Result<String> {
    let select = format!("SELECT coalesce(string_agg(text, ' '), '') FROM {table}");
    sqlx::query_scalar(&select).fetch_one(connection).await
}

async fn open_schema(connection: &mut PgConnection, user: &str, local: &str) -> sqlx::Result<()> {
    let open = format!(
        "SET {local} client_min_messages TO warning; CREATE SCHEMA IF NOT EXISTS \"{user}\"; \
         SET {local} search_path TO \"{user}\"; CREATE TABLE IF NOT EXISTS own (text text)"
    );
    connection.execute(&*open).await.map(drop)
}

/// A connection to Redis that requests share.
struct Shared {
    port: u16,
    connection: Mutex<Option<Wire>>,
}

/// Commands and replies on one connection, one after the other.
struct Wire(BufStream<TcpStream>);

impl Wire {
    async fn open(port: u16) -> io::Result<Self> {
        TcpStream::connect(("127.0.0.1", port))
            .await
            .map(BufStream::new)
            .map(Self)
    }

    /// Sends a command and reads its reply: the next one on the connection.
    async fn call(&mut self, command: &str) -> io::Result<String> {
        self.0
            .write_all(format!("{command}\r\n").as_bytes())
            .await?;
        self.0.flush().await?;
        let line = self.line().await?;
        match line.strip_prefix('$') {
            Some("-1") => Ok(String::new()),
            Some(_) => self.line().await,
            None => Ok(line),
        }
    }

    async fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.0.read_line(&mut line).await?;
        Ok(line.trim_end().to_owned())
    }
}

fn command(user: &str, text: Option<String>) -> String {
    match text {
        Some(text) => format!("SET note:{user} {text}"),
        None => format!("GET note:{user}"),
    }
}

/// The database of a user.
fn database(user: &str) -> usize {
    user.as_bytes()
        .get(5)
        .map_or(0, |digit| usize::from(digit % 16))
}

const ON_REDIS: [(&str, u64, OfRedis); 4] = [
    (
        "a reply that a cancelled call leaves to the next one",
        12,
        |shared, user, text| {
            Box::pin(async move {
                let mut connection = shared.connection.lock().await;
                if connection.is_none() {
                    *connection = Some(Wire::open(shared.port).await?);
                }
                let wire = connection.as_mut().ok_or(io::ErrorKind::NotConnected)?;
                wire.call(&command(user, text)).await
            })
        },
    ),
    (
        "a connection that a cancelled call closes",
        0,
        |shared, user, text| {
            Box::pin(async move {
                let mut connection = shared.connection.lock().await;
                let mut wire = match connection.take() {
                    Some(wire) => wire,
                    None => Wire::open(shared.port).await?,
                };
                let reply = wire.call(&command(user, text)).await?;
                *connection = Some(wire);
                Ok(reply)
            })
        },
    ),
    (
        "a database that the connection keeps",
        20,
        |shared, user, text| {
            Box::pin(async move {
                let mut connection = shared.connection.lock().await;
                let mut wire = match connection.take() {
                    Some(wire) => wire,
                    None => Wire::open(shared.port).await?,
                };
                if text.is_some() {
                    wire.call(&format!("SELECT {}", database(user))).await?;
                }
                let reply = wire.call(&command("own", text)).await?;
                *connection = Some(wire);
                Ok(reply)
            })
        },
    ),
    (
        "a database that each call selects",
        0,
        |shared, user, text| {
            Box::pin(async move {
                let mut connection = shared.connection.lock().await;
                let mut wire = match connection.take() {
                    Some(wire) => wire,
                    None => Wire::open(shared.port).await?,
                };
                wire.call(&format!("SELECT {}", database(user))).await?;
                let reply = wire.call(&command("own", text)).await?;
                *connection = Some(wire);
                Ok(reply)
            })
        },
    ),
];

fn answered<E: std::fmt::Display>(answer: Result<String, E>) -> (StatusCode, String) {
    match answer {
        Ok(text) => (StatusCode::OK, text),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

fn app<T, F>(
    state: Arc<T>,
    handle: impl Fn(Arc<T>, String, Option<String>) -> F + Clone + Send + Sync + 'static,
) -> Router
where
    T: Send + Sync + 'static,
    F: Future<Output = (StatusCode, String)> + Send + 'static,
{
    let users = UserScopeLayer::builder()
        .strategy(ExistingContext::new())
        .context_only()
        .build()
        .expect("a valid configuration");
    let add = handle.clone();
    let add = async move |State(state): State<Arc<T>>, user: UserId, text: String| {
        add(state, user.to_string(), Some(text)).await
    };
    let read = async move |State(state): State<Arc<T>>, user: UserId| {
        handle(state, user.to_string(), None).await
    };
    Router::new()
        .route("/notes", get(read).post(add))
        .layer(users)
        .with_state(state)
}

async fn on_postgres(url: &str, handle: OfPostgres) -> Router {
    let options: PgConnectOptions = url.parse().expect("a URL");
    // What is lost in a crash is not looked at.
    let options = options.options([("synchronous_commit", "off")]);
    // Fewer connections than requests at once.
    let pool: PgPool = PgPoolOptions::new()
        .max_connections(1)
        .connect_with(options)
        .await
        .expect("a connection");
    let empty = "DO $$ DECLARE name text; BEGIN \
                 FOR name IN SELECT nspname FROM pg_namespace WHERE nspname LIKE 'user-%' LOOP \
                 EXECUTE format('DROP SCHEMA %I CASCADE', name); END LOOP; END $$; \
                 DROP TABLE IF EXISTS notes; CREATE TABLE notes (owner text, text text)";
    let mut connection = pool.acquire().await.expect("a connection");
    connection
        .execute("SET client_min_messages TO error")
        .await
        .expect("a setting");
    connection.execute(empty).await.expect("an empty database");
    drop(connection);
    app(Arc::new(pool), move |pool, user, text| async move {
        let answer = async {
            let mut connection = pool.acquire().await?;
            handle(&mut connection, &user, text).await
        };
        answered(answer.await)
    })
}

async fn on_redis(port: u16, handle: OfRedis) -> Router {
    let mut wire = Wire::open(port).await.expect("a connection");
    assert_eq!(wire.call("FLUSHALL").await.expect("a reply"), "+OK");
    let shared = Shared {
        port,
        connection: Mutex::new(None),
    };
    app(Arc::new(shared), move |shared, user, text| async move {
        answered(handle(&shared, &user, text).await)
    })
}

async fn scenario(client: Client) {
    for name in ["first", "second"] {
        client.post("/notes", client.secret(name)).await;
        client.get("/notes").await;
    }
}

async fn play(seed: u64, service: impl AsyncFn() -> Router) -> IsolationReport {
    ScenarioCheck::new()
        .users(2)
        .seed(seed)
        .authenticate(|user, request| request.as_user(user.id()))
        .run(service, scenario)
        .await
}

/// Looks for secrets alone, with many requests at once.
async fn search(seed: u64, service: Router) -> IsolationReport {
    let number = std::cell::Cell::new(0);
    IsolationCheck::new()
        .users(4)
        .requests_of_each(16)
        .cancel_percent(25)
        .seed(seed)
        .run(service, |user| {
            number.set(number.get() + 1);
            let (method, body) = match number.get() % 2 {
                0 => ("GET", String::new()),
                _ => ("POST", user.secret("note")),
            };
            let request = Request::builder().method(method).uri("/notes");
            request
                .body(TestBody::from(body))
                .expect("a request")
                .as_user(user.id())
        })
        .await
}

fn leaks(report: &IsolationReport) -> bool {
    let mut findings = report.findings().iter();
    findings.any(|finding| {
        matches!(
            finding,
            Finding::ForeignBytes { .. } | Finding::Interference { .. }
        )
    })
}

/// With how many seeds each service is checked: `.ci/leaks` sets 20.
fn seeds() -> Range<u64> {
    let seeds = env::var("POOL_SEEDS").ok();
    0..seeds.map_or(2, |seeds| seeds.parse().expect("a number"))
}

#[tokio::test]
async fn b80_what_a_connection_to_postgres_keeps_is_found() {
    let Some(server) = Server::postgres() else {
        return skip("pools of PostgreSQL", "PostgreSQL");
    };
    let url = server.url();
    // Waits until it is up.
    drop(postgres_store(&url).await);
    for (name, found_with, handle) in ON_POSTGRES {
        shows(name, found_with, async || on_postgres(&url, handle).await).await;
    }
}

/// Checks a service with each seed. A race is found with some seeds by each check, and by one of the
/// two with nearly all.
async fn shows(name: &str, found_with: u64, service: impl AsyncFn() -> Router) {
    let mut found = [0, 0];
    for seed in seeds() {
        let reports = [
            play(seed, &service).await,
            search(seed, service().await).await,
        ];
        for (found, report) in found.iter_mut().zip(&reports) {
            *found += u64::from(leaks(report));
            assert!(
                found_with > 0 || !leaks(report),
                "{name}, seed {seed}: {report}"
            );
        }
    }
    for found in found {
        assert!(found >= found_with * seeds().end / 20, "{name}: {found}");
    }
}

#[tokio::test]
async fn b80_what_a_connection_to_redis_keeps_is_found() {
    let Some(server) = Server::redis() else {
        return skip("a shared connection to Redis", "Redis");
    };
    let url = server.url();
    drop(redis_pool(&url, 1).await);
    let port = url
        .rsplit_once(':')
        .and_then(|(_, port)| port.parse().ok())
        .expect("a port");
    for (name, found_with, handle) in ON_REDIS {
        shows(name, found_with, async || on_redis(port, handle).await).await;
    }
}
