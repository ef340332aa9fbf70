//! How a document is had from a URL.

use std::{error::Error as StdError, future::Future, sync::Arc};

use bytes::Bytes;
use thiserror::Error;

use super::super::KeyError;

/// Fetches the documents that issuers publish.
///
/// An implementation follows no redirect to another host, verifies certificates, and reads no
/// more than it wants to hold; [`HttpsFetch`](super::HttpsFetch) does.
///
/// ```
/// use bytes::Bytes;
/// use tower_user_scope::jwt::{FetchDocument, FetchError};
///
/// /// Keys that a side-car writes to a file.
/// struct FromFile;
///
/// impl FetchDocument for FromFile {
///     async fn fetch(&self, _url: &str) -> Result<Bytes, FetchError> {
///         let keys = tokio::fs::read("/run/keys.json").await;
///         keys.map(Bytes::from).map_err(FetchError::transport)
///     }
/// }
/// ```
pub trait FetchDocument {
    /// The document at `url`.
    ///
    /// # Cancel safety
    /// The future is dropped after the [time limit](super::RemoteKeys::fetch_time_limit).
    fn fetch(&self, url: &str) -> impl Future<Output = Result<Bytes, FetchError>> + Send;
}

/// Why a key set could not be had.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The server could not be reached, or not be believed.
    #[error("the server could not be reached: {0}")]
    Transport(#[source] Arc<dyn StdError + Send + Sync>),
    /// The server answered with another status than 200.
    #[error("the server answered with status {0}")]
    Status(u16),
    /// The document is longer than is read.
    #[error("the document has more than {limit} bytes")]
    #[non_exhaustive]
    TooLong {
        /// How many bytes are read.
        limit: usize,
    },
    /// It took too long.
    #[error("it took too long")]
    TimedOut,
    /// The document is no key set, or one without a key that can be used.
    #[error("the document has no usable keys: {0}")]
    Keys(#[from] KeyError),
    /// The metadata is not that of the issuer, or names no key set at an `https` URL.
    #[error("the issuer's metadata is not its own, or names no key set")]
    Metadata,
    /// There is no Tokio runtime to fetch on.
    #[error("there is no Tokio runtime")]
    NoRuntime,
}

impl FetchError {
    /// The server could not be reached, for this reason.
    pub fn transport(error: impl StdError + Send + Sync + 'static) -> Self {
        Self::Transport(Arc::new(error))
    }
}
