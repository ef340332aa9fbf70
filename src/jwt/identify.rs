//! Makes an identity of a verified token's claims.
//!
//! Knows nothing of keys or signatures: it runs after them.

use std::{borrow::Cow, error::Error as StdError, fmt, sync::Arc};

use serde::de::DeserializeOwned;

use super::{
    TokenConfigError, TokenErrorKind, VerifiedToken,
    claims::{Claims, check_name},
    grants::GrantClaims,
};
#[cfg(feature = "open-scopes")]
use crate::open_scopes::Credential;
use crate::{
    context::{IdError, IdRules, Identity},
    strategy::InvalidError,
};

/// Which claims make the identity, and which attributes it gets.
#[derive(Clone)]
pub(crate) struct Identify {
    user: UserSource,
    tenant: Option<Cow<'static, str>>,
    thread: Option<Cow<'static, str>>,
    run: Option<Cow<'static, str>>,
    actor: Option<Cow<'static, str>>,
    rules: IdRules,
    grants: Option<GrantClaims>,
    attach_claims: Option<Arc<AttachClaims>>,
}

#[derive(Clone)]
enum UserSource {
    Claim(Cow<'static, str>),
    Closure(Arc<IdentityClosure>),
}

type IdentityClosure =
    dyn Fn(&VerifiedToken, &[u8]) -> Result<Identity, InvalidError> + Send + Sync;
type AttachClaims = dyn Fn(Identity, &[u8]) -> Result<Identity, InvalidError> + Send + Sync;

/// A claim for another id of the context than the user's.
#[derive(Clone, Copy)]
pub(crate) enum ContextClaim {
    Tenant,
    Thread,
    Run,
}

impl Identify {
    pub(crate) fn new() -> Self {
        Self {
            user: UserSource::Claim(Cow::Borrowed("sub")),
            tenant: None,
            thread: None,
            run: None,
            actor: None,
            rules: IdRules::new(),
            grants: None,
            attach_claims: None,
        }
    }

    pub(crate) fn set_user_id_claim(&mut self, name: Cow<'static, str>) {
        self.user = UserSource::Claim(name);
    }

    pub(crate) fn set_context_claim(&mut self, what: ContextClaim, name: Cow<'static, str>) {
        match what {
            ContextClaim::Tenant => self.tenant = Some(name),
            ContextClaim::Thread => self.thread = Some(name),
            ContextClaim::Run => self.run = Some(name),
        }
    }

    pub(crate) fn set_actor_claim(&mut self, name: Cow<'static, str>) {
        self.actor = Some(name);
    }

    pub(crate) fn grants(&mut self) -> &mut GrantClaims {
        self.grants.get_or_insert_default()
    }

    pub(crate) fn rules(&mut self, rules: IdRules) {
        self.rules = rules;
    }

    pub(crate) fn attach<T>(&mut self)
    where
        T: DeserializeOwned + Clone + Send + Sync + 'static,
    {
        let before = self.attach_claims.take();
        self.attach_claims = Some(Arc::new(move |mut identity, json| {
            if let Some(before) = &before {
                identity = before(identity, json)?;
            }
            Ok(identity.with_attribute(parse_claims::<T>(json)?))
        }));
    }

    pub(crate) fn set_closure<T, F>(&mut self, identity: F)
    where
        T: DeserializeOwned + Clone + Send + Sync + 'static,
        F: Fn(&VerifiedToken, &T) -> Result<Identity, InvalidError> + Send + Sync + 'static,
    {
        self.user = UserSource::Closure(Arc::new(move |token, json| {
            let claims = parse_claims::<T>(json)?;
            let identity = identity(token, &claims).map_err(as_token_error)?;
            Ok(identity.with_attribute(claims))
        }));
    }

    /// Whether users of two issuers that have the same id stay different.
    pub(crate) fn tells_issuers_apart(&self) -> bool {
        self.tenant.is_some() || matches!(self.user, UserSource::Closure(_))
    }

    pub(crate) fn validate(&self) -> Result<(), TokenConfigError> {
        let grants = self.grants.iter().flat_map(GrantClaims::names);
        self.names().chain(grants).try_for_each(|name| {
            // Of several values, none is the id.
            if name == "aud" {
                return Err(TokenConfigError::ClaimName {
                    name: name.to_string(),
                });
            }
            check_name(name)
        })
    }

    /// Returns the names of the claims that ids are read from.
    fn names(&self) -> impl Iterator<Item = &Cow<'static, str>> {
        let user = match &self.user {
            UserSource::Claim(name) => Some(name),
            UserSource::Closure(_) => None,
        };
        let context = [&self.tenant, &self.thread, &self.run, &self.actor];
        user.into_iter().chain(context.into_iter().flatten())
    }

    /// Returns the user's id as the token has it, for the audit event; not validated.
    pub(crate) fn user_for_audit<'a>(&self, claims: &Claims<'a>) -> Option<Cow<'a, str>> {
        claims.optional_text(match &self.user {
            UserSource::Claim(name) => name,
            UserSource::Closure(_) => "sub",
        })
    }

    pub(crate) fn identity(
        &self,
        claims: &Claims<'_>,
        token: &VerifiedToken,
        json: &[u8],
    ) -> Result<Identity, InvalidError> {
        let mut identity = match &self.user {
            UserSource::Closure(identity) => identity(token, json)?,
            UserSource::Claim(name) => {
                let id = claims.user_id(name.clone())?;
                Identity::proved(self.rules.user_id(&id).map_err(invalid_id)?)
            }
        };
        let text = |name: &Option<Cow<'static, str>>| match name {
            Some(name) => claims.text(name.clone()),
            None => Ok(None),
        };
        if let Some(id) = text(&self.tenant)? {
            identity = identity.with_tenant_id(self.rules.tenant_id(&id).map_err(invalid_id)?);
        }
        if let Some(id) = text(&self.thread)? {
            identity = identity.with_thread_id(id.parse().map_err(invalid_id)?);
        }
        if let Some(id) = text(&self.run)? {
            identity = identity.with_run_id(id.parse().map_err(invalid_id)?);
        }
        if let Some(name) = &self.actor {
            if let Some(id) = claims.actor(name)? {
                identity = identity.with_actor(self.rules.user_id(&id).map_err(invalid_id)?);
            }
        }
        if let Some(grants) = &self.grants {
            identity = identity.with_attribute(grants.read(claims)?);
        }
        if let Some(attach_claims) = &self.attach_claims {
            identity = attach_claims(identity, json)?;
        }
        // The application's own comes first.
        #[cfg(feature = "open-scopes")]
        if identity.attributes().get::<Credential>().is_none() {
            identity = identity.with_attribute(token.credential());
        }
        Ok(identity.with_attribute(token.clone()))
    }
}

fn parse_claims<T: DeserializeOwned>(json: &[u8]) -> Result<T, InvalidError> {
    serde_json::from_slice(json).map_err(|_| TokenErrorKind::ApplicationClaims.into())
}

/// Turns an invalid id from an application's closure into a token error: the token is bad (401),
/// not the request (400).
fn as_token_error(invalid: InvalidError) -> InvalidError {
    let source = StdError::source(&invalid);
    match source.and_then(|source| source.downcast_ref::<IdError>()) {
        Some(error) => invalid_id(*error),
        None => invalid,
    }
}

fn invalid_id(error: IdError) -> InvalidError {
    TokenErrorKind::Id(error).into()
}

impl fmt::Debug for Identify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identify")
            .field("claims", &self.names().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
