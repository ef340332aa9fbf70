//! A table of API keys that counts how often it is asked.

use std::{
    collections::HashMap,
    future::pending,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use tower_user_scope::{
    Identity, UserId,
    api_key::{ApiKey, ApiKeyId, ApiKeyRecord, ApiKeyStore},
};

/// What the table does when it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Answers,
    /// Answers after it was polled a few times.
    Waits,
    Fails,
    Hangs,
}

#[derive(Clone)]
pub(crate) struct Table {
    rows: Arc<Mutex<HashMap<ApiKeyId, ApiKeyRecord>>>,
    asked: Arc<AtomicUsize>,
    mode: Mode,
}

impl Table {
    pub(crate) fn new(mode: Mode) -> Self {
        Self {
            rows: Arc::default(),
            asked: Arc::default(),
            mode,
        }
    }

    /// A new key of alice's.
    pub(crate) fn add(&self, change: impl FnOnce(ApiKeyRecord) -> ApiKeyRecord) -> ApiKey {
        let key = ApiKey::generate("acme").expect("a prefix");
        let record = change(ApiKeyRecord::new(key.hash(), alice()));
        self.set(key.id(), record);
        key
    }

    pub(crate) fn set(&self, id: &ApiKeyId, record: ApiKeyRecord) {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        rows.insert(id.clone(), record);
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

pub(crate) fn alice() -> Identity {
    Identity::proved("alice".parse::<UserId>().expect("an id"))
}

impl ApiKeyStore for Table {
    type Error = io::Error;

    async fn find(&self, id: &ApiKeyId) -> io::Result<Option<ApiKeyRecord>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        match self.mode {
            Mode::Answers => {}
            Mode::Waits => tokio::task::yield_now().await,
            Mode::Fails => return Err(io::Error::other("connection refused")),
            Mode::Hangs => pending().await,
        }
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(rows.get(id).cloned())
    }
}
