//! The classification of token errors. Messages never contain a value of the token.

use std::borrow::Cow;

use thiserror::Error;

use crate::context::IdError;

/// Why a token was refused, without the values that were compared, which
/// [`TokenError`](super::TokenError) has.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TokenErrorKind {
    /// It is longer than the limit.
    #[error("the token has more than {limit} bytes")]
    #[non_exhaustive]
    TooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// It is not three parts of strict base64url (RFC 7515 section 7.1), or the header is no
    /// JSON object with unique members.
    #[error("the token is not a signed JWT in compact form")]
    Malformed,
    /// The header has `crit`, or `b64`: nothing that may be critical is understood (RFC 7515
    /// section 4.1.11, RFC 7797).
    #[error("the token has a critical header parameter")]
    CriticalHeader,
    /// The header's `alg` is not supported, such as `none`.
    #[error("the token's algorithm is not supported")]
    UnsupportedAlgorithm,
    /// The key is not for the header's `alg`.
    #[error("the token's key is not for its algorithm")]
    WrongAlgorithm,
    /// The header's `typ` is not the one that was asked for (RFC 8725 section 3.11).
    #[error("the token is of another type")]
    WrongType,
    /// There is no key for the header's `kid` and `alg`.
    #[error("no key is known for the token")]
    UnknownKey,
    /// The header has no `kid` and more than one key could be meant.
    #[error("more than one key could be meant by the token")]
    AmbiguousKey,
    /// The signature is not the key's over this token.
    #[error("the token's signature is wrong")]
    Signature,
    /// The payload is not a JSON object in UTF-8 (RFC 7519 section 7.2) with unique members.
    #[error("the token's claims are malformed")]
    Claims,
    /// A claim that has to be there is not, or is `null`.
    #[error("the token has no claim `{0}`")]
    MissingClaim(Cow<'static, str>),
    /// A claim that is read has another type than it needs: `iss`, and what names a user, tenant,
    /// thread or run, are strings; `aud` is a string or an array of strings.
    #[error("the token's claim `{0}` is not of the type that it needs")]
    ClaimType(Cow<'static, str>),
    /// A time is not a number, or not one of seconds between the years 1970 and 9999 (RFC 7519
    /// section 2); milliseconds are beyond that.
    #[error("the token's claim `{0}` is not a number of seconds between the years 1970 and 9999")]
    NumericDate(&'static str),
    /// The claim for the user's id is a number: whether `7`, `7.0` and `"7"` are one user is for
    /// the application to decide, by [`identity`](super::Jwt::identity).
    #[error("the token's claim `{0}` is a number: convert it to a user id with `Jwt::identity`")]
    NumericId(Cow<'static, str>),
    /// `exp` has passed.
    #[error("the token has expired")]
    Expired,
    /// `nbf` has not come.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// `iss` is not an accepted issuer.
    #[error("the token is from another issuer")]
    WrongIssuer,
    /// `aud` has no accepted audience.
    #[error("the token is for another audience")]
    WrongAudience,
    /// A claim has none of the [required](super::Jwt::require_claim) values.
    #[error("the token's claim `{0}` has none of the required values")]
    WrongClaim(Cow<'static, str>),
    /// The claim for an id has an invalid one.
    #[error("the token has an invalid id: {0}")]
    Id(#[source] IdError),
    /// The claims are not the application's type.
    #[error("the token's claims are not of the application's type")]
    ApplicationClaims,
    /// It is bound to a key (`cnf`, RFC 7800), and nothing checks that the sender has the key.
    #[error("the token is bound to a key, and nothing shows that its sender has it")]
    SenderConstrained,
    /// The introspection endpoint says that it is not active (RFC 7662 section 2.2): it has expired,
    /// was revoked, or was never issued.
    #[error("the issuer says that the token is not active")]
    Inactive,
    /// A revocation check refused it.
    #[error("the token was revoked")]
    Revoked,
    /// It has a claim that tokens of its kind must not have, such as `nonce` in a log-out token.
    #[error("the token has the claim `{0}`, which its kind must not have")]
    ForbiddenClaim(&'static str),
    /// Its `events` are about something else than what is verified here.
    #[error("the token is about another event")]
    OtherEvent,
    /// A token that may be used once was used before.
    #[error("the token was used before")]
    Replayed,
}

impl TokenErrorKind {
    /// One lower-case word that stays the same, for metrics and for the audit event.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "token_too_long",
            Self::Malformed => "token_malformed",
            Self::CriticalHeader => "token_critical_header",
            Self::UnsupportedAlgorithm => "token_unsupported_algorithm",
            Self::WrongAlgorithm => "token_wrong_algorithm",
            Self::WrongType => "token_wrong_type",
            Self::UnknownKey => "token_unknown_key",
            Self::AmbiguousKey => "token_ambiguous_key",
            Self::Signature => "token_signature",
            Self::Claims => "token_claims",
            Self::MissingClaim(_) => "token_missing_claim",
            Self::ClaimType(_) => "token_claim_type",
            Self::NumericDate(_) => "token_numeric_date",
            Self::NumericId(_) => "token_numeric_id",
            Self::Expired => "token_expired",
            Self::NotYetValid => "token_not_yet_valid",
            Self::WrongIssuer => "token_wrong_issuer",
            Self::WrongAudience => "token_wrong_audience",
            Self::WrongClaim(_) => "token_wrong_claim",
            Self::Id(_) => "token_id",
            Self::ApplicationClaims => "token_application_claims",
            Self::SenderConstrained => "token_sender_constrained",
            Self::Inactive => "token_inactive",
            Self::Revoked => "token_revoked",
            Self::ForbiddenClaim(_) => "token_forbidden_claim",
            Self::OtherEvent => "token_other_event",
            Self::Replayed => "token_replayed",
        }
    }
}
