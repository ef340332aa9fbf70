//! [`TrustedHeader`] as a [`Strategy`]: reads the headers of trusted senders, and removes the others.

use std::future::Ready;

use http::{HeaderName, request::Parts};

use super::{TrustedHeader, Trusting, field::Field, trusted_fields::TrustedFields};
use crate::{
    config_error::ConfigError,
    context::Identity,
    maybe_future::MaybeFuture,
    outcome::{InvalidError, InvalidErrorKind},
    strategy::{Outcome, Presence, Strategy, fold_alike, is_reserved},
    stripped::Stripped,
};

impl<T> TrustedHeader<T> {
    /// Whether the identity is read from this header.
    fn is_own(&self, sent: &HeaderName) -> bool {
        self.own_names().any(|name| name == sent)
    }

    #[cold]
    fn strip(&self, head: &mut Parts, believed: bool, stripped: &mut dyn FnMut(Stripped<'_>)) {
        let names: Vec<HeaderName> = self.own_names().cloned().collect();
        self.trust.strip(head, &names, believed, stripped);
    }

    /// Reads the identity of the user's header; its tenant is read apart.
    #[inline]
    fn user(&self, head: &Parts, user: &Field<'_>) -> Result<Option<Identity>, InvalidError> {
        let Some(read) = &self.read else {
            let user = user.text()?;
            return Ok(match user {
                Some(user) => Some(Identity::asserted(self.rules.user_id(user)?)),
                None => None,
            });
        };
        let value = match user {
            Field::Missing => return Ok(None),
            Field::Once(value) => value,
            Field::Repeatedly => return Err(InvalidErrorKind::Repeated.into()),
        };
        let identity = read(&TrustedFields {
            value,
            headers: &head.headers,
            others: self.others.as_deref().unwrap_or_default(),
        })?;
        Ok(Some(identity.into_asserted()))
    }

    #[inline]
    fn identity(&self, head: &Parts, name: &HeaderName) -> Result<Option<Identity>, InvalidError> {
        let user = Field::read(&head.headers, name);
        let tenant = match self.tenant_name() {
            Some(name) => Field::read(&head.headers, name),
            None => Field::Missing,
        };
        // The sender is checked before a value is parsed.
        let sent = !matches!((&user, &tenant), (Field::Missing, Field::Missing));
        if !sent || self.trust.check(head).is_err() {
            return Ok(None);
        }
        let Some(identity) = self.user(head, &user)? else {
            // A tenant without a user.
            return Err(InvalidErrorKind::Malformed.into());
        };
        match tenant.text()? {
            Some(tenant) => Ok(Some(identity.with_tenant_id(self.rules.tenant_id(tenant)?))),
            None => Ok(Some(identity)),
        }
    }
}

impl Strategy for TrustedHeader<Trusting> {
    type Future = Ready<Outcome>;

    fn name(&self) -> &'static str {
        "trusted_header"
    }

    fn resolve(&self, head: &Parts) -> MaybeFuture<Self::Future> {
        let outcome = match &self.name {
            Ok(name) => match self.identity(head, name) {
                Ok(Some(identity)) => identity.into(),
                Ok(None) => Outcome::Absent,
                Err(invalid) => invalid.into(),
            },
            Err(_) => Outcome::Absent,
        };
        MaybeFuture::Ready(outcome)
    }

    fn presence(&self, head: &Parts) -> Presence {
        let is_ours = |sent: &HeaderName| {
            let user = self.name.as_ref().ok();
            let mut names = user.into_iter().chain(self.tenant_name());
            names.any(|name| fold_alike(name, sent))
        };
        head.headers.keys().any(is_ours).into()
    }

    fn headers(&self) -> Option<Vec<HeaderName>> {
        Some(self.names().cloned().collect())
    }

    #[inline]
    fn scrub(&self, head: &mut Parts, believed: bool, stripped: &mut dyn FnMut(Stripped<'_>)) {
        let may_go =
            |sent: &HeaderName| self.headers.may_have(sent) && !(believed && self.is_own(sent));
        if head.headers.keys().any(may_go) {
            self.strip(head, believed, stripped);
        }
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.trust.validate()?;
        let mut names = vec![self.name.as_ref()];
        names.extend(self.tenant.as_ref().map(Result::as_ref));
        match &self.others {
            Ok(others) => names.extend(others.iter().map(Ok)),
            Err(error) => names.push(Err(error)),
        }
        names.extend(self.trust.secret_headers().map(Ok));
        let mut known: Vec<&HeaderName> = Vec::new();
        for name in names {
            let name = name.map_err(Clone::clone)?;
            if is_reserved(name) {
                return Err(ConfigError::HeaderReserved {
                    name: name.to_string(),
                });
            }
            if known.iter().any(|other| fold_alike(other, name)) {
                return Err(ConfigError::HeaderReused {
                    name: name.to_string(),
                });
            }
            known.push(name);
        }
        Ok(())
    }
}
