//! axum: extractors for handlers.

use std::convert::Infallible;

use axum_core::{
    extract::{FromRequestParts, OptionalFromRequestParts},
    response::{IntoResponse, Response},
};
use http::{StatusCode, request::Parts};
use thiserror::Error;

use crate::{
    accessors::{MissingScopeError, UserScopeExt},
    context::{UserContext, UserId, UserRequiredError},
    factory::{FactoryError, Scoped},
    rejection::FactoryErrorKind,
};

/// Why an extractor of this crate has nothing to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ExtractError {
    /// The route is outside the layer: a mistake in the application, told in the log. 500.
    #[error(transparent)]
    MissingScope(#[from] MissingScopeError),
    /// A user is wanted: 401 where nobody acts, 403 where a service does.
    #[error(transparent)]
    UserRequired(#[from] UserRequiredError),
}

impl IntoResponse for ExtractError {
    fn into_response(self) -> Response {
        match self {
            Self::MissingScope(missing) => {
                tracing::error!(target: "tower_user_scope::audit", "{missing}");
                // Types of the application, and that a route has no layer, are nobody's business.
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
            Self::UserRequired(required) if required.is_anonymous() => {
                let challenge = [(http::header::WWW_AUTHENTICATE, "UserScope")];
                (StatusCode::UNAUTHORIZED, challenge).into_response()
            }
            Self::UserRequired(_) => StatusCode::FORBIDDEN.into_response(),
        }
    }
}

impl<S, F> FromRequestParts<S> for Scoped<F>
where
    S: Send + Sync,
    F: Send + Sync + 'static,
{
    type Rejection = ExtractError;

    async fn from_request_parts(head: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(head.scoped::<F>()?.clone())
    }
}

impl<S, F> OptionalFromRequestParts<S> for Scoped<F>
where
    S: Send + Sync,
    F: Send + Sync + 'static,
{
    type Rejection = Infallible;

    async fn from_request_parts(head: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(head.scoped::<F>().ok().cloned())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for UserContext {
    type Rejection = ExtractError;

    async fn from_request_parts(head: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(head.user_context()?.clone())
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for UserContext {
    type Rejection = Infallible;

    async fn from_request_parts(head: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(head.user_context().ok().cloned())
    }
}

/// The user's id; a service or nobody is refused, because there is no default user.
impl<S: Send + Sync> FromRequestParts<S> for UserId {
    type Rejection = ExtractError;

    async fn from_request_parts(head: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(head.user_context()?.require_user()?.clone())
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for UserId {
    type Rejection = ExtractError;

    async fn from_request_parts(head: &mut Parts, _: &S) -> Result<Option<Self>, Self::Rejection> {
        Ok(head.user_context()?.user_id().cloned())
    }
}

/// 503 where something could not be reached in time, else 500; the reason is in the log.
impl IntoResponse for FactoryError {
    fn into_response(self) -> Response {
        match self.kind() {
            FactoryErrorKind::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
            FactoryErrorKind::Unavailable(_) | FactoryErrorKind::TimedOut { .. } => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
        .into_response()
    }
}
