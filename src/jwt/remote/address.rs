//! Where an issuer's keys are: at a URL, or where its metadata says.

use std::fmt;

use http::Uri;
use serde::Deserialize;
use tracing::warn;

use super::{
    super::{KeySet, TokenConfigError},
    Fetch,
    fetch::FetchError,
};
use crate::peer::is_loopback_host;

#[derive(Clone)]
pub(super) enum Address {
    Keys(String),
    Issuer(String),
}

/// OpenID Connect Discovery 1.0 section 3, RFC 8414 section 2.
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: String,
}

impl Address {
    fn url(&self) -> &str {
        match self {
            Self::Keys(url) | Self::Issuer(url) => url,
        }
    }

    pub(super) fn validate(&self) -> Result<(), TokenConfigError> {
        if is_safe(self.url()) {
            return Ok(());
        }
        Err(TokenConfigError::Url {
            url: self.url().to_owned(),
        })
    }

    pub(super) async fn keys(&self, fetch: &Fetch) -> Result<KeySet, FetchError> {
        let document = match self {
            Self::Keys(url) => fetch(url.clone()).await?,
            Self::Issuer(issuer) => {
                let base = issuer.strip_suffix('/').unwrap_or(issuer);
                let metadata = fetch(format!("{base}/.well-known/openid-configuration")).await?;
                let metadata: Metadata =
                    serde_json::from_slice(&metadata).map_err(|_| FetchError::Metadata)?;
                // Section 4.3: exactly the issuer that was asked for.
                if metadata.issuer != *issuer || !is_safe(&metadata.jwks_uri) {
                    return Err(FetchError::Metadata);
                }
                fetch(metadata.jwks_uri).await?
            }
        };
        Ok(KeySet::from_issuer(&document, |error| {
            warn!(%error, address = %self, "a published key is left out");
        })?)
    }
}

/// Over anything but `https` somebody else can publish keys.
fn is_safe(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else {
        return false;
    };
    let Some(host) = uri.host() else {
        return false;
    };
    match uri.scheme_str() {
        Some("https") => true,
        Some("http") => is_loopback_host(host),
        _ => false,
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.url())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_and_loopback_are_safe() {
        for (url, safe) in [
            ("https://id.example/keys", true),
            ("HTTPS://id.example/keys", true),
            ("http://127.0.0.1:8080/keys", true),
            ("http://[::1]/keys", true),
            ("http://localhost/keys", true),
            ("http://id.example/keys", false),
            ("http://localhost.example/keys", false),
            ("ftp://id.example/keys", false),
            ("/keys", false),
            ("", false),
        ] {
            assert_eq!(is_safe(url), safe, "{url}");
        }
    }
}
