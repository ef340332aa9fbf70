//! Sessions to look up, and a store around another store that counts, waits and returns wrong results.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use serde_json::Value;
use time::{Duration, OffsetDateTime};
use tower_sessions::{
    SessionStore,
    session::{Id, Record},
    session_store,
};

type Loaded = session_store::Result<Option<Record>>;

/// The result of a look-up instead of the store's own.
type Twist = dyn Fn(Id, Loaded) -> Loaded + Send + Sync;

/// A store that counts its look-ups, and may return wrong results or none.
#[derive(Clone)]
pub(crate) struct Watched<S> {
    inner: S,
    loads: Arc<AtomicUsize>,
    finished: Arc<AtomicUsize>,
    twist: Arc<Twist>,
    hangs: bool,
}

impl<S: SessionStore> Watched<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self {
            inner,
            loads: Arc::default(),
            finished: Arc::default(),
            twist: Arc::new(|_, loaded| loaded),
            hangs: false,
        }
    }

    pub(crate) fn twisted(
        mut self,
        twist: impl Fn(Id, Loaded) -> Loaded + Send + Sync + 'static,
    ) -> Self {
        self.twist = Arc::new(twist);
        self
    }

    /// Never returns.
    pub(crate) fn hanging(mut self) -> Self {
        self.hangs = true;
        self
    }

    /// Returns the number of look-ups that were started.
    pub(crate) fn loads(&self) -> usize {
        self.loads.load(Ordering::SeqCst)
    }

    /// Returns the number of look-ups that ended.
    pub(crate) fn finished(&self) -> usize {
        self.finished.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl<S: SessionStore> SessionStore for Watched<S> {
    async fn create(&self, record: &mut Record) -> session_store::Result<()> {
        self.inner.create(record).await
    }

    async fn save(&self, record: &Record) -> session_store::Result<()> {
        self.inner.save(record).await
    }

    async fn load(&self, id: &Id) -> Loaded {
        self.loads.fetch_add(1, Ordering::SeqCst);
        if self.hangs {
            std::future::pending::<()>().await;
        }
        let loaded = self.inner.load(id).await;
        self.finished.fetch_add(1, Ordering::SeqCst);
        (self.twist)(*id, loaded)
    }

    async fn delete(&self, id: &Id) -> session_store::Result<()> {
        self.inner.delete(id).await
    }
}

impl<S> fmt::Debug for Watched<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watched")
    }
}

/// The error of a store whose back end is unreachable.
pub(crate) fn down() -> session_store::Error {
    session_store::Error::Backend("connection refused".to_owned())
}

/// A session with this data that ends in an hour.
pub(crate) fn record(id: Id, data: impl IntoIterator<Item = (&'static str, Value)>) -> Record {
    Record {
        id,
        data: data
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect::<HashMap<_, _>>(),
        expiry_date: OffsetDateTime::now_utc() + Duration::HOUR,
    }
}

/// Writes a session of this user and returns its id.
pub(crate) async fn session_of(store: &impl SessionStore, user: &str) -> Id {
    session_with(store, [("user_id", user.into())]).await
}

/// Writes a session with this data and returns its id.
pub(crate) async fn session_with(
    store: &impl SessionStore,
    data: impl IntoIterator<Item = (&'static str, Value)>,
) -> Id {
    let mut record = record(Id::default(), data);
    store.create(&mut record).await.expect("the store is up");
    record.id
}
