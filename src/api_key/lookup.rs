//! Checks a key against its record.

use std::sync::Arc;

use super::{ApiKeyError, ApiKeyErrorKind, ApiKeyHash, ApiKeyId, ApiKeyRecord, ApiKeyStore};
#[cfg(feature = "open-scopes")]
use crate::open_scopes::Credential;
use crate::{
    clock::{Clock, Moment},
    context::{Identity, Principal},
    strategy::{InvalidError, Outcome, UnavailableError},
    token::{Confirmed, ConfirmedIdentities},
};

/// A key that was sent, and what is needed to check it.
pub(super) struct Lookup<S> {
    pub(super) id: ApiKeyId,
    pub(super) hash: ApiKeyHash,
    pub(super) store: Arc<S>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) known: Option<Arc<ConfirmedIdentities>>,
}

impl<S: ApiKeyStore> Lookup<S> {
    pub(super) async fn outcome(self) -> Outcome {
        let asked = Moment::at(self.clock.now());
        let record = match self.store.find(&self.id).await {
            Ok(record) => record,
            Err(error) => return UnavailableError::new(error).into(),
        };
        let identity = match self.checked(record) {
            Ok(identity) => revocable(identity, &self.id).with_attribute(self.id),
            Err(invalid) => return invalid.into(),
        };
        if let Some(known) = self.known {
            let identity = identity.clone();
            let confirmed = Confirmed {
                identity,
                asked,
                size: 0,
            };
            known.insert(*self.hash.as_bytes(), Arc::new(confirmed));
        }
        identity.into()
    }

    fn checked(&self, record: Option<ApiKeyRecord>) -> Result<Identity, InvalidError> {
        let refused = |kind| InvalidError::from(ApiKeyError::new(kind, Some(self.id.clone())));
        // An unknown key is compared too, so that it takes as long as a wrong one.
        let stored = record.as_ref().map_or(NOBODY, |record| record.hash);
        let is_equal = stored == self.hash;
        let Some(record) = record else {
            return Err(refused(ApiKeyErrorKind::Unknown));
        };
        if !is_equal {
            return Err(refused(ApiKeyErrorKind::WrongSecret));
        }
        // Only the owner of the key gets here, so the audit event may name the owner.
        let user = match record.identity.principal() {
            Principal::User(user) => Some(user.to_string()),
            _ => None,
        };
        if record.is_revoked {
            return Err(refused(ApiKeyErrorKind::Revoked).of_user(user));
        }
        match record.expires_at {
            Some(end) if end <= self.clock.now() => {
                Err(refused(ApiKeyErrorKind::Expired).of_user(user))
            }
            Some(end) => Ok(record.identity.no_longer_than(end)),
            None => Ok(record.identity),
        }
    }
}

/// Names the credential of an identity by the key's identifier, unless the application has named it.
#[cfg(feature = "open-scopes")]
fn revocable(identity: Identity, id: &ApiKeyId) -> Identity {
    if identity.attributes().get::<Credential>().is_some() {
        return identity;
    }
    identity.with_attribute(Credential::new().with_token_id(id.as_str()))
}

#[cfg(not(feature = "open-scopes"))]
fn revocable(identity: Identity, _: &ApiKeyId) -> Identity {
    identity
}

/// What an unknown key is compared with. Its comparison never counts.
const NOBODY: ApiKeyHash = ApiKeyHash::zero();
