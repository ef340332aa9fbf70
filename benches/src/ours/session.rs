//! The session strategy, over a store in memory.

use std::{
    hint::black_box,
    time::{Duration, SystemTime},
};

use http::{Request, header::COOKIE};
use tower_sessions::{
    MemoryStore, SessionStore,
    session::{Id, Record},
};
use tower_user_scope::{session::SessionCookie, strategy::Strategy};

use crate::{
    case::{Case, wait_for},
    requests,
};

const NAME: &str = "sid";
const ID: Id = Id(7);

/// The strategy.
pub fn strategy() -> impl Strategy {
    SessionCookie::new(NAME, store())
}

/// The store's own part of it, asked directly.
#[must_use]
pub fn loaded() -> Case {
    let store = store();
    Case::of(move |times| {
        for _ in 0..times {
            let record = wait_for(store.load(&ID)).expect("memory");
            assert!(black_box(record).is_some(), "the session is there");
        }
    })
}

fn store() -> MemoryStore {
    let store = MemoryStore::default();
    let mut record = Record {
        id: ID,
        data: [("user_id".to_owned(), "alice".into())].into(),
        expiry_date: (SystemTime::now() + Duration::from_secs(24 * 3_600)).into(),
    };
    wait_for(store.create(&mut record)).expect("memory");
    store
}

/// A request of which it knows the user.
#[must_use]
pub fn request() -> Request<()> {
    requests::with_header(COOKIE, &format!("{NAME}={ID}"))
}
