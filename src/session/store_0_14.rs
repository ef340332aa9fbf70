//! Stores that were published for `tower-sessions-core` 0.14, as stores of 0.15.

use std::{any::type_name, fmt};

use async_trait::async_trait;
use tower_sessions_core::{
    SessionStore,
    session::{Id, Record},
    session_store::{Error, Result},
};
use tower_sessions_core_0_14::{
    SessionStore as OldStore,
    session::{Id as OldId, Record as OldRecord},
    session_store::Error as OldError,
};

/// A store of `tower-sessions-core` 0.14 as one of 0.15.
///
/// The Redis and SQL stores of the family are published for 0.14, in which sessions, ids and
/// records are the same and only their types are others. This converts them; what is in the
/// store stays as it is, so services of both versions can share one.
///
/// ```
/// use tower_user_scope::session::{SessionCookie, TowerSessions014Store};
///
/// # fn sessions<S: tower_sessions_core_0_14::SessionStore + Clone + 'static>(postgres: S) {
/// // `postgres` is a `PostgresStore` of tower-sessions-sqlx-store 0.15.
/// let store = TowerSessions014Store::new(postgres);
///
/// // The same store for tower-sessions' own layer, which writes the sessions.
/// let sessions = tower_sessions::SessionManagerLayer::new(store.clone());
/// let strategy = SessionCookie::new("__Host-sid", store);
/// # let _ = (sessions, strategy);
/// # }
/// ```
#[derive(Clone, Copy, Default)]
pub struct TowerSessions014Store<S> {
    store: S,
}

impl<S> TowerSessions014Store<S> {
    /// Takes a store of `tower-sessions-core` 0.14.
    pub const fn new(store: S) -> Self {
        Self { store }
    }

    /// The store itself, such as for its own clean-up of expired sessions.
    pub const fn get_ref(&self) -> &S {
        &self.store
    }

    /// Gives the store back.
    pub fn into_inner(self) -> S {
        self.store
    }
}

#[async_trait]
impl<S: OldStore> SessionStore for TowerSessions014Store<S> {
    async fn create(&self, record: &mut Record) -> Result<()> {
        let mut old = to_old(record);
        self.store.create(&mut old).await.map_err(error)?;
        // The store may have given it another id.
        *record = to_new(old);
        Ok(())
    }

    async fn save(&self, record: &Record) -> Result<()> {
        self.store.save(&to_old(record)).await.map_err(error)
    }

    async fn load(&self, id: &Id) -> Result<Option<Record>> {
        let found = self.store.load(&OldId(id.0)).await;
        found.map(|record| record.map(to_new)).map_err(error)
    }

    async fn delete(&self, id: &Id) -> Result<()> {
        self.store.delete(&OldId(id.0)).await.map_err(error)
    }
}

fn to_old(record: &Record) -> OldRecord {
    OldRecord {
        id: OldId(record.id.0),
        data: record.data.clone(),
        expiry_date: record.expiry_date,
    }
}

fn to_new(record: OldRecord) -> Record {
    Record {
        id: Id(record.id.0),
        data: record.data,
        expiry_date: record.expiry_date,
    }
}

fn error(error: OldError) -> Error {
    match error {
        OldError::Encode(message) => Error::Encode(message),
        OldError::Decode(message) => Error::Decode(message),
        OldError::Backend(message) => Error::Backend(message),
    }
}

/// Shows the store's type only: `Debug` of a store in memory shows all sessions.
impl<S> fmt::Debug for TowerSessions014Store<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TowerSessions014Store")
            .field(&format_args!("{}", type_name::<S>()))
            .finish()
    }
}
