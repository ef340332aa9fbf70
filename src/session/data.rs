//! The data of a session, as the application's closure sees it.

use std::{collections::HashMap, fmt, time::SystemTime};

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::SessionError;

/// The data of one session, without its id.
///
/// `Debug` shows the number of values and none of them.
pub struct SessionData<'a> {
    values: &'a HashMap<String, Value>,
    expires_at: Option<SystemTime>,
}

impl<'a> SessionData<'a> {
    pub(super) fn new(values: &'a HashMap<String, Value>, expires_at: Option<SystemTime>) -> Self {
        Self { values, expires_at }
    }

    /// Returns the value of this key as a `T`; `None` if it is missing or `null`.
    ///
    /// # Errors
    /// [`SessionError::Value`] if it is not a `T`.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, SessionError> {
        match self.values.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => T::deserialize(value).map(Some).map_err(|_| wrong_type(key)),
        }
    }

    pub(super) fn raw(&self, key: &str) -> Option<&'a Value> {
        self.values.get(key)
    }

    /// Returns when the session ends, if that is known.
    #[must_use]
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.expires_at
    }
}

impl fmt::Debug for SessionData<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionData")
            .field("len", &self.values.len())
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

pub(super) fn wrong_type(key: &str) -> SessionError {
    SessionError::Value {
        key: key.to_owned(),
    }
}
