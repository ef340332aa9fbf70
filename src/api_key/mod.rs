//! API keys: credentials of programs, whose hashes are in a store of the application's.
//!
//! A key is one text of three parts, `acme_5TbKxWmQ2r9dVn3y_..`: a prefix that names the service, an
//! identifier that is not secret, and a secret. [`ApiKey::generate`] makes one, the application stores
//! its [hash](ApiKey::hash) under its [identifier](ApiKey::id), and the strategy [`ApiKeys`] checks it.
//!
//! ```
//! use std::{collections::HashMap, convert::Infallible};
//!
//! use tower_user_scope::{
//!     Identity, UserId, UserScopeLayer,
//!     api_key::{ApiKey, ApiKeyId, ApiKeyRecord, ApiKeyStore, ApiKeys},
//! };
//!
//! /// In production a table.
//! struct Table(HashMap<ApiKeyId, ApiKeyRecord>);
//!
//! impl ApiKeyStore for Table {
//!     type Error = Infallible;
//!
//!     async fn find(&self, id: &ApiKeyId) -> Result<Option<ApiKeyRecord>, Infallible> {
//!         Ok(self.0.get(id).cloned())
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let key = ApiKey::generate("acme")?;
//! println!("shown once: {}", key.expose_secret());
//!
//! let alice = Identity::proved("alice".parse::<UserId>()?);
//! let record = ApiKeyRecord::new(key.hash(), alice).with_scopes(["orders:read"]);
//! let store = Table(HashMap::from([(key.id().clone(), record)]));
//!
//! let layer = UserScopeLayer::builder()
//!     .strategy(ApiKeys::new("acme", store))
//!     .context_only()
//!     .build()?;
//! # let _ = layer;
//! # Ok(())
//! # }
//! ```

mod error;
mod form;
mod hash;
mod id;
mod key;
mod lookup;
mod record;
mod strategy;

pub use self::{
    error::{ApiKeyError, ApiKeyErrorKind},
    hash::ApiKeyHash,
    id::ApiKeyId,
    key::ApiKey,
    record::{ApiKeyRecord, ApiKeyStore},
    strategy::ApiKeys,
};
