//! API keys, for programs of users: the table has their hashes, and each key is shown once.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use sqlx::Row;
use tower_user_scope::{
    Identity, UserId,
    api_key::{ApiKeyHash, ApiKeyId, ApiKeyRecord, ApiKeyStore},
    open_scopes::Credential,
};

use crate::{database::Database, work::bound};

/// What a key begins with, by which scanners for leaked secrets know it.
pub(crate) const PREFIX: &str = "agents";

/// Looks up keys, before anybody is known.
pub(crate) struct Keys(pub(crate) Database);

impl ApiKeyStore for Keys {
    type Error = sqlx::Error;

    async fn find(&self, id: &ApiKeyId) -> sqlx::Result<Option<ApiKeyRecord>> {
        let sql = "SELECT owner, hash FROM api_keys WHERE id = $1";
        let found = bound(sql, &[id.as_str()])
            .fetch_optional(&self.0.pool)
            .await?;
        let Some(row) = found else { return Ok(None) };
        let owner: Result<UserId, _> = row.get::<String, _>("owner").parse();
        let owner = owner.map_err(|error| sqlx::Error::Decode(error.into()))?;
        let hash = BASE64.decode(row.get::<String, _>("hash"));
        let hash = hash.ok().and_then(|hash| <[u8; 32]>::try_from(hash).ok());
        let hash = hash.ok_or_else(|| sqlx::Error::Decode("not a hash".into()))?;
        // By this the key's open streams end when it is deleted.
        let credential = Credential::new().with_token_id(id.as_str());
        let owner = Identity::proved(owner).with_attribute(credential);
        Ok(Some(ApiKeyRecord::new(hash, owner)))
    }
}

/// Returns a hash as the table has it.
pub(crate) fn encoded(hash: &ApiKeyHash) -> String {
    BASE64.encode(hash.as_bytes())
}
