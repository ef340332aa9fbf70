//! Puts everything together, and serves it until the program ends.

use std::{fs, net::SocketAddr, path::PathBuf, sync::Arc};

use axum::{Router, middleware::from_fn};
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinHandle};
use tower_user_scope::open_scopes::OpenScopes;
use tracing_appender::non_blocking::WorkerGuard;

use crate::{
    BoxError, api,
    database::Database,
    factory::Shared,
    hub::Hub,
    jobs::{self, Queue},
    log_in,
    model::Deterministic,
    operators,
    options::Options,
    origin::same_origin,
    page,
    plant::Planted,
    sessions::Sessions,
    shutdown::Shutdown,
    users,
};

/// The program, which serves.
pub(crate) struct App {
    pub(crate) address: SocketAddr,
    pub(crate) operators: SocketAddr,
    pub(crate) directory: Directory,
    serving: JoinHandle<()>,
    working: JoinHandle<()>,
    hub: Hub,
    shutdown: Shutdown,
    /// Writes what is left of the audit log when it is dropped.
    _audit: WorkerGuard,
}

impl App {
    pub(crate) async fn start(options: &Options, shutdown: Shutdown) -> Result<Self, BoxError> {
        let directory = Directory::new(options.data.clone())?;
        let recorder = operators::recorder()?;
        let database = match &options.postgres {
            Some(url) => Database::postgres(url, options.postgres_owner.as_deref()).await?,
            None => Database::sqlite(&directory.path).await?,
        };
        let sessions = match &options.redis {
            Some(url) => Sessions::redis(url).await?,
            None => Sessions::sqlite(&directory.path).await?,
        };
        let audit = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(directory.path.join("audit.log"))?;
        let (audit, audit_worker) = tracing_appender::non_blocking(audit);

        let (queue, jobs) = Queue::new();
        let hub = Hub::default();
        let shared = Arc::new(Shared {
            database: database.clone(),
            hub: hub.clone(),
            model: Arc::new(Deterministic {
                delay: options.model_delay,
            }),
            queue,
            planted: Planted::new(options.plant),
        });
        // Only the name protects a cookie, and browsers take this one over TLS alone.
        let cookie = if options.https {
            "__Host-agents"
        } else {
            "agents"
        };
        // A session that was logged out of is deleted as well, so a restart may forget it.
        let open = OpenScopes::new(log_in::SESSION);
        let layer = users::layer(cookie, sessions.clone(), &open, shared, move || {
            audit.clone()
        })?;

        let app = api::routes(open.clone())
            .layer(layer.clone())
            .merge(log_in::routes(
                cookie,
                options.https,
                sessions,
                open.clone(),
                database.clone(),
            ))
            .layer(from_fn(same_origin))
            .merge(page::routes());
        let listener = TcpListener::bind(options.listen).await?;
        let for_operators = TcpListener::bind(options.operators).await?;
        let address = listener.local_addr()?;
        let operators = for_operators.local_addr()?;
        let operators_app = operators::routes(recorder, open, database);
        tokio::spawn(async move { axum::serve(for_operators, operators_app).await });
        Ok(Self {
            address,
            operators,
            directory,
            serving: tokio::spawn(serve(listener, app, shutdown.clone())),
            working: tokio::spawn(jobs::work(layer, jobs, shutdown.clone())),
            hub,
            shutdown,
            _audit: audit_worker,
        })
    }

    /// Serves until the program is told to end. Then requests and jobs may end, and their events still
    /// arrive, before streams are closed.
    pub(crate) async fn until_shutdown(self) {
        self.shutdown.begins().await;
        let _ = self.working.await;
        self.hub.close();
        let _ = self.serving.await;
    }
}

async fn serve(listener: TcpListener, app: Router, shutdown: Shutdown) {
    // With the peer's address, which the audit log has.
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    let served = axum::serve(listener, app).with_graceful_shutdown(async move {
        shutdown.begins().await;
    });
    if let Err(error) = served.await {
        tracing::error!(%error, "the server ended");
    }
}

/// Where files are: a temporary directory, unless another one is asked for.
#[derive(Debug)]
pub(crate) struct Directory {
    pub(crate) path: PathBuf,
    /// Removed when the program ends. Nobody else on this machine may read it.
    _temporary: Option<TempDir>,
}

impl Directory {
    fn new(asked_for: Option<PathBuf>) -> std::io::Result<Self> {
        if let Some(path) = asked_for {
            fs::create_dir_all(&path)?;
            return Ok(Self {
                path,
                _temporary: None,
            });
        }
        let temporary = TempDir::with_prefix("agents-")?;
        Ok(Self {
            path: temporary.path().to_owned(),
            _temporary: Some(temporary),
        })
    }
}
