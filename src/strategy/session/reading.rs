//! From what a session holds to an identity.

use std::{fmt, sync::Arc};

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::SessionProblem;
use crate::{
    context::{IdRules, Identity},
    strategy::{Invalid, Outcome},
};

/// Which value of a session says whose it is, and how.
#[derive(Clone)]
pub(super) struct Reading {
    pub(super) key: Arc<str>,
    identity: Arc<Identify>,
    /// Whether a session without that value is somebody: nobody in particular.
    anonymous: bool,
}

type Identify = dyn Fn(Value) -> Result<Identity, Invalid> + Send + Sync;

impl Reading {
    pub(super) fn user_id(key: impl Into<Arc<str>>, rules: IdRules) -> Self {
        Self::new(key, move |value| match value {
            Value::String(id) => match rules.user_id(&id) {
                Ok(id) => Ok(Identity::proved(id)),
                Err(_) => Err(SessionProblem::User.into()),
            },
            _ => Err(SessionProblem::User.into()),
        })
    }

    pub(super) fn identity<T, F>(key: impl Into<Arc<str>>, identity: F) -> Self
    where
        T: DeserializeOwned,
        F: Fn(T) -> Result<Identity, Invalid> + Send + Sync + 'static,
    {
        Self::new(key, move |value| {
            let value = serde_json::from_value(value);
            identity(value.map_err(|_| Invalid::from(SessionProblem::User))?)
        })
    }

    fn new<F>(key: impl Into<Arc<str>>, identity: F) -> Self
    where
        F: Fn(Value) -> Result<Identity, Invalid> + Send + Sync + 'static,
    {
        Self {
            key: key.into(),
            identity: Arc::new(identity),
            anonymous: false,
        }
    }

    pub(super) fn anonymous(&mut self) {
        self.anonymous = true;
    }

    pub(super) fn outcome(&self, value: Option<Value>) -> Outcome {
        match value {
            // A value that was taken back is none.
            None | Some(Value::Null) if self.anonymous => Identity::anonymous().into(),
            None | Some(Value::Null) => Outcome::Absent,
            Some(value) => match (self.identity)(value) {
                Ok(identity) => identity.into(),
                Err(invalid) => invalid.into(),
            },
        }
    }
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading")
            .field("key", &self.key)
            .field("anonymous", &self.anonymous)
            .finish_non_exhaustive()
    }
}
