//! The session strategy, over a store in memory.

use std::time::{Duration, SystemTime};

use http::{Request, header::COOKIE};
use tower_sessions::{
    MemoryStore, SessionStore,
    session::{Id, Record},
};
use tower_user_scope::{SessionCookie, Strategy};

use crate::{case::wait_for, requests};

const NAME: &str = "sid";
const ID: Id = Id(7);

/// The strategy.
pub fn strategy() -> impl Strategy {
    let store = MemoryStore::default();
    let mut record = Record {
        id: ID,
        data: [("user_id".to_owned(), "alice".into())].into(),
        expiry_date: (SystemTime::now() + Duration::from_secs(24 * 3_600)).into(),
    };
    wait_for(store.create(&mut record)).expect("memory");
    SessionCookie::new(NAME, store)
}

/// A request of which it knows the user.
#[must_use]
pub fn request() -> Request<()> {
    requests::with_header(COOKIE, &format!("{NAME}={ID}"))
}
