//! Reads scopes, roles and how the user logged in from a token's claims.

use std::{
    borrow::Cow,
    time::{Duration, UNIX_EPOCH},
};

use serde_json::Value;

use super::{TokenErrorKind, claims::Claims};
use crate::authorize::Grants;

/// The claims that contain scopes and roles.
#[derive(Clone, Debug, Default)]
pub(crate) struct GrantClaims {
    scopes: Vec<Cow<'static, str>>,
    /// A claim, and the members that lead to its roles.
    roles: Vec<(Cow<'static, str>, Vec<Cow<'static, str>>)>,
}

impl GrantClaims {
    pub(crate) fn add_scopes(&mut self, claim: Cow<'static, str>) {
        self.scopes.push(claim);
    }

    pub(crate) fn add_roles(&mut self, claim: Cow<'static, str>, members: Vec<Cow<'static, str>>) {
        self.roles.push((claim, members));
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &Cow<'static, str>> {
        let roles = self.roles.iter().map(|(claim, _)| claim);
        self.scopes.iter().chain(roles)
    }

    /// Reads the claims. One that is missing grants nothing; one of another type is an error.
    pub(crate) fn read(&self, claims: &Claims<'_>) -> Result<Grants, TokenErrorKind> {
        let mut grants = Grants::new();
        for name in &self.scopes {
            let wrong = || TokenErrorKind::ClaimType(name.clone());
            grants = match claims.value(name)? {
                None => grants,
                // RFC 8693 section 4.2: separated by spaces. Others have an array.
                Some(Value::String(scopes)) => grants.with_scopes(scopes.split_ascii_whitespace()),
                Some(value) => grants.with_scopes(texts(value).ok_or_else(wrong)?),
            };
        }
        for (name, members) in &self.roles {
            let wrong = || TokenErrorKind::ClaimType(name.clone());
            let mut value = claims.value(name)?;
            for member in members {
                value = match value {
                    None => None,
                    Some(Value::Object(mut object)) => object.remove(&**member),
                    Some(_) => return Err(wrong()),
                };
            }
            grants = match value {
                None | Some(Value::Null) => grants,
                Some(Value::String(role)) => grants.with_roles([role]),
                Some(value) => grants.with_roles(texts(value).ok_or_else(wrong)?),
            };
        }
        if let Some(class) = claims.optional_text("acr") {
            grants = grants.with_acr(class);
        }
        if let Some(seconds) = claims.authenticated_at() {
            grants = grants.with_authenticated_at(UNIX_EPOCH + Duration::from_secs(seconds));
        }
        Ok(grants)
    }
}

/// Returns an array's strings; `None` if it is something else.
fn texts(value: Value) -> Option<Vec<String>> {
    let Value::Array(values) = value else {
        return None;
    };
    let text = |value| match value {
        Value::String(text) => Some(text),
        _ => None,
    };
    values.into_iter().map(text).collect()
}
