//! Loads a session from the store, and checks the record.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tower_sessions_core::{
    SessionStore,
    session::{Id, Record},
};

use super::{SessionData, SessionError, options::SessionOptions};
#[cfg(feature = "open-scopes")]
use crate::open_scopes::Credential;
use crate::{
    clock::Clock,
    strategy::{Outcome, UnavailableError},
};

/// Loads the session of this id from the store, and returns its outcome.
pub(super) async fn look_up<S: SessionStore>(
    store: Arc<S>,
    id: Id,
    options: Arc<SessionOptions>,
    clock: Arc<dyn Clock>,
) -> Outcome {
    match store.load(&id).await {
        Ok(Some(record)) => outcome_of(&record, id, &options, &*clock),
        Ok(None) => options.unknown(SessionError::Unknown),
        Err(error) => UnavailableError::new(error).into(),
    }
}

fn outcome_of(
    record: &Record,
    requested: Id,
    options: &SessionOptions,
    clock: &dyn Clock,
) -> Outcome {
    // A pooled connection whose request was cancelled can return the reply to another request.
    if record.id != requested {
        return Outcome::Invalid(SessionError::OtherSession.into());
    }
    let expires_at = system_time(
        record.expiry_date.unix_timestamp(),
        record.expiry_date.nanosecond(),
    );
    if expires_at.is_some_and(|end| end <= clock.now()) {
        return options.unknown(SessionError::Expired);
    }
    let outcome = options.outcome(&SessionData::new(&record.data, expires_at));
    #[cfg(feature = "open-scopes")]
    let outcome = revocable(outcome, &requested.to_string());
    outcome
}

/// Names the credential of a found identity by the session's id, unless the application names another
/// session.
#[cfg(feature = "open-scopes")]
pub(super) fn revocable(outcome: Outcome, session_id: &str) -> Outcome {
    let Outcome::Found(identity) = outcome else {
        return outcome;
    };
    let own = identity.attributes().get::<Credential>().cloned();
    let credential = own.unwrap_or_default();
    let credential = match credential.session_id() {
        Some(_) => credential,
        None => credential.with_session_id(session_id),
    };
    identity.with_attribute(credential).into()
}

/// Converts a Unix time. A time before 1970 becomes 1970: both are past.
pub(super) fn system_time(unix_seconds: i64, nanoseconds: u32) -> Option<SystemTime> {
    let seconds = u64::try_from(unix_seconds).unwrap_or(0);
    UNIX_EPOCH.checked_add(Duration::new(seconds, nanoseconds))
}
