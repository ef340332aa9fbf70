//! From claims to an identity.

use std::{borrow::Cow, error::Error as StdError, fmt, sync::Arc};

use serde::de::DeserializeOwned;

use super::{TokenConfigError, TokenErrorKind, VerifiedToken, claims::Claims};
use crate::{
    context::{IdError, IdRules, Identity},
    strategy::InvalidError,
};

/// Which claims make the identity, and which go with it.
#[derive(Clone)]
pub(super) struct Identify {
    who: Who,
    tenant: Option<Cow<'static, str>>,
    thread: Option<Cow<'static, str>>,
    run: Option<Cow<'static, str>>,
    rules: IdRules,
    attach: Option<Arc<Attach>>,
}

#[derive(Clone)]
enum Who {
    Claim(Cow<'static, str>),
    Application(Arc<Application>),
}

type Application = dyn Fn(&VerifiedToken, &[u8]) -> Result<Identity, InvalidError> + Send + Sync;
type Attach = dyn Fn(Identity, &[u8]) -> Result<Identity, InvalidError> + Send + Sync;

/// A claim that says something beside who it is.
#[derive(Clone, Copy)]
pub(super) enum Beside {
    Tenant,
    Thread,
    Run,
}

impl Identify {
    pub(super) fn new() -> Self {
        Self {
            who: Who::Claim(Cow::Borrowed("sub")),
            tenant: None,
            thread: None,
            run: None,
            rules: IdRules::new(),
            attach: None,
        }
    }

    pub(super) fn by_claim(&mut self, name: Cow<'static, str>) {
        self.who = Who::Claim(name);
    }

    pub(super) fn beside(&mut self, what: Beside, name: Cow<'static, str>) {
        match what {
            Beside::Tenant => self.tenant = Some(name),
            Beside::Thread => self.thread = Some(name),
            Beside::Run => self.run = Some(name),
        }
    }

    pub(super) fn rules(&mut self, rules: IdRules) {
        self.rules = rules;
    }

    pub(super) fn attach<T>(&mut self)
    where
        T: DeserializeOwned + Clone + Send + Sync + 'static,
    {
        let before = self.attach.take();
        self.attach = Some(Arc::new(move |mut identity, json| {
            if let Some(before) = &before {
                identity = before(identity, json)?;
            }
            Ok(identity.with_attribute(application::<T>(json)?))
        }));
    }

    pub(super) fn by_application<T, F>(&mut self, identity: F)
    where
        T: DeserializeOwned + Clone + Send + Sync + 'static,
        F: Fn(&VerifiedToken, &T) -> Result<Identity, InvalidError> + Send + Sync + 'static,
    {
        self.who = Who::Application(Arc::new(move |token, json| {
            let claims = application::<T>(json)?;
            let identity = identity(token, &claims).map_err(of_token)?;
            Ok(identity.with_attribute(claims))
        }));
    }

    /// Whether users of two issuers can't be the same one by mistake.
    pub(super) fn tells_issuers_apart(&self) -> bool {
        self.tenant.is_some() || matches!(self.who, Who::Application(_))
    }

    pub(super) fn validate(&self) -> Result<(), TokenConfigError> {
        // None of these is a string that says who, and all are read as what they are.
        let unfit = |name: &&Cow<'static, str>| {
            matches!(&***name, "" | "aud" | "exp" | "nbf" | "iat" | "cnf")
        };
        match self.names().find(unfit) {
            Some(name) => Err(TokenConfigError::ClaimName {
                name: name.to_string(),
            }),
            None => Ok(()),
        }
    }

    /// The claims that are read by name.
    fn names(&self) -> impl Iterator<Item = &Cow<'static, str>> {
        let who = match &self.who {
            Who::Claim(name) => Some(name),
            Who::Application(_) => None,
        };
        let beside = [&self.tenant, &self.thread, &self.run];
        who.into_iter().chain(beside.into_iter().flatten())
    }

    /// Whom a token names, as far as that is one claim; for an operator to see.
    pub(super) fn user_if_any<'a>(&self, claims: &Claims<'a>) -> Option<Cow<'a, str>> {
        claims.text_if_any(match &self.who {
            Who::Claim(name) => name,
            Who::Application(_) => "sub",
        })
    }

    pub(super) fn identity(
        &self,
        claims: &Claims<'_>,
        token: &VerifiedToken,
        json: &[u8],
    ) -> Result<Identity, InvalidError> {
        let mut identity = match &self.who {
            Who::Application(identity) => identity(token, json)?,
            Who::Claim(name) => {
                let id = claims.user_id(name.clone())?;
                Identity::proved(self.rules.user_id(&id).map_err(not_an_id)?)
            }
        };
        let text = |name: &Option<Cow<'static, str>>| match name {
            Some(name) => claims.text(name.clone()),
            None => Ok(None),
        };
        if let Some(id) = text(&self.tenant)? {
            identity = identity.with_tenant_id(self.rules.tenant_id(&id).map_err(not_an_id)?);
        }
        if let Some(id) = text(&self.thread)? {
            identity = identity.with_thread_id(id.parse().map_err(not_an_id)?);
        }
        if let Some(id) = text(&self.run)? {
            identity = identity.with_run_id(id.parse().map_err(not_an_id)?);
        }
        if let Some(attach) = &self.attach {
            identity = attach(identity, json)?;
        }
        Ok(identity.with_attribute(token.clone()))
    }
}

fn application<T: DeserializeOwned>(json: &[u8]) -> Result<T, InvalidError> {
    serde_json::from_slice(json).map_err(|_| TokenErrorKind::ApplicationClaims.into())
}

/// An id that is none makes a bad token, and no bad request.
fn of_token(invalid: InvalidError) -> InvalidError {
    let source = StdError::source(&invalid);
    match source.and_then(|source| source.downcast_ref::<IdError>()) {
        Some(error) => not_an_id(*error),
        None => invalid,
    }
}

fn not_an_id(error: IdError) -> InvalidError {
    TokenErrorKind::Id(error).into()
}

impl fmt::Debug for Identify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identify")
            .field("claims", &self.names().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
