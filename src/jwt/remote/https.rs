//! The one real implementation of [`FetchDocument`].

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use reqwest::{Client, redirect::Policy};

use super::{
    super::TokenConfigError,
    fetch::{FetchDocument, FetchError},
};

/// Fetches over HTTPS with `reqwest`: HTTP proxies from the environment, certificates as the
/// platform verifies them, no redirects, documents of at most [`HttpsFetch::MAX_LEN`].
#[derive(Clone, Debug)]
pub struct HttpsFetch {
    client: Client,
}

impl HttpsFetch {
    /// The longest document that is read, in bytes.
    pub const MAX_LEN: usize = 1 << 20;

    /// A client of its own.
    ///
    /// # Errors
    /// [`TokenConfigError::Client`] where the platform's certificates can't be had.
    pub fn new() -> Result<Self, TokenConfigError> {
        Client::builder()
            .redirect(Policy::none())
            .connect_timeout(Duration::from_secs(5))
            .user_agent(concat!("tower-user-scope/", env!("CARGO_PKG_VERSION")))
            .build()
            .map(Self::with_client)
            .map_err(|error| TokenConfigError::Client(error.to_string()))
    }

    /// A client of the application's, with its proxies, roots and redirects.
    #[must_use]
    pub fn with_client(client: Client) -> Self {
        Self { client }
    }
}

impl FetchDocument for HttpsFetch {
    async fn fetch(&self, url: &str) -> Result<Bytes, FetchError> {
        let request = self.client.get(url).header(
            http::header::ACCEPT,
            "application/jwk-set+json, application/json",
        );
        let mut response = request.send().await.map_err(FetchError::transport)?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(response.status().as_u16()));
        }
        let mut document = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(FetchError::transport)? {
            if document.len() + chunk.len() > Self::MAX_LEN {
                let limit = Self::MAX_LEN;
                return Err(FetchError::TooLong { limit });
            }
            document.extend_from_slice(&chunk);
        }
        Ok(document.freeze())
    }
}
