//! The trait that fetches documents, and its errors.

use std::{error::Error as StdError, future::Future, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use thiserror::Error;

use super::{
    super::{KeyError, UrlProblem},
    period::Freshness,
};

/// Fetches the documents that issuers publish.
///
/// An implementation must not follow redirects to another host, must verify certificates, and must
/// limit what it reads, as [`HttpsFetch`](super::HttpsFetch) does. A document of more than
/// [`HttpsFetch::MAX_LEN`](super::HttpsFetch::MAX_LEN) bytes is refused.
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
    /// [`FetchError`] if it could not be fetched. A panic counts as an error.
    ///
    /// # Cancel safety
    /// The future is dropped after the [time limit](super::RemoteKeys::fetch_time_limit).
    fn fetch(&self, url: &str) -> impl Future<Output = Result<Bytes, FetchError>> + Send;

    /// Returns the document at `url`, unless it is still the one with this `ETag` (RFC 9110
    /// section 13.1.2).
    ///
    /// The default implementation [fetches](Self::fetch) it each time, without `ETag` and `max-age`.
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

/// A fetched document, or that it has not changed, with its `ETag` and `max-age`.
#[derive(Clone, Debug)]
pub struct Fetched {
    body: Option<Bytes>,
    etag: Option<String>,
    freshness: Freshness,
}

impl Fetched {
    /// The longest `ETag` that is remembered, in bytes.
    const LONGEST_ETAG: usize = 1_024;

    /// Creates the result for a document.
    #[must_use]
    pub fn new(body: Bytes) -> Self {
        Self {
            body: Some(body),
            etag: None,
            freshness: Freshness::default(),
        }
    }

    /// Creates the result for a document that has not changed (304).
    #[must_use]
    pub fn not_modified() -> Self {
        Self {
            body: None,
            etag: None,
            freshness: Freshness::default(),
        }
    }

    /// Sets the document's `ETag`, for the next conditional request. One of more than 1,024 bytes is
    /// ignored.
    #[must_use]
    pub fn with_etag(mut self, etag: impl Into<String>) -> Self {
        self.etag = Some(etag.into()).filter(|etag| etag.len() <= Self::LONGEST_ETAG);
        self
    }

    /// Sets for how long the document is fresh (`Cache-Control: max-age`); see
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

/// Why a document could not be fetched, or an endpoint could not be asked.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The server could not be reached, or its certificate is not valid.
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
    /// The fetch did not end within its time limit.
    #[error("the fetch did not end within its time limit")]
    TimedOut,
    /// The document is not a key set, or has no usable key.
    #[error("the document has no usable keys: {0}")]
    Keys(#[from] KeyError),
    /// The issuer's metadata could not be fetched.
    #[error("the issuer's metadata could not be fetched: {0}")]
    MetadataFetch(#[source] Arc<FetchError>),
    /// The metadata is not a JSON object with `issuer`.
    #[error("the issuer's metadata is not an object that names an issuer")]
    Metadata,
    /// The metadata does not name what is looked for: the issuer does not publish keys, or has no
    /// introspection endpoint.
    #[error("the issuer's metadata has no `{member}`")]
    #[non_exhaustive]
    NotInMetadata {
        /// The missing member, or one that is not a string.
        member: &'static str,
    },
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
    /// A URL that is not fetched, such as one that the metadata names.
    #[error("the URL `{url}` is not fetched: {problem}")]
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
    /// Creates an error for a server that could not be reached.
    pub fn transport(error: impl StdError + Send + Sync + 'static) -> Self {
        Self::Transport(Arc::new(error))
    }

    pub(super) fn in_metadata(self) -> Self {
        Self::MetadataFetch(Arc::new(self))
    }

    /// Whether the cause is this process and not the issuer, so that old keys are not kept.
    pub(super) fn is_local(&self) -> bool {
        matches!(self, Self::Interrupted | Self::NoRuntime | Self::NoTimers)
    }
}

/// A [`FetchDocument`] without its type.
pub(super) type Fetch = dyn Fn(String, Option<String>) -> Pin<Box<dyn Future<Output = Result<Fetched, FetchError>> + Send>>
    + Send
    + Sync;

pub(super) fn boxed(fetch: impl FetchDocument + Send + Sync + 'static) -> Arc<Fetch> {
    let fetch = Arc::new(fetch);
    Arc::new(move |url, etag| {
        let fetch = Arc::clone(&fetch);
        Box::pin(async move { fetch.fetch_if_changed(&url, etag.as_deref()).await })
    })
}
