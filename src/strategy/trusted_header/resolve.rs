//! [`TrustedHeader`] as a [`Strategy`]: reads the headers of trusted senders, and removes the others.

use std::future::Ready;

use http::{HeaderName, request::Parts};

use super::{
    TrustedHeader, Trusting,
    field::Field,
    strip::{fold_alike, strip_alike},
    trust::{Condition, Untrusted},
};
use crate::{
    config_error::ConfigError,
    context::Identity,
    maybe_future::MaybeFuture,
    outcome::{InvalidError, InvalidErrorKind},
    strategy::{Outcome, Presence, Strategy, is_reserved},
    stripped::{Stripped, UntrustedReason},
};

impl<T> TrustedHeader<T> {
    /// Whether the identity is read from this header.
    fn is_own(&self, sent: &HeaderName) -> bool {
        self.name.as_ref() == Ok(sent) || self.tenant_name() == Some(sent)
    }

    #[cold]
    fn strip(&self, head: &mut Parts, believed: bool, stripped: &mut dyn FnMut(Stripped<'_>)) {
        let user = self.name.as_ref().ok();
        for name in user.into_iter().chain(self.tenant_name()) {
            let explain = |head: &Parts| self.explain(head);
            strip_alike(head, name, believed, explain, stripped);
        }
        for name in self.conditions.iter().filter_map(Condition::secret_header) {
            // Sending the secret is right, so its removal is not reported.
            strip_alike(head, name, false, |_| Ok(()), &mut |_| {});
        }
    }

    #[inline]
    fn trust(&self, head: &Parts) -> Result<(), UntrustedReason> {
        self.conditions
            .iter()
            .try_for_each(|condition| condition.check(head))
    }

    #[cold]
    fn explain(&self, head: &Parts) -> Result<(), Untrusted<'_>> {
        let mut conditions = self.conditions.iter();
        conditions.try_for_each(|condition| condition.explain(head))
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
        if !sent || self.trust(head).is_err() {
            return Ok(None);
        }
        let Some(user) = user.text()? else {
            // A tenant without a user.
            return Err(InvalidErrorKind::Malformed.into());
        };
        let identity = Identity::asserted(self.rules.user_id(user)?);
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
        let mut names = vec![self.name.as_ref()];
        names.extend(self.tenant.as_ref().map(Result::as_ref));
        let mut secret_headers: Vec<&HeaderName> = Vec::new();
        for condition in &self.conditions {
            condition.validate()?;
            secret_headers.extend(condition.secret_header());
        }
        for (at, name) in secret_headers.iter().enumerate() {
            if secret_headers[..at].contains(name) {
                return Err(ConfigError::SecretsApart {
                    name: name.to_string(),
                });
            }
        }
        names.extend(secret_headers.into_iter().map(Ok));
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
