//! What the application's store says about a key.

use std::{error::Error as StdError, future::Future, time::SystemTime};

use super::{ApiKeyHash, ApiKeyId};
use crate::{authorize::Grants, context::Identity};

/// The application's store of API keys.
///
/// ```
/// use tower_user_scope::api_key::{ApiKeyId, ApiKeyRecord, ApiKeyStore};
/// # struct Database;
/// # struct Row { hash: [u8; 32], owner: String, revoked: bool }
/// # impl Database { async fn select(&self, _: &str) -> Result<Option<Row>, std::io::Error> { Ok(None) } }
/// use tower_user_scope::{Identity, UserId};
///
/// struct Keys(Database);
///
/// impl ApiKeyStore for Keys {
///     type Error = std::io::Error;
///
///     async fn find(&self, id: &ApiKeyId) -> Result<Option<ApiKeyRecord>, Self::Error> {
///         let Some(row) = self.0.select(id.as_str()).await? else { return Ok(None) };
///         let owner = UserId::try_from(row.owner).map_err(std::io::Error::other)?;
///         let record = ApiKeyRecord::new(row.hash, Identity::proved(owner));
///         Ok(Some(record.with_revoked(row.revoked)))
///     }
/// }
/// ```
pub trait ApiKeyStore {
    /// Why the store could not be asked: 503. It is in the audit event.
    type Error: StdError + Send + Sync + 'static;

    /// Returns the record of the key with this identifier; `None` if there is none.
    ///
    /// Return revoked and expired keys too, while they are kept: the audit event then says so.
    ///
    /// # Errors
    /// If the store does not answer, or its answer can't be read.
    ///
    /// # Cancel safety
    /// The future is dropped if the client goes away, or after the
    /// [time limit](crate::middleware::LayerBuilder::time_limit).
    fn find(
        &self,
        id: &ApiKeyId,
    ) -> impl Future<Output = Result<Option<ApiKeyRecord>, Self::Error>> + Send;
}

/// What the store knows about a key: its hash, whose it is, and whether it still holds.
#[derive(Clone, Debug)]
#[must_use]
pub struct ApiKeyRecord {
    pub(super) hash: ApiKeyHash,
    pub(super) identity: Identity,
    pub(super) expires_at: Option<SystemTime>,
    pub(super) is_revoked: bool,
}

impl ApiKeyRecord {
    /// Creates the record of a key that does not expire.
    ///
    /// The identity is usually [proved](Identity::proved), because only the key's owner has its
    /// secret. It may have attributes, a tenant, or an end that comes before the key's.
    pub fn new(hash: impl Into<ApiKeyHash>, identity: Identity) -> Self {
        Self {
            hash: hash.into(),
            identity,
            expires_at: None,
            is_revoked: false,
        }
    }

    /// Sets when the key expires.
    pub fn with_expires_at(mut self, time: SystemTime) -> Self {
        self.expires_at = Some(time);
        self
    }

    /// Sets whether the key was revoked.
    pub fn with_revoked(mut self, is_revoked: bool) -> Self {
        self.is_revoked = is_revoked;
        self
    }

    /// Sets the scopes that the key has, as the identity's [`Grants`], which
    /// [`Require`](crate::authorize::Require) compares. Grants that the identity has are replaced.
    pub fn with_scopes<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        let grants = Grants::new().with_scopes(scopes);
        self.identity = self.identity.with_attribute(grants);
        self
    }
}
