//! A claim that has to have one of several values.

use std::borrow::Cow;

use super::{
    TokenConfigError, TokenError, TokenErrorKind,
    claims::{Claims, check_name},
};

/// A claim of which a token needs one of these values.
#[derive(Clone, Debug)]
pub(super) struct Requirement {
    claim: Cow<'static, str>,
    values: Vec<Box<str>>,
}

impl Requirement {
    pub(super) fn new<V>(claim: impl Into<Cow<'static, str>>, values: V) -> Self
    where
        V: IntoIterator<Item: Into<String>>,
    {
        let values = values.into_iter();
        Self {
            claim: claim.into(),
            values: values.map(|value| value.into().into_boxed_str()).collect(),
        }
    }

    pub(super) fn validate(&self) -> Result<(), TokenConfigError> {
        check_name(&self.claim)?;
        if self.values.is_empty() || self.values.iter().any(|value| value.is_empty()) {
            return Err(TokenConfigError::NoClaimValue {
                name: self.claim.to_string(),
            });
        }
        Ok(())
    }

    pub(super) fn check(&self, claims: &Claims<'_>) -> Result<(), TokenError> {
        let wrong = || TokenErrorKind::WrongClaim(self.claim.clone());
        claims.one_of(&self.claim, &self.values, wrong).map(|_| ())
    }
}
