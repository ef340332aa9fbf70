//! Processes of Redis and `PostgreSQL`, each on a free port and in its own directory.
//!
//! A server that is not installed is taken from `REDIS_URL` or `DATABASE_URL`, unless a test has to kill
//! it. Without a server the test says that it is skipped, or fails if `REQUIRE_STORES` is
//! set.

use std::{
    env, fs, io,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use redis::{RedisResult, aio::MultiplexedConnection, cmd};
use tower_sessions_redis_store::{
    RedisStore,
    fred::{
        prelude::{Builder, ClientLike, Config, Pool, ReconnectPolicy},
        types::config::UnresponsiveConfig,
    },
};
use tower_sessions_sqlx_store::{
    PostgresStore,
    sqlx::{PgPool, postgres::PgPoolOptions},
};

use super::soon;

/// Reports that a test is skipped, or fails it if skipping is not allowed.
pub(crate) fn skip(test: &str, missing: &str) {
    let line = format!("SKIPPED {test}: {missing} is neither installed nor configured");
    assert!(env::var_os("REQUIRE_STORES").is_none(), "{line}");
    // Not with `eprintln`, because the test harness hides the output of tests that pass.
    let _ = io::Write::write_all(&mut io::stderr(), format!("{line}\n").as_bytes());
}

/// A server that stops when it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    program: Program,
    directory: PathBuf,
    port: u16,
    child: Child,
}

#[derive(Clone, Debug)]
enum Program {
    Redis(PathBuf),
    /// The folder of the binaries.
    Postgres(PathBuf),
}

impl Server {
    /// Starts a Redis that writes each change to disk. Returns `None` if it is not installed.
    pub(crate) fn redis() -> Option<Self> {
        let path = env::var_os("PATH")?;
        let binary = env::split_paths(&path)
            .map(|folder| folder.join("redis-server"))
            .find(|binary| binary.is_file())?;
        Some(Self::prepare(Program::Redis(binary)))
    }

    /// Starts a `PostgreSQL`. Returns `None` if it is not installed.
    pub(crate) fn postgres() -> Option<Self> {
        let in_path = env::var_os("PATH").map(|path| env::split_paths(&path).collect::<Vec<_>>());
        let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
        let folder = versions
            .filter_map(Result::ok)
            .map(|version| version.path().join("bin"))
            .chain(in_path.unwrap_or_default())
            .find(|folder| folder.join("initdb").is_file() && folder.join("postgres").is_file())?;
        Some(Self::prepare(Program::Postgres(folder)))
    }

    fn prepare(program: Program) -> Self {
        let directory = own_directory();
        if let Program::Postgres(folder) = &program {
            let data = directory.join("data");
            if is_root() {
                run(Command::new("chown").arg("postgres").arg(&directory));
            }
            run(unprivileged(&folder.join("initdb"))
                .args(["--auth=trust", "--username=test", "--no-sync", "--pgdata"])
                .arg(&data));
        }
        let port = free_port();
        let child = spawn(&program, &directory, port);
        Self {
            program,
            directory,
            port,
            child,
        }
    }

    pub(crate) fn url(&self) -> String {
        match self.program {
            Program::Redis(_) => format!("redis://127.0.0.1:{}", self.port),
            Program::Postgres(_) => format!("postgres://test@127.0.0.1:{}/postgres", self.port),
        }
    }

    /// Kills the process as a crash does, so that it can't close its connections.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Suspends the process: its sockets stay open, and it sends nothing.
    pub(crate) fn stop(&self) {
        self.signal("-STOP");
    }

    /// Resumes a suspended process.
    pub(crate) fn go_on(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        run(Command::new("kill").args([signal, &pid]));
    }

    /// Starts it again with the same data and at the same address.
    pub(crate) fn start(&mut self) {
        self.child = spawn(&self.program, &self.directory, self.port);
    }

