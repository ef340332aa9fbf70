//! Why an issuer gave no answer about a token.

use std::{error::Error as StdError, sync::Arc};

use thiserror::Error;

use crate::jwt::FetchError;

/// Why an issuer gave no answer about a token: the [source](std::error::Error::source) of the
/// [`UnavailableError`](crate::UnavailableError) in the audit event. The response is 503.
///
/// It has neither the token nor the client's secret.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum IntrospectionError {
    /// The endpoint could not be asked, did not answer in time, or answered with another status than
    /// 200. It answers with 401 if it does not accept the client's secret.
    #[error("the introspection endpoint gave no answer: {0}")]
    Call(#[from] FetchError),
    /// The answer is not a JSON object with unique members and the member `active`, true or false.
    #[error("the answer of the introspection endpoint does not say whether the token is active")]
    Answer,
    /// The application could not make a client assertion.
    #[error("the client assertion could not be made: {0}")]
    Assertion(#[source] Arc<dyn StdError + Send + Sync>),
}
