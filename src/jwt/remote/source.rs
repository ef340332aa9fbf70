//! An address, and how documents are fetched from it.

use std::sync::{Arc, OnceLock};

use super::{
    super::TokenConfigError,
    address::{Address, Answer, Validators},
    fetch::{Fetch, FetchDocument, FetchError, boxed},
    https::HttpsFetch,
};

#[derive(Clone)]
pub(crate) struct Source {
    pub(super) address: Address,
    /// Configured, or created at first use.
    fetch: OnceLock<Arc<Fetch>>,
}

impl Source {
    /// Keys at this URL.
    pub(super) fn keys_at(url: String) -> Self {
        Self::at(Address::of_keys(url))
    }

    /// Metadata of OpenID Connect Discovery 1.0, under this URL.
    pub(crate) fn open_id(url: String, issuer: String) -> Self {
        Self::at(Address::of_open_id(url, issuer))
    }

    /// Metadata of RFC 8414.
    pub(crate) fn oauth(issuer: String) -> Self {
        Self::at(Address::of_oauth(issuer))
    }

    fn at(address: Address) -> Self {
        Self {
            address,
            fetch: OnceLock::new(),
        }
    }

    pub(crate) fn allow_http(&mut self) {
        self.address.allow_http();
    }

    pub(crate) fn fetch_with(&mut self, fetch: impl FetchDocument + Send + Sync + 'static) {
        self.fetch = OnceLock::from(boxed(fetch));
    }

    pub(crate) fn validate(&self) -> Result<(), TokenConfigError> {
        self.address.validate()?;
        self.fetch().map(|_| ())
    }

    /// Returns the issuer whose metadata is fetched.
    pub(crate) fn issuer(&self) -> Option<&str> {
        self.address.issuer()
    }

    /// Fetches the keys, and describes those that can't be used in `skipped`.
    pub(super) async fn keys(
        &self,
        validators: Validators,
        skipped: &mut Option<String>,
    ) -> Result<Answer, FetchError> {
        self.address
            .keys(self.fetcher()?, validators, skipped)
            .await
    }

    /// Fetches the metadata, and returns the URL of the introspection endpoint that it names.
    #[cfg(feature = "introspection")]
    pub(crate) async fn introspection_endpoint(&self) -> Result<reqwest::Url, FetchError> {
        self.address.introspection_endpoint(self.fetcher()?).await
    }

    /// As [`fetch`](Self::fetch), after `build()` has reported a client that can't be created.
    fn fetcher(&self) -> Result<&Fetch, FetchError> {
        let fetch = self.fetch().map_err(FetchError::transport)?;
        Ok(&**fetch)
    }

    fn fetch(&self) -> Result<&Arc<Fetch>, TokenConfigError> {
        if let Some(fetch) = self.fetch.get() {
            return Ok(fetch);
        }
        let mut fetch = HttpsFetch::new()?;
        if self.address.allows_http() {
            fetch = fetch.dangerously_allow_http();
        }
        let made = boxed(fetch);
        Ok(self.fetch.get_or_init(|| made))
    }
}
