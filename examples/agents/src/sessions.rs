//! Where sessions are kept: `SQLite` by default, Redis with `--redis`, which several instances can share.

use std::path::Path;

use async_trait::async_trait;
use sqlx::SqlitePool;
use tower_sessions::{
    SessionStore,
    session::{Id, Record},
    session_store,
};
use tower_sessions_redis_store::{
    RedisStore,
    fred::prelude::{ClientLike, Config, Pool, ReconnectPolicy},
};
use tower_sessions_sqlx_store::SqliteStore;

use crate::{BoxError, database::sqlite_url};

#[derive(Clone, Debug)]
pub(crate) enum Sessions {
    Sqlite(SqliteStore),
    Redis(RedisStore<Pool>),
}

impl Sessions {
    /// A file of its own: reading a session never waits for a request's transaction.
    pub(crate) async fn sqlite(directory: &Path) -> Result<Self, BoxError> {
        let pool = SqlitePool::connect(&sqlite_url(&directory.join("sessions.db"))).await?;
        let store = SqliteStore::new(pool);
        store.migrate().await?;
        Ok(Self::Sqlite(store))
    }

    /// Connections that are made again when Redis comes back. Until then each request with a session
    /// is refused with 503.
    pub(crate) async fn redis(url: &str) -> Result<Self, BoxError> {
        let reconnect = ReconnectPolicy::new_constant(0, 100);
        let pool = Pool::new(Config::from_url(url)?, None, None, Some(reconnect), 4)?;
        pool.init().await?;
        Ok(Self::Redis(RedisStore::new(pool)))
    }
}

#[async_trait]
impl SessionStore for Sessions {
    async fn create(&self, record: &mut Record) -> session_store::Result<()> {
        match self {
            Self::Sqlite(store) => store.create(record).await,
            Self::Redis(store) => store.create(record).await,
        }
    }

    async fn save(&self, record: &Record) -> session_store::Result<()> {
        match self {
            Self::Sqlite(store) => store.save(record).await,
            Self::Redis(store) => store.save(record).await,
        }
    }

    async fn load(&self, id: &Id) -> session_store::Result<Option<Record>> {
        match self {
            Self::Sqlite(store) => store.load(id).await,
            Self::Redis(store) => store.load(id).await,
        }
    }

    async fn delete(&self, id: &Id) -> session_store::Result<()> {
        match self {
            Self::Sqlite(store) => store.delete(id).await,
            Self::Redis(store) => store.delete(id).await,
        }
    }
}
