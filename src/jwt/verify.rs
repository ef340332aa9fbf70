//! Verifies a token in the order of RFC 7519 section 7.2: form, signature, claims.
//!
//! Knows nothing of caches, fetches and requests.

use std::{
    borrow::Cow,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{
    CryptoProvider, Key, KeySet, TokenError, TokenErrorKind, VerifiedToken, claims::Claims,
    error::truncated, header::Header, identify::Identify, issuer::IssuerRules,
    requirement::Requirement,
};
use crate::{context::Identity, strategy::InvalidError, token::Weighed};

/// The result of a verification, valid until the token ends or its key is removed.
pub(super) struct Verdict {
    pub(super) identity: Identity,
    pub(super) token: VerifiedToken,
    pub(super) key: Arc<Key>,
    pub(super) issuer: Arc<IssuerRules>,
    /// The length of its claims, in bytes.
    pub(super) size: usize,
}

impl Weighed for Verdict {
    fn size(&self) -> usize {
        self.size
    }
}

/// Why a token was refused. An unknown key is separate, as a fetch may bring it.
pub(super) enum Refused {
    UnknownKey,
    Invalid(InvalidError),
}

/// The settings that a token is checked against.
pub(super) struct Checks<'c> {
    pub(super) issuer: &'c Arc<IssuerRules>,
    /// What tokens of every issuer need.
    pub(super) required: &'c [Requirement],
    pub(super) accept_sender_constrained: bool,
    pub(super) token_type: Option<&'c str>,
    /// Whether a revocation check is going to look at the token.
    pub(super) revocable: bool,
    pub(super) leeway: u64,
    pub(super) now: SystemTime,
    pub(super) identify: &'c Identify,
}

/// A token taken apart. Nothing of it is believed.
pub(super) struct Unverified<'t> {
    message: &'t [u8],
    header: Vec<u8>,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

impl<'t> Unverified<'t> {
    pub(super) fn split(token: &'t str) -> Result<Self, TokenErrorKind> {
        let parts = || {
            let (message, signature) = token.rsplit_once('.')?;
            let (header, payload) = message.split_once('.')?;
            Some((message, header, payload, signature))
        };
        let (message, header, payload, signature) = parts().ok_or(TokenErrorKind::Malformed)?;
        let decode = |part: &str| {
            let decoded = URL_SAFE_NO_PAD.decode(part);
            decoded.map_err(|_| TokenErrorKind::Malformed)
        };
        Ok(Self {
            message: message.as_bytes(),
            header: decode(header)?,
            payload: decode(payload)?,
            signature: decode(signature)?,
        })
    }

    /// Returns the name of the issuer that the token claims.
    pub(super) fn issuer(&self) -> Result<Cow<'_, str>, TokenErrorKind> {
        Claims::read(&self.payload)?.issuer()
    }

    pub(super) fn signed_by<'v>(
        &'v self,
        keys: &'v KeySet,
        provider: CryptoProvider,
    ) -> Result<Signed<'v>, TokenErrorKind> {
        let header = Header::read(&self.header)?;
        let key = keys.verify(provider, &header, self.message, &self.signature)?;
        Ok(Signed {
            header,
            key,
            payload: &self.payload,
        })
    }
}

/// A token whose signature is good.
pub(super) struct Signed<'v> {
    header: Header<'v>,
    key: &'v Arc<Key>,
    payload: &'v [u8],
}

impl Signed<'_> {
    pub(super) fn verdict(&self, checks: &Checks<'_>) -> Result<Verdict, InvalidError> {
        let claims = Claims::read(self.payload)?;
        self.check(&claims, checks).map_err(|invalid| {
            let user = checks.identify.user_for_audit(&claims);
            invalid.of_user(user.map(|user| truncated(&user)))
        })
    }

    /// Returns the claims.
    #[cfg(feature = "open-scopes")]
    pub(super) fn claims(&self) -> Result<Claims<'_>, TokenErrorKind> {
        Claims::read(self.payload)
    }

    /// Checks `typ`.
    pub(super) fn check_type(&self, wanted: &str) -> Result<(), TokenError> {
        if self.header.is_of_type(wanted) {
            return Ok(());
        }
        let sent = self.header.token_type();
        Err(TokenError::from(TokenErrorKind::WrongType).comparing([wanted], sent.as_deref()))
    }

    fn check(&self, claims: &Claims<'_>, checks: &Checks<'_>) -> Result<Verdict, InvalidError> {
        if let Some(wanted) = checks.token_type {
            self.check_type(wanted)?;
        }
        if claims.is_sender_constrained() && !checks.accept_sender_constrained {
            return Err(TokenErrorKind::SenderConstrained.into());
        }
        let rules = checks.issuer;
        let expires_at = claims.check_times(unix_seconds(checks.now), checks.leeway)?;
        let audience = check_names(claims, rules, checks.required)?;
        if checks.revocable {
            claims.check_revocable()?;
        }
        let token = VerifiedToken::new(claims, audience, self.key.id(), Some(expires_at));
        let identity = checks.identify.identity(claims, &token, self.payload)?;
        Ok(Verdict {
            identity: match token.expires_at() {
                Some(end) => identity.no_longer_than(end),
                None => identity,
            },
            token,
            key: Arc::clone(self.key),
            issuer: Arc::clone(rules),
            size: self.payload.len(),
        })
    }
}

/// Checks the issuer, the audience and what else is required, and returns the accepted audience that the
/// token is for.
pub(super) fn check_names<'r>(
    claims: &Claims<'_>,
    rules: &'r IssuerRules,
    required: &[Requirement],
) -> Result<Option<&'r str>, TokenError> {
    if let Some(name) = &rules.name {
        let sent = claims.issuer()?;
        if *sent != **name {
            return Err(
                TokenError::from(TokenErrorKind::WrongIssuer).comparing([&**name], [&*sent])
            );
        }
    }
    let audience = if rules.audiences.is_empty() {
        None
    } else {
        let wrong = || TokenErrorKind::WrongAudience;
        Some(claims.one_of(&rules.audience_claim, &rules.audiences, wrong)?)
    };
    for requirement in required.iter().chain(&rules.required) {
        requirement.check(claims)?;
    }
    Ok(audience)
}

impl From<TokenErrorKind> for Refused {
    fn from(kind: TokenErrorKind) -> Self {
        match kind {
            TokenErrorKind::UnknownKey => Self::UnknownKey,
            kind => Self::Invalid(kind.into()),
        }
    }
}

impl From<InvalidError> for Refused {
    fn from(invalid: InvalidError) -> Self {
        Self::Invalid(invalid)
    }
}

impl From<Refused> for InvalidError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::UnknownKey => TokenErrorKind::UnknownKey.into(),
            Refused::Invalid(invalid) => invalid,
        }
    }
}

/// Seconds since 1970.
pub(crate) fn unix_seconds(now: SystemTime) -> u64 {
    // A clock before 1970 has every token not valid yet or not expired; `nbf` and `iat` aside,
    // none of them was issued then.
    now.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
