//! Checks whether a token was revoked before it expires.

use std::{
    error::Error as StdError,
    fmt,
    future::{Future, ready},
    pin::Pin,
    sync::Arc,
};

use super::{TokenErrorKind, VerifiedToken, error::truncated, verify::Verdict};
use crate::strategy::{InvalidError, Outcome, UnavailableError};

/// The application's revocation checks.
#[derive(Clone)]
pub(super) enum Revocation {
    None,
    Sync(Arc<dyn Fn(&VerifiedToken) -> bool + Send + Sync>),
    Async(Arc<dyn Fn(VerifiedToken) -> RevokedFuture + Send + Sync>),
}

pub(super) type RevokedFuture =
    Pin<Box<dyn Future<Output = Result<bool, UnavailableError>> + Send>>;

impl Revocation {
    pub(super) fn from_async<F, Fut, E>(is_revoked: F) -> Self
    where
        F: Fn(VerifiedToken) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<bool, E>> + Send + 'static,
        E: StdError + Send + Sync + 'static,
    {
        Self::Async(Arc::new(move |token| {
            let answer = is_revoked(token);
            Box::pin(async move { answer.await.map_err(UnavailableError::new) })
        }))
    }

    /// Combines two checks: a token is revoked if either says so.
    pub(super) fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::None, one) | (one, Self::None) => one,
            (Self::Sync(one), Self::Sync(other)) => {
                Self::Sync(Arc::new(move |token| one(token) || other(token)))
            }
            (Self::Sync(sync), Self::Async(other)) | (Self::Async(other), Self::Sync(sync)) => {
                Self::Async(Arc::new(move |token| {
                    if sync(&token) {
                        Box::pin(ready(Ok(true)))
                    } else {
                        other(token)
                    }
                }))
            }
            (Self::Async(one), Self::Async(other)) => Self::Async(Arc::new(move |token| {
                let (one, other) = (one(token.clone()), Arc::clone(&other));
                Box::pin(async move { Ok(one.await? || other(token).await?) })
            })),
        }
    }
}

/// Returns the outcome for a verified token.
pub(super) fn outcome_of(verdict: &Verdict, is_revoked: bool) -> Outcome {
    if is_revoked {
        let user = verdict.token.subject().map(truncated);
        return Outcome::Invalid(InvalidError::from(TokenErrorKind::Revoked).of_user(user));
    }
    verdict.identity.clone().into()
}

impl fmt::Debug for Revocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Sync(_) => "Sync(..)",
            Self::Async(_) => "Async(..)",
        })
    }
}
