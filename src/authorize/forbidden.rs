//! Why a principal may not make a request, and what of that the client is told.

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderValue, StatusCode};
use thiserror::Error;

/// The principal may not make this request; the reason is for the audit event only.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct ForbiddenError(Reason);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Reason {
    Stated(&'static str),
    Missing(Arc<Missing>),
}

/// What the principal would need, as [`Require`](super::Require) found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Missing {
    /// Scopes, all of them (RFC 6750 section 3.1, `insufficient_scope`). The response names them.
    #[non_exhaustive]
    Scopes {
        /// All that are required, also those that the principal has.
        required: Vec<String>,
    },
    /// One of these roles. The response does not name them.
    #[non_exhaustive]
    Role {
        /// The roles of which one is required.
        any_of: Vec<String>,
    },
    /// A log-in that is stronger or newer (RFC 9470, `insufficient_user_authentication`). The response
    /// names both.
    #[non_exhaustive]
    Authentication {
        /// The authentication context classes of which one is required; none if any will do.
        acr_values: Vec<String>,
        /// How long ago the log-in may be.
        max_age: Option<Duration>,
    },
}

impl ForbiddenError {
    /// Creates an error with a reason, such as `thread_of_somebody_else`.
    #[must_use]
    pub const fn new(reason: &'static str) -> Self {
        Self(Reason::Stated(reason))
    }

    /// Returns the reason, in one lower-case word that stays the same.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match &self.0 {
            Reason::Stated(reason) => reason,
            Reason::Missing(missing) => match **missing {
                Missing::Scopes { .. } => "insufficient_scope",
                Missing::Role { .. } => "missing_role",
                Missing::Authentication { .. } => "insufficient_user_authentication",
            },
        }
    }

    /// Returns what is missing, if [`Require`](super::Require) refused.
    #[must_use]
    pub fn missing(&self) -> Option<&Missing> {
        match &self.0 {
            Reason::Stated(_) => None,
            Reason::Missing(missing) => Some(missing),
        }
    }

    /// Returns the status for a principal that was authenticated: 401 if logging in again would help
    /// (RFC 9470 section 3), else 403.
    pub(crate) fn status(&self) -> StatusCode {
        match self.missing() {
            Some(Missing::Authentication { .. }) => StatusCode::UNAUTHORIZED,
            _ => StatusCode::FORBIDDEN,
        }
    }

    /// Returns the challenge that names what is missing (RFC 6750 section 3, RFC 9470 section 3).
    pub(crate) fn challenge(&self) -> Option<HeaderValue> {
        let challenge = match self.missing()? {
            Missing::Scopes { required: values }
            | Missing::Authentication {
                acr_values: values, ..
            } if !values.iter().all(|value| is_scope_token(value)) => return None,
            Missing::Scopes { required } => {
                let scopes = required.join(" ");
                format!("Bearer error=\"insufficient_scope\", scope=\"{scopes}\"")
            }
            Missing::Role { .. } => return None,
            Missing::Authentication {
                acr_values,
                max_age,
            } => {
                let mut challenge = "Bearer error=\"insufficient_user_authentication\"".to_owned();
                if !acr_values.is_empty() {
                    let values = acr_values.join(" ");
                    challenge.extend([", acr_values=\"", &values, "\""]);
                }
                if let Some(age) = max_age {
                    challenge.extend([", max_age=\"", &age.as_secs().to_string(), "\""]);
                }
                challenge
            }
        };
        HeaderValue::try_from(challenge).ok()
    }
}

/// Whether a text can stand in a challenge's list (RFC 6749 section 3.3).
fn is_scope_token(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
    !text.is_empty() && text.bytes().all(is_allowed)
}

impl From<Missing> for ForbiddenError {
    fn from(missing: Missing) -> Self {
        Self(Reason::Missing(Arc::new(missing)))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stated(reason) => f.write_str(reason),
            Self::Missing(missing) => missing.fmt(f),
        }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scopes { required } => {
                write!(f, "a scope of `{}` is missing", required.join(" "))
            }
            Self::Role { any_of } => {
                write!(f, "one of the roles `{}` is missing", any_of.join(" "))
            }
            Self::Authentication {
                acr_values,
                max_age,
            } => {
                f.write_str("the log-in is not sufficient")?;
                if !acr_values.is_empty() {
                    write!(f, ": one of `{}` is required", acr_values.join(" "))?;
                }
                match max_age {
                    Some(age) => write!(f, ": not longer ago than {} s", age.as_secs()),
                    None => Ok(()),
                }
            }
        }
    }
}
