//! The options of the session strategies.
//!
//! Knows nothing of cookies and stores.

use std::{fmt, sync::Arc};

use serde_json::Value;

use super::{SessionData, SessionError, data::wrong_type};
use crate::{
    config_error::ConfigError,
    context::{IdRules, Identity},
    strategy::Outcome,
};

/// Defines the option methods that both session strategies have, for a type with a field
/// `options: Arc<SessionOptions>`.
macro_rules! option_methods {
    () => {
        /// Takes the user's id from the session's value of this key, a string. The default key is
        /// `user_id`.
        #[must_use]
        pub fn user_id_key(mut self, key: impl Into<String>) -> Self {
            Arc::make_mut(&mut self.options).set_user_id_key(key);
            self
        }

        /// Sets the rules that the user's id has to follow, [`IdRules::new`] by default.
        #[must_use]
        pub fn id_rules(mut self, rules: IdRules) -> Self {
            Arc::make_mut(&mut self.options).rules = rules;
            self
        }

        /// Treats a session that the store does not know, or that has expired, as absent: the next
        /// strategy is tried, and a [`Fallback`](crate::Fallback) may act.
        ///
        /// Any other bad cookie is still refused, such as one that is repeated, that is not a
        /// session id, or whose signature does not fit. A fallback may then act on a session
        /// without a user too, because only the store tells the two apart.
        #[must_use]
        pub fn treat_unknown_as_absent(mut self) -> Self {
            Arc::make_mut(&mut self.options).unknown_is_absent = true;
            self
        }

        /// Allows sessions without a user: a [`Fallback`](crate::Fallback), such as
        /// [`Fallback::anonymous`](crate::Fallback::anonymous), may act on them.
        #[must_use]
        pub fn allow_visitors(mut self) -> Self {
            Arc::make_mut(&mut self.options).allow_visitors = true;
            self
        }
    };
}
pub(super) use option_methods;

type ReadIdentity =
    dyn Fn(&SessionData<'_>) -> Result<Option<Identity>, SessionError> + Send + Sync;

/// The options that both session strategies have: how a user is read from a session, and which
/// sessions count as no credential.
#[derive(Clone)]
pub(super) struct SessionOptions {
    /// The keys that are read. Without a closure the first one has the user's id.
    pub(super) keys: Vec<String>,
    pub(super) rules: IdRules,
    read: Option<Arc<ReadIdentity>>,
    /// Whether a session that is unknown to the store, or has expired, counts as no credential.
    pub(super) unknown_is_absent: bool,
    /// Whether a fallback may act on a session without a user.
    pub(super) allow_visitors: bool,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            keys: vec!["user_id".to_owned()],
            rules: IdRules::new(),
            read: None,
            unknown_is_absent: false,
            allow_visitors: false,
        }
    }
}

impl SessionOptions {
    pub(super) fn set_closure<F>(&mut self, read: F)
    where
        F: Fn(&SessionData<'_>) -> Result<Option<Identity>, SessionError> + Send + Sync + 'static,
    {
        self.read = Some(Arc::new(read));
    }

    pub(super) fn set_user_id_key(&mut self, key: impl Into<String>) {
        self.keys = vec![key.into()];
        self.read = None;
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        if self.keys.is_empty() || self.keys.iter().any(String::is_empty) {
            return Err(ConfigError::NoSessionKey);
        }
        Ok(())
    }

    /// Returns whether only the store knows if a fallback may act on a request with a cookie.
    pub(super) fn is_lenient(&self) -> bool {
        self.unknown_is_absent || self.allow_visitors
    }

    /// Returns the outcome for a session that the store does not have, or that has expired.
    pub(super) fn unknown(&self, error: SessionError) -> Outcome {
        if self.unknown_is_absent {
            Outcome::Absent
        } else {
            Outcome::Invalid(error.into())
        }
    }

    /// Returns the outcome for a session that is valid.
    pub(super) fn outcome(&self, data: &SessionData<'_>) -> Outcome {
        match self.identity(data) {
            Ok(None) => Outcome::Absent,
            Ok(Some(identity)) => Outcome::Found(match data.expires_at() {
                Some(end) => identity.no_longer_than(end),
                None => identity,
            }),
            Err(error) => Outcome::Invalid(error.into()),
        }
    }

    fn identity(&self, data: &SessionData<'_>) -> Result<Option<Identity>, SessionError> {
        if let Some(read) = &self.read {
            return read(data);
        }
        let Some(key) = self.keys.first() else {
            return Ok(None);
        };
        match data.raw(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(id)) => Ok(Some(Identity::proved(self.rules.user_id(id)?))),
            Some(_) => Err(wrong_type(key)),
        }
    }
}

impl fmt::Debug for SessionOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionOptions")
            .field("keys", &self.keys)
            .field("closure", &self.read.is_some())
            .finish_non_exhaustive()
    }
}
