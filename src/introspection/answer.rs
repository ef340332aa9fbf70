//! Checks what the introspection endpoint says about a token (RFC 7662 section 2.2).
//!
//! Knows nothing of how it was asked.

use std::{borrow::Cow, time::SystemTime};

use serde_json::Value;

use super::IntrospectionError;
use crate::{
    clock::Moment,
    context::Identity,
    jwt::{
        Claims, Identify, Requirement, TokenError, TokenErrorKind, VerifiedToken, truncated,
        unix_seconds,
    },
    strategy::{InvalidError, Outcome, UnavailableError},
    token::Confirmed,
};

/// What an answer is checked against.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    /// `None` accepts any issuer, and none.
    pub(super) issuer: Option<Box<str>>,
    /// Empty accepts any audience, and none.
    pub(super) audiences: Vec<Box<str>>,
    pub(super) audience_claim: Cow<'static, str>,
    pub(super) required: Vec<Requirement>,
    pub(super) accept_sender_constrained: bool,
    pub(super) identify: Identify,
}

/// Why a token was not accepted.
#[derive(Clone, Debug)]
pub(super) enum Refusal {
    Invalid(InvalidError),
    Unavailable(UnavailableError),
}

impl From<Refusal> for Outcome {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Invalid(invalid) => invalid.into(),
            Refusal::Unavailable(unavailable) => unavailable.into(),
        }
    }
}

impl From<IntrospectionError> for Refusal {
    fn from(error: IntrospectionError) -> Self {
        Self::Unavailable(UnavailableError::new(error))
    }
}

impl From<InvalidError> for Refusal {
    fn from(invalid: InvalidError) -> Self {
        Self::Invalid(invalid)
    }
}

impl Rules {
    /// Returns whose the token is that the endpoint was asked about.
    pub(super) fn verdict(
        &self,
        json: &[u8],
        asked: Moment,
        now: SystemTime,
    ) -> Result<Confirmed, Refusal> {
        let claims = Claims::read(json).map_err(|_| IntrospectionError::Answer)?;
        match claims.value(&Cow::Borrowed("active")) {
            Ok(Some(Value::Bool(true))) => {}
            Ok(Some(Value::Bool(false))) => {
                return Err(InvalidError::from(TokenErrorKind::Inactive).into());
            }
            _ => return Err(IntrospectionError::Answer.into()),
        }
        let identity = self
            .identity(&claims, json, unix_seconds(now))
            .map_err(|invalid| {
                let user = self.identify.user_for_audit(&claims);
                invalid.of_user(user.map(|user| truncated(&user)))
            })?;
        Ok(Confirmed {
            identity,
            asked,
            size: json.len(),
        })
    }

    fn identity(
        &self,
        claims: &Claims<'_>,
        json: &[u8],
        now: u64,
    ) -> Result<Identity, InvalidError> {
        self.check_type(claims)?;
        let end = check_times(claims, now)?;
        if let Some(wanted) = &self.issuer {
            let found = claims.issuer()?;
            if *found != **wanted {
                return Err(TokenError::from(TokenErrorKind::WrongIssuer)
                    .comparing([&**wanted], [&*found])
                    .into());
            }
        }
        let audience = if self.audiences.is_empty() {
            None
        } else {
            let wrong = || TokenErrorKind::WrongAudience;
            Some(claims.one_of(&self.audience_claim, &self.audiences, wrong)?)
        };
        for requirement in &self.required {
            requirement.check(claims)?;
        }
        let token = VerifiedToken::new(claims, audience, None, end);
        let identity = self.identify.identity(claims, &token, json)?;
        Ok(match token.expires_at() {
            Some(end) => identity.no_longer_than(end),
            None => identity,
        })
    }

    /// Refuses tokens that are bound to a key of their sender, and tokens that are active and no access
    /// tokens: an endpoint says of a refresh token that it is active, too.
    fn check_type(&self, claims: &Claims<'_>) -> Result<(), InvalidError> {
        if self.accept_sender_constrained {
            return Ok(());
        }
        if claims.is_sender_constrained() {
            return Err(TokenErrorKind::SenderConstrained.into());
        }
        let mut is_named = false;
        // Hydra has `token_use`, and before its version 2 wrote it into `token_type`.
        for (name, known) in [
            ("token_type", ["bearer", "access_token"]),
            ("token_use", ["access", "access_token"]),
        ] {
            let Some(found) = claims.text(Cow::Borrowed(name))? else {
                continue;
            };
            is_named = true;
            if !known.iter().any(|known| found.eq_ignore_ascii_case(known)) {
                return Err(TokenError::from(TokenErrorKind::WrongType)
                    .comparing(known, [&*found])
                    .into());
            }
        }
        if is_named || self.checks_aud() {
            return Ok(());
        }
        Err(TokenErrorKind::MissingClaim(Cow::Borrowed("token_type")).into())
    }

    /// Whether `aud` has to name this service. A refresh token has no such audience, but the same client
    /// and the same user as its access token.
    fn checks_aud(&self) -> bool {
        !self.audiences.is_empty() && self.audience_claim == "aud"
    }
}

/// How far the issuer's clock may be ahead, in seconds.
const LEEWAY: u64 = 30;

/// Checks `exp` and `nbf`, if the answer has them, and returns when the token ends. The issuer has just
/// said that it has not ended.
fn check_times(claims: &Claims<'_>, now: u64) -> Result<Option<u64>, TokenError> {
    let end = claims.check_end(now, 0)?;
    claims.check_start(now, LEEWAY)?;
    Ok(end)
}
