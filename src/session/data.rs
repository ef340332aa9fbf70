//! What a session holds, and how a user is read out of it.

use std::{collections::HashMap, fmt, sync::Arc, time::SystemTime};

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::SessionError;
use crate::{
    config_error::ConfigError,
    context::{IdRules, Identity},
    strategy::Outcome,
};

/// The data of one session, without its id.
///
/// `Debug` tells how many values there are and nothing of what they are.
pub struct SessionData<'a> {
    values: &'a HashMap<String, Value>,
    expiry: Option<SystemTime>,
}

impl<'a> SessionData<'a> {
    pub(super) fn new(values: &'a HashMap<String, Value>, expiry: Option<SystemTime>) -> Self {
        Self { values, expiry }
    }

    /// The value of this key, `None` where there is none or where it is `null`.
    ///
    /// # Errors
    /// [`SessionError::Value`] where it is not a `T`.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, SessionError> {
        match self.value(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => T::deserialize(value).map(Some).map_err(|_| wrong_type(key)),
        }
    }

    /// The value of this key as it was stored.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&'a Value> {
        self.values.get(key)
    }

    /// When the session ends, where that is known.
    #[must_use]
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.expiry
    }
}

impl fmt::Debug for SessionData<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionData")
            .field("len", &self.values.len())
            .field("expiry", &self.expiry)
            .finish_non_exhaustive()
    }
}

fn wrong_type(key: &str) -> SessionError {
    SessionError::Value {
        key: key.to_owned(),
    }
}

type ReadIdentity =
    dyn Fn(&SessionData<'_>) -> Result<Option<Identity>, SessionError> + Send + Sync;

/// How a user is read out of a session's data.
#[derive(Clone)]
pub(super) struct UserOf {
    /// What is read; the first is the user's id where there is no closure.
    pub(super) keys: Vec<String>,
    pub(super) rules: IdRules,
    read: Option<Arc<ReadIdentity>>,
}

impl UserOf {
    pub(super) fn by_key(key: impl Into<String>) -> Self {
        Self {
            keys: vec![key.into()],
            rules: IdRules::new(),
            read: None,
        }
    }

    pub(super) fn read_by<F>(&mut self, read: F)
    where
        F: Fn(&SessionData<'_>) -> Result<Option<Identity>, SessionError> + Send + Sync + 'static,
    {
        self.read = Some(Arc::new(read));
    }

    pub(super) fn read_key(&mut self, key: impl Into<String>) {
        self.keys = vec![key.into()];
        self.read = None;
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        if self.keys.is_empty() || self.keys.iter().any(String::is_empty) {
            return Err(ConfigError::NoSessionKey);
        }
        Ok(())
    }

    pub(super) fn outcome(&self, data: &SessionData<'_>) -> Outcome {
        match self.identity(data) {
            Ok(None) => Outcome::Absent,
            Ok(Some(identity)) => Outcome::Found(match data.expiry {
                Some(end) => identity.no_longer_than(end),
                None => identity,
            }),
            Err(problem) => Outcome::Invalid(problem.into()),
        }
    }

    fn identity(&self, data: &SessionData<'_>) -> Result<Option<Identity>, SessionError> {
        if let Some(read) = &self.read {
            return read(data);
        }
        let Some(key) = self.keys.first() else {
            return Ok(None);
        };
        match data.value(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(id)) => Ok(Some(Identity::proved(self.rules.user_id(id)?))),
            Some(_) => Err(wrong_type(key)),
        }
    }
}

impl fmt::Debug for UserOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserOf")
            .field("keys", &self.keys)
            .field("closure", &self.read.is_some())
            .finish_non_exhaustive()
    }
}