    /// Starts it again if it failed to start, such as because of a lock that the killed one still holds.
    pub(crate) fn keep_running(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            self.start();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Program::Postgres(_) = self.program {
            // An immediate shutdown, which releases its shared memory.
            let pid = self.child.id().to_string();
            let told = Command::new("kill").args(["-QUIT", &pid]).status();
            if told.is_ok_and(|status| status.success()) {
                let _ = self.child.wait();
            }
        }
        self.kill();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn spawn(program: &Program, directory: &Path, port: u16) -> Child {
    let mut command = match program {
        Program::Redis(binary) => {
            let mut command = Command::new(binary);
            command
                .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"])
                .args(["--appendfsync", "always", "--dir"])
                .arg(directory)
                .args(["--port", &port.to_string()]);
            command
        }
        Program::Postgres(folder) => {
            let mut command = unprivileged(&folder.join("postgres"));
            command
                .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-k"])
                .arg(directory)
                .arg("-D")
                .arg(directory.join("data"));
            command
        }
    };
    command
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"))
}

/// `PostgreSQL` refuses to run as root.
fn unprivileged(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=postgres", "--regid=postgres", "--clear-groups"])
        .arg(program);
    command
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|id| id.stdout.trim_ascii() == b"0")
}

fn run(command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?} does not run: {error}"));
    assert!(output.status.success(), "{command:?} fails: {output:?}");
}

fn own_directory() -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("user-scope-{}-{count}", std::process::id());
    let directory = env::temp_dir().join(name);
    // The files of a test that was killed.
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).expect("a directory for temporary files");
    directory
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port on loopback");
    listener.local_addr().expect("a bound listener").port()
}

/// A pool of connections, which reconnect by themselves, to a Redis that may still be starting.
pub(crate) async fn redis_pool(url: &str, connections: usize) -> Pool {
    let mut config = Config::from_url(url).expect("a URL of Redis");
    // The server may still be starting.
    config.fail_fast = false;
    let pool = Builder::from_config(config)
        .set_policy(ReconnectPolicy::new_constant(0, 50))
        .with_connection_config(|connection| {
            connection.unresponsive = UnresponsiveConfig {
                max_timeout: Some(Duration::from_secs(5)),
                interval: Duration::from_secs(1),
            };
        })
        .build_pool(connections)
        .expect("a valid configuration");
    pool.connect();
    pool.wait_for_connect().await.expect("Redis is up");
    pool
}

pub(crate) async fn redis_store(url: &str) -> RedisStore<Pool> {
    RedisStore::new(redis_pool(url, 4).await)
}

/// A store in a `PostgreSQL` that may still be starting.
pub(crate) async fn postgres_store(url: &str) -> PostgresStore {
    let pool = postgres_pool(url).await;
    let store = PostgresStore::new(pool);
    store.migrate().await.expect("the tables are made");
    store
}

async fn postgres_pool(url: &str) -> PgPool {
    let options = PgPoolOptions::new()
        .max_connections(4)
        .acquire_timeout(Duration::from_secs(2));
    let begun = Instant::now();
    loop {
        match options.clone().connect(url).await {
            Ok(pool) => return pool,
            Err(error) => assert!(
                begun.elapsed() < Duration::from_secs(60),
                "PostgreSQL never came up: {error}"
            ),
        }
        tokio::task::yield_now().await;
    }
}

/// A connection to a Redis that may still be starting, or reading its data.
pub(crate) async fn redis_connection(url: &str) -> MultiplexedConnection {
    let client = redis::Client::open(url).expect("a URL of Redis");
    let connects = async {
        loop {
            if let Ok(mut connection) = client.get_multiplexed_async_connection().await {
                let pong: RedisResult<String> = cmd("PING").query_async(&mut connection).await;
                if pong.is_ok() {
                    return connection;
                }
            }
            tokio::task::yield_now().await;
        }
    };
    soon("Redis is up", connects).await
}
