//! Why a request was refused, in one word.

use super::kind::{FactoryErrorKind, Rejection, RejectionKind};
use crate::outcome::{UnavailableError, UnavailableErrorKind};

impl Rejection {
    /// Returns why the request was refused, in one lower-case word that stays the same, for labels of
    /// metrics and fields of logs. It is for operators: a client could learn from it what to try next.
    ///
    /// An invalid credential has the word of its
    /// [`InvalidErrorKind`](crate::strategy::InvalidErrorKind), and a principal that may not
    /// make the request that of its [`ForbiddenError`](crate::authorize::ForbiddenError). The guide on
    /// [operating](crate::guide::operating#reasons) has a table of all words.
    ///
    /// ```
    /// use tower_user_scope::Rejection;
    ///
    /// fn is_attack(rejection: &Rejection) -> bool {
    ///     matches!(rejection.reason(), "not_accepted" | "token_signature")
    /// }
    /// # let _ = is_attack;
    /// ```
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self.kind() {
            RejectionKind::NoCredential => "no_credential",
            RejectionKind::NotAccepted { .. } => "not_accepted",
            RejectionKind::Invalid { invalid, .. } => invalid.kind().as_str(),
            RejectionKind::Conflict { .. } => "conflict",
            RejectionKind::Unavailable { unavailable, .. } => match unavailable.kind() {
                UnavailableErrorKind::Source => "unavailable",
                UnavailableErrorKind::TimedOut { .. } => "timed_out",
            },
            RejectionKind::Correlation(_) => "correlation_id",
            RejectionKind::Tenant(_) => "tenant",
            RejectionKind::Evidence(_) => "not_proved",
            RejectionKind::Forbidden { forbidden, .. } => forbidden.reason(),
            RejectionKind::AuthorizationUnavailable(unavailable) => match unavailable.kind() {
                UnavailableErrorKind::Source => "authorization_unavailable",
                UnavailableErrorKind::TimedOut { .. } => "authorization_timed_out",
            },
            RejectionKind::NotAudited(_) => "not_audited",
            RejectionKind::OutsideLayer => "outside_layer",
            RejectionKind::BeforeResponse(error) if error.is::<UnavailableError>() => {
                "before_response_unavailable"
            }
            RejectionKind::BeforeResponse(_) => "before_response_failed",
            RejectionKind::BeforeResponseTimedOut { .. } => "before_response_timed_out",
            #[cfg(feature = "tokio")]
            RejectionKind::IdentityEnded(reason) => reason.as_str(),
            #[cfg(feature = "tokio")]
            RejectionKind::OtherSubject => "other_subject",
            #[cfg(feature = "open-scopes")]
            RejectionKind::RevocationsUnknown => "revocations_unknown",
            #[cfg(feature = "limit")]
            RejectionKind::Limited(_) => "limited",
            #[cfg(feature = "limit")]
            RejectionKind::LimitUnavailable { .. } => "limit_unavailable",
            RejectionKind::Factory(FactoryErrorKind::Failed(_)) => "factory_failed",
            RejectionKind::Factory(FactoryErrorKind::Unavailable(_)) => "factory_unavailable",
            RejectionKind::Factory(FactoryErrorKind::TimedOut { .. }) => "factory_timed_out",
        }
    }
}
