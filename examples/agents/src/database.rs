//! The database, which all users share: `SQLite` by default, `PostgreSQL` with `--postgres`. The same SQL
//! runs on both; what only `PostgreSQL` does is row-level security.
//!
//! Nothing here knows a user. What belongs to users is read and written through
//! [`Work`](crate::work::Work), which says to the database whose transaction it is.

use std::path::Path;

use sqlx::{
    AnyPool, Executor,
    any::{AnyPoolOptions, install_default_drivers},
};

use crate::BoxError;

const TABLES: &str = include_str!("../schema/tables.sql");
const ROW_LEVEL_SECURITY: &str = include_str!("../schema/row_level_security.sql");

#[derive(Clone, Debug)]
pub(crate) struct Database {
    pub(crate) pool: AnyPool,
    /// Whether the database itself holds one user's rows apart from another's.
    pub(crate) has_row_level_security: bool,
}

impl Database {
    /// Opens a file of `SQLite`'s, and makes the tables.
    pub(crate) async fn sqlite(directory: &Path) -> Result<Self, BoxError> {
        install_default_drivers();
        let pool = AnyPoolOptions::new()
            // SQLite has one writer at a time. Two transactions that both begin as readers could not
            // both write, so each waits here until the one before is over.
            .max_connections(1)
            .after_connect(|connection, _| {
                Box::pin(async move {
                    // Commits that wait for the log only, and readers that don't wait for writers.
                    let settings = "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL";
                    connection.execute(settings).await.map(|_| ())
                })
            })
            .connect(&sqlite_url(&directory.join("agents.db")))
            .await?;
        pool.execute(TABLES).await?;
        Ok(Self {
            pool,
            has_row_level_security: false,
        })
    }

    /// Connects to `PostgreSQL` as a role that row-level security holds for. The owner, who makes the
    /// tables and the role, is needed once.
    ///
    /// # Errors
    /// Where row-level security does not hold for the role: it would go unnoticed, as everything
    /// else works.
    pub(crate) async fn postgres(url: &str, owner_url: Option<&str>) -> Result<Self, BoxError> {
        install_default_drivers();
        if let Some(owner_url) = owner_url {
            let owner = AnyPool::connect(owner_url).await?;
            owner.execute(TABLES).await?;
            owner.execute(ROW_LEVEL_SECURITY).await?;
            owner.close().await;
        }
        let pool = AnyPoolOptions::new()
            .max_connections(16)
            .acquire_timeout(std::time::Duration::from_secs(3))
            .after_release(|connection, _| {
                Box::pin(async move {
                    // No connection goes to the next request as this one has left it.
                    connection.execute("ROLLBACK; RESET ALL").await?;
                    Ok(true)
                })
            })
            .connect(url)
            .await?;
        let unbound: i64 = sqlx::query_scalar(
            "SELECT (SELECT count(*) FROM pg_roles
                     WHERE rolname = current_user AND (rolsuper OR rolbypassrls))
                  + (SELECT count(*) FROM pg_tables
                     WHERE tablename IN ('threads', 'runs')
                     AND (tableowner = current_user OR NOT rowsecurity))",
        )
        .fetch_one(&pool)
        .await?;
        if unbound != 0 {
            return Err("row-level security does not hold for the role of --postgres".into());
        }
        Ok(Self {
            pool,
            has_row_level_security: true,
        })
    }
}

/// Returns the address of a file that is made where it is not there.
pub(crate) fn sqlite_url(file: &Path) -> String {
    format!("sqlite://{}?mode=rwc", file.display())
}
