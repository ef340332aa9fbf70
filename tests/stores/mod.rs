//! Session stores on servers of their own, started for one test and gone with it.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::{
    env,
    io::Write as _,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;
use tokio::net::TcpStream;
use tower_sessions_redis_store::{
    RedisStore,
    fred::{
        clients::Pool,
        interfaces::ClientLike as _,
        types::{
            Builder,
            config::{Config, ReconnectPolicy},
        },
    },
};
use tower_sessions_sqlx_store::{
    PostgresStore, SqliteStore,
    sqlx::{SqlitePool, postgres::PgPoolOptions},
};
use tower_user_scope::StoreOf014;

/// Whether a test goes on without its server: it says so past libtest's capture, or fails where
/// `REQUIRE_STORES` is set.
fn skipped<T>(test: &str, why: &str) -> Option<T> {
    assert!(
        env::var_os("REQUIRE_STORES").is_none(),
        "REQUIRE_STORES is set, and {test} has {why}"
    );
    let mut terminal = std::io::stderr();
    writeln!(terminal, "SKIPPED: {test}: {why}").expect("a terminal");
    None
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("a bound socket").port()
}

fn binary(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let debian = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|version| Some(version.ok()?.path().join("bin")));
    env::split_paths(&path)
        .chain(debian)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

/// A server process, which can be killed and started again with what it had.
pub(crate) struct Server {
    start: Box<dyn Fn() -> Command + Send>,
    child: Option<Child>,
    port: u16,
    _folder: TempDir,
}

impl Server {
    async fn running(start: Box<dyn Fn() -> Command + Send>, port: u16, folder: TempDir) -> Self {
        let mut server = Self {
            start,
            child: None,
            port,
            _folder: folder,
        };
        server.restart().await;
        server
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // PostgreSQL takes its children along only where it is asked to.
            let _ = Command::new("kill")
                .arg("-QUIT")
                .arg(child.id().to_string())
                .status();
            let _ = Command::new("kill")
                .arg("-TERM")
                .arg(child.id().to_string())
                .status();
            child.wait().expect("it ends");
        }
    }

    pub(crate) async fn restart(&mut self) {
        let answers = async {
            loop {
                let ended = match &mut self.child {
                    Some(child) => child.try_wait().expect("a child").is_some(),
                    None => true,
                };
                if ended {
                    let child = (self.start)()
                        .stdin(Stdio::null())
                        .stdout(Stdio::null())
                        .stderr(Stdio::null())
                        .spawn();
                    self.child = Some(child.expect("the binary starts"));
                }
                if TcpStream::connect(("127.0.0.1", self.port)).await.is_ok() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let started = tokio::time::timeout(Duration::from_secs(60), answers).await;
        started.expect("the server listens within a minute");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A Redis of the test's own.
pub(crate) async fn redis(test: &str) -> Option<(Server, String)> {
    let Some(redis) = binary("redis-server") else {
        return skipped(test, "no `redis-server`");
    };
    let (port, folder) = (free_port(), tempfile::tempdir().expect("a folder"));
    let path = folder.path().to_owned();
    let start = move || {
        let mut command = Command::new(&redis);
        // Each change is on disk before it is answered: what is killed comes back as it was.
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"]);
        command
            .args(["--appendfsync", "always", "--port"])
            .arg(port.to_string());
        command.arg("--dir").arg(&path);
        command
    };
    let server = Server::running(Box::new(start), port, folder).await;
    Some((server, format!("redis://127.0.0.1:{port}")))
}

/// A PostgreSQL of the test's own.
pub(crate) async fn postgres(test: &str) -> Option<(Server, String)> {
    let (Some(initdb), Some(postgres)) = (binary("initdb"), binary("postgres")) else {
        return skipped(test, "no `initdb` and `postgres`");
    };
    let folder = tempfile::tempdir().expect("a folder");
    let Some(run) = unprivileged(folder.path()) else {
        return skipped(test, "no user but root, for whom PostgreSQL does not start");
    };
    let (port, data) = (free_port(), folder.path().join("data"));
    let made = run(&initdb)
        .args([
            "--auth=trust",
            "--username=test",
            "--no-sync",
            "--no-locale",
            "--encoding=UTF8",
        ])
        .arg("--pgdata")
        .arg(&data)
        .stdout(Stdio::null())
        .status();
    assert!(made.expect("it starts").success(), "initdb");
    let start = move || {
        let mut command = run(&postgres);
        command.arg("-D").arg(&data).arg("-k").arg(&data);
        command
            .args(["-c", "listen_addresses=127.0.0.1", "-p"])
            .arg(port.to_string());
        command
    };
    let server = Server::running(Box::new(start), port, folder).await;
    Some((server, format!("postgres://test@127.0.0.1:{port}/postgres")))
}

type Run = Box<dyn Fn(&Path) -> Command + Send>;

/// Runs programs as somebody whom PostgreSQL starts for, who owns the folder.
fn unprivileged(folder: &Path) -> Option<Run> {
    let id = Command::new("id")
        .arg("-u")
        .output()
        .expect("`id` is POSIX");
    if id.stdout != b"0\n" {
        return Some(Box::new(|program| Command::new(program)));
    }
    let owned = Command::new("chown").arg("postgres").arg(folder).status();
    if !owned.is_ok_and(|status| status.success()) || binary("setpriv").is_none() {
        return None;
    }
    Some(Box::new(|program| {
        let mut command = Command::new("setpriv");
        command.args([
            "--reuid=postgres",
            "--regid=postgres",
            "--clear-groups",
            "--",
        ]);
        command.arg(program);
        command
    }))
}

pub(crate) type Redis = StoreOf014<RedisStore<Pool>>;

/// A client that gives up soon and comes back by itself.
pub(crate) async fn redis_store(url: &str) -> Redis {
    let pool = Builder::from_config(Config::from_url(url).expect("a URL"))
        .with_performance_config(|config| {
            config.default_command_timeout = Duration::from_secs(2);
        })
        .with_connection_config(|config| {
            config.connection_timeout = Duration::from_millis(500);
            config.max_command_attempts = 1;
        })
        .set_policy(ReconnectPolicy::new_constant(0, 20))
        .build_pool(4)
        .expect("a pool");
    pool.init().await.expect("the server answers");
    StoreOf014::new(RedisStore::new(pool))
}

/// Tables of its own in the database, made anew.
pub(crate) async fn postgres_store(url: &str) -> StoreOf014<PostgresStore> {
    let connected = async {
        loop {
            // It listens a moment before it answers.
            let pool = PgPoolOptions::new()
                .max_connections(4)
                .acquire_timeout(Duration::from_secs(2))
                .connect(url)
                .await;
            if let Ok(pool) = pool {
                return pool;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let pool = tokio::time::timeout(Duration::from_secs(60), connected).await;
    let store = PostgresStore::new(pool.expect("the server answers within a minute"));
    store.migrate().await.expect("the table can be made");
    StoreOf014::new(store)
}

pub(crate) async fn sqlite_store(file: &Path) -> StoreOf014<SqliteStore> {
    let url = format!("sqlite://{}?mode=rwc", file.display());
    let pool = SqlitePool::connect(&url).await.expect("a file");
    let store = SqliteStore::new(pool);
    store.migrate().await.expect("the table can be made");
    StoreOf014::new(store)
}
