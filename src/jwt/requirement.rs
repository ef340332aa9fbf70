//! A claim that a token has to have, with any value or with one of several.

use std::borrow::Cow;

use super::{
    TokenConfigError, TokenError, TokenErrorKind,
    claims::{Claims, check_name},
};

/// A claim that a token needs, and the values of which it needs one; `None` if any will do.
#[derive(Clone, Debug)]
pub(crate) struct Requirement {
    claim: Cow<'static, str>,
    values: Option<Vec<Box<str>>>,
}

impl Requirement {
    pub(crate) fn new<V>(claim: impl Into<Cow<'static, str>>, values: V) -> Self
    where
        V: IntoIterator<Item: Into<String>>,
    {
        let values = values.into_iter();
        Self {
            claim: claim.into(),
            values: Some(values.map(|value| value.into().into_boxed_str()).collect()),
        }
    }

    pub(super) fn present(claim: impl Into<Cow<'static, str>>) -> Self {
        Self {
            claim: claim.into(),
            values: None,
        }
    }

    pub(crate) fn validate(&self) -> Result<(), TokenConfigError> {
        check_name(&self.claim)?;
        let is_useless =
            |values: &Vec<Box<str>>| values.is_empty() || values.iter().any(|it| it.is_empty());
        if self.values.as_ref().is_some_and(is_useless) {
            return Err(TokenConfigError::NoClaimValue {
                name: self.claim.to_string(),
            });
        }
        Ok(())
    }

    pub(crate) fn check(&self, claims: &Claims<'_>) -> Result<(), TokenError> {
        let Some(values) = &self.values else {
            return claims.require(&self.claim).map_err(Into::into);
        };
        let wrong = || TokenErrorKind::WrongClaim(self.claim.clone());
        claims.one_of(&self.claim, values, wrong).map(|_| ())
    }
}
