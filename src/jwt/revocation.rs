//! Tokens that end before they expire.

use std::{
    error::Error as StdError,
    fmt,
    future::{Future, ready},
    pin::Pin,
    sync::Arc,
};

use super::{TokenErrorKind, VerifiedToken, error::cut, verify::Verdict};
use crate::strategy::{InvalidError, Outcome, UnavailableError};

/// Who is asked about each token that is otherwise good.
#[derive(Clone)]
pub(super) enum Revocation {
    Nobody,
    Now(Arc<dyn Fn(&VerifiedToken) -> bool + Send + Sync>),
    Later(Arc<dyn Fn(VerifiedToken) -> Answer + Send + Sync>),
}

pub(super) type Answer = Pin<Box<dyn Future<Output = Result<bool, UnavailableError>> + Send>>;

impl Revocation {
    pub(super) fn later<F, Fut, E>(is_revoked: F) -> Self
    where
        F: Fn(VerifiedToken) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<bool, E>> + Send + 'static,
        E: StdError + Send + Sync + 'static,
    {
        Self::Later(Arc::new(move |token| {
            let answer = is_revoked(token);
            Box::pin(async move { answer.await.map_err(UnavailableError::new) })
        }))
    }

    /// Asks both; one is enough.
    pub(super) fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nobody, one) | (one, Self::Nobody) => one,
            (Self::Now(one), Self::Now(other)) => {
                Self::Now(Arc::new(move |token| one(token) || other(token)))
            }
            (Self::Now(now), Self::Later(later)) | (Self::Later(later), Self::Now(now)) => {
                Self::Later(Arc::new(move |token| {
                    if now(&token) {
                        Box::pin(ready(Ok(true)))
                    } else {
                        later(token)
                    }
                }))
            }
            (Self::Later(one), Self::Later(other)) => Self::Later(Arc::new(move |token| {
                let (one, other) = (one(token.clone()), Arc::clone(&other));
                Box::pin(async move { Ok(one.await? || other(token).await?) })
            })),
        }
    }
}

/// What is said of a token whose verdict is good.
pub(super) fn admitted(verdict: &Verdict, is_revoked: bool) -> Outcome {
    if is_revoked {
        let user = verdict.token.subject().map(cut);
        return Outcome::Invalid(InvalidError::from(TokenErrorKind::Revoked).of_user(user));
    }
    verdict.identity.clone().into()
}

impl fmt::Debug for Revocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nobody => "Nobody",
            Self::Now(_) => "Now(..)",
            Self::Later(_) => "Later(..)",
        })
    }
}
