//! The trait that fetches documents, and its errors.

use std::{error::Error as StdError, future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use thiserror::Error;

use super::{
    super::{KeyError, UrlProblem},
    period::Freshness,
};

/// Fetches the documents that issuers publish.
///
/// An implementation follows no redirect to another host, verifies certificates, and reads no
/// more than it wants to hold; [`HttpsFetch`](super::HttpsFetch) does. Of what it returns,
/// documents of more than [`HttpsFetch::MAX_LEN`](super::HttpsFetch::MAX_LEN) are refused.
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
    /// Returns the document at `url`.
    ///
    /// # Errors
    /// [`FetchError`] where it could not be had. A panic counts as an error.
    ///
    /// # Cancel safety
    /// The future is dropped after the [time limit](super::RemoteKeys::fetch_time_limit).
    fn fetch(&self, url: &str) -> impl Future<Output = Result<Bytes, FetchError>> + Send;

    /// Returns the document at `url`, unless it is still the one with this `ETag` (RFC 9110
    /// section 13.1.2), with what its server says of how long it is good.
    ///
    /// By default it is [fetched](Self::fetch) each time, and nothing is known of it.
    ///
    /// # Errors
    /// As [`fetch`](Self::fetch).
    fn fetch_if_changed(
        &self,
        url: &str,
        etag: Option<&str>,
    ) -> impl Future<Output = Result<Fetched, FetchError>> + Send
    where
        Self: Sync,
    {
        let _ = etag;
        async move { self.fetch(url).await.map(Fetched::new) }
    }
}

/// A document, or the news that it has not changed, with what is known of it.
#[derive(Clone, Debug)]
pub struct Fetched {
    body: Option<Bytes>,
    etag: Option<String>,
    freshness: Freshness,
}

impl Fetched {
    /// The longest `ETag` that is remembered, in bytes.
    const LONGEST_ETAG: usize = 1_024;

    /// A document.
    #[must_use]
    pub fn new(body: Bytes) -> Self {
        Self {
            body: Some(body),
            etag: None,
            freshness: Freshness::default(),
        }
    }

    /// The document is still the one whose `ETag` was asked about (304).
    #[must_use]
    pub fn not_modified() -> Self {
        Self {
            body: None,
            etag: None,
            freshness: Freshness::default(),
        }
    }

    /// The document's `ETag`, to be asked about the next time. One of more than 1,024 bytes is
    /// not remembered.
    #[must_use]
    pub fn with_etag(mut self, etag: impl Into<String>) -> Self {
        self.etag = Some(etag.into()).filter(|etag| etag.len() <= Self::LONGEST_ETAG);
        self
    }

    /// For how long its server says that it is good (`Cache-Control: max-age`); see
    /// [`RemoteKeys::refresh_every`](super::RemoteKeys::refresh_every).
    #[must_use]
    pub fn with_max_age(mut self, max_age: Duration) -> Self {
        self.freshness = Freshness::of(max_age);
        self
    }

    pub(super) fn set_freshness(&mut self, freshness: Freshness) {
        self.freshness = freshness;
    }

    pub(super) fn freshness(&self) -> Freshness {
        self.freshness
    }

    pub(super) fn into_parts(self) -> (Option<Bytes>, Option<String>) {
        (self.body, self.etag)
    }
}

/// Why a key set could not be had.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The server could not be reached, or not be believed.
    #[error("the server could not be reached: {0}")]
    Transport(#[source] Arc<dyn StdError + Send + Sync>),
    /// The server answered with another status than 200, or with 304 where nothing was known.
    #[error("the server answered with status {0}")]
    Status(u16),
    /// A redirect led to another host, or away from `https`.
    #[error("the server redirected to another host or away from https")]
    Redirected,
    /// The document is longer than is read.
    #[error("the document has more than {limit} bytes")]
    #[non_exhaustive]
    TooLong {
        /// How many bytes are read.
        limit: usize,
    },
    /// The document comes in more pieces than are put together: chunks of a few bytes each.
    #[error("the document comes in more than {limit} pieces")]
    #[non_exhaustive]
    TooManyPieces {
        /// How many pieces are put together.
        limit: usize,
    },
    /// It took too long.
    #[error("it took too long")]
    TimedOut,
    /// The document is no key set, or one without a key that can be used.
    #[error("the document has no usable keys: {0}")]
    Keys(#[from] KeyError),
    /// The issuer's metadata could not be had, for this reason.
    #[error("the issuer's metadata could not be fetched: {0}")]
    MetadataFetch(#[source] Arc<FetchError>),
    /// The metadata is not a JSON object with `issuer` and `jwks_uri`.
    #[error("the issuer's metadata is not an object that names an issuer and its keys")]
    Metadata,
    /// The metadata is another issuer's (OpenID Connect Discovery 1.0 section 4.3). Names are
    /// compared exactly: one slash more is another name.
    #[error("the metadata is that of the issuer `{found}`, not of `{wanted}`")]
    #[non_exhaustive]
    OtherIssuer {
        /// The issuer that was asked for, without its query.
        wanted: String,
        /// The issuer that the metadata names, without its query.
        found: String,
    },
    /// A URL that is not fetched, such as the `jwks_uri` of the metadata.
    #[error("the key set's URL `{url}` is not fetched: {problem}")]
    #[non_exhaustive]
    Url {
        /// The URL, without user name, password and query.
        url: String,
        /// What is wrong with it.
        problem: UrlProblem,
    },
    /// The client for loopback addresses could not be made.
    #[error("there is no client for loopback addresses")]
    NoLoopbackClient,
    /// The implementation of [`FetchDocument`] panicked.
    #[error("the fetch panicked")]
    Panicked,
    /// The task that fetched was dropped with its runtime.
    #[error("the runtime that fetched was shut down")]
    Interrupted,
    /// There is no Tokio runtime to fetch on.
    #[error("there is no Tokio runtime")]
    NoRuntime,
    /// The Tokio runtime has no timers (`enable_time`).
    #[error("the Tokio runtime has no timers")]
    NoTimers,
}

impl FetchError {
    /// The server could not be reached, for this reason.
    pub fn transport(error: impl StdError + Send + Sync + 'static) -> Self {
        Self::Transport(Arc::new(error))
    }

    pub(super) fn in_metadata(self) -> Self {
        Self::MetadataFetch(Arc::new(self))
    }

    /// Whether it says something of this process, and nothing of the issuer: the issuer is not
    /// down then, and keys are not kept for its sake.
    pub(super) fn is_local(&self) -> bool {
        matches!(self, Self::Interrupted | Self::NoRuntime | Self::NoTimers)
    }
}
