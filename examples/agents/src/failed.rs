//! Why a handler has no answer. The response has a status and nothing else; the log has the reason.

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};

#[derive(Debug)]
pub(crate) enum Failed {
    /// It is not there, or another user's: the client can't tell which.
    NotFound,
    BadRequest,
    /// Every place in the queue is taken.
    Busy,
    /// Only the query would hold one user's rows apart from another's.
    NoRowLevelSecurity,
    Unavailable,
    Database(sqlx::Error),
}

impl From<sqlx::Error> for Failed {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let status = match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::NoRowLevelSecurity => StatusCode::NOT_IMPLEMENTED,
            Self::Busy | Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Database(error) => {
                tracing::error!(%error, "the database did not answer");
                StatusCode::SERVICE_UNAVAILABLE
            }
        };
        status.into_response()
    }
}
