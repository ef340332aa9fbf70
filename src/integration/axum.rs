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

/// The rejection of this crate's extractors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ExtractError {
    /// The route is not inside the layer: a mistake in the application, which is logged. 500.
    #[error(transparent)]
    MissingScope(#[from] MissingScopeError),
    /// The handler requires a user. 401 if the principal is anonymous or a visitor, 403 if
    /// it is a service.
    #[error(transparent)]
    UserRequired(#[from] UserRequiredError),
}

impl IntoResponse for ExtractError {
    fn into_response(self) -> Response {
        match self {
            Self::MissingScope(missing) => {
                tracing::error!(target: "tower_user_scope::audit", "{missing}");
                // The message names types of the application, which clients must not see.
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

/// Extracts the user's id, and refuses other principals: there is no default user.
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

/// 503 if something could not be reached in time, else 500. The reason is logged.
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
