//! Stores that were published for `tower-sessions-core` 0.14, used as those of 0.15.

use async_trait::async_trait;
use tower_sessions_core::{
    SessionStore,
    session::{Id, Record},
    session_store::{Error, Result},
};
use tower_sessions_core_0_14 as earlier;

/// A store of `tower-sessions-core` 0.14 as one of 0.15.
///
/// The published stores for Redis (`tower-sessions-redis-store` 0.16) and SQL
/// (`tower-sessions-sqlx-store` 0.15) are such. The records are the same; this changes their type
/// and nothing else, so that the store can be used with `tower-sessions` 0.15 too.
///
/// ```
/// use tower_sessions_sqlx_store::{PostgresStore, sqlx::PgPool};
/// use tower_user_scope::{SessionCookie, StoreOf014};
///
/// # fn strategy(pool: PgPool) {
/// let strategy = SessionCookie::new("__Host-sid", StoreOf014(PostgresStore::new(pool)));
/// # let _ = strategy;
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct StoreOf014<S>(pub S);

#[async_trait]
impl<S: earlier::SessionStore> SessionStore for StoreOf014<S> {
    async fn create(&self, record: &mut Record) -> Result<()> {
        let mut old = to_earlier(record);
        self.0.create(&mut old).await.map_err(error)?;
        // It may have chosen another id.
        record.id = Id(old.id.0);
        Ok(())
    }

    async fn save(&self, record: &Record) -> Result<()> {
        self.0.save(&to_earlier(record)).await.map_err(error)
    }

    async fn load(&self, id: &Id) -> Result<Option<Record>> {
        let found = self.0.load(&earlier::session::Id(id.0)).await;
        Ok(found.map_err(error)?.map(|old| Record {
            id: Id(old.id.0),
            data: old.data,
            expiry_date: old.expiry_date,
        }))
    }

    async fn delete(&self, id: &Id) -> Result<()> {
        let id = earlier::session::Id(id.0);
        self.0.delete(&id).await.map_err(error)
    }
}

fn to_earlier(record: &Record) -> earlier::session::Record {
    earlier::session::Record {
        id: earlier::session::Id(record.id.0),
        data: record.data.clone(),
        expiry_date: record.expiry_date,
    }
}

fn error(error: earlier::session_store::Error) -> Error {
    use earlier::session_store::Error as Earlier;
    match error {
        Earlier::Encode(text) => Error::Encode(text),
        Earlier::Decode(text) => Error::Decode(text),
        Earlier::Backend(text) => Error::Backend(text),
    }
}
