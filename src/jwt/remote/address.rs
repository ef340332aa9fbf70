//! Where an issuer's keys are: at a URL, or where its metadata says.

use std::{fmt, net::IpAddr};

use reqwest::Url;
use serde::Deserialize;
use thiserror::Error;

use super::{
    super::{KeySet, TokenConfigError},
    Fetch,
    fetch::{FetchError, Fetched},
    https::HttpsFetch,
    period::Freshness,
};
use crate::peer::is_loopback_host;

#[derive(Clone)]
pub(super) enum Address {
    Keys(String),
    Issuer(String),
}

/// What is wrong with the URL of a key set or an issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum UrlProblem {
    /// It is not an absolute URL with a host.
    #[error("it is not an absolute URL")]
    NotAUrl,
    /// It is not `https`: over anything else, somebody else can publish keys. Plain `http` is
    /// for loopback addresses only, and never where an `https` issuer's metadata says so.
    #[error("it is not an https URL; plain http is for loopback only")]
    NotHttps,
    /// It has a user name or a password (RFC 3986 section 3.2.1), which would be logged.
    #[error("it has a user name or a password")]
    UserInfo,
    /// It has a query, which an issuer's identifier can't have (RFC 8414 section 2).
    #[error("an issuer's URL has no query")]
    Query,
    /// It has a fragment, which no server gets to see.
    #[error("it has a fragment")]
    Fragment,
    /// It has a placeholder in braces, such as `{tenantid}`, that nobody filled in.
    #[error("it has a placeholder in braces")]
    Placeholder,
    /// The metadata of an `https` issuer names an IP address or `localhost` that is not its own
    /// host: such a request would reach what only this machine can reach.
    #[error("it names an internal host that is not the issuer's own")]
    InternalHost,
}

/// OpenID Connect Discovery 1.0 section 3, RFC 8414 section 2.
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: String,
}

/// What was fetched before, to ask whether it has changed.
#[derive(Clone, Default)]
pub(super) struct Known {
    /// The metadata's validator, and the keys' URL that it names.
    metadata: Option<(String, Url)>,
    /// Where the keys were, and their validator.
    keys: Option<(Url, String)>,
}

/// What an issuer answered.
pub(super) struct Answer {
    /// `None` where they have not changed.
    pub(super) keys: Option<KeySet>,
    pub(super) freshness: Freshness,
    pub(super) known: Known,
}

impl Address {
    fn url(&self) -> &str {
        match self {
            Self::Keys(url) | Self::Issuer(url) => url,
        }
    }

    /// The issuer whose metadata says where the keys are.
    pub(super) fn issuer(&self) -> Option<&str> {
        match self {
            Self::Keys(_) => None,
            Self::Issuer(issuer) => Some(issuer),
        }
    }

    pub(super) fn validate(&self) -> Result<(), TokenConfigError> {
        self.checked()
            .map(|_| ())
            .map_err(|problem| TokenConfigError::Url {
                url: redacted(self.url()),
                problem,
            })
    }

    fn checked(&self) -> Result<Url, UrlProblem> {
        let url = checked(self.url())?;
        if matches!(self, Self::Issuer(_)) && url.query().is_some() {
            return Err(UrlProblem::Query);
        }
        Ok(url)
    }

    /// Fetches the keys. What is to be told of those that can't be used goes to `left_out`.
    pub(super) async fn keys(
        &self,
        fetch: &Fetch,
        known: Known,
        left_out: &mut Option<String>,
    ) -> Result<Answer, FetchError> {
        let url = self.checked().map_err(|problem| FetchError::Url {
            url: redacted(self.url()),
            problem,
        })?;
        let (url, metadata) = match self {
            Self::Keys(_) => (url, None),
            Self::Issuer(issuer) => {
                let (url, etag) = keys_url(issuer, &url, fetch, known.metadata).await?;
                let metadata = etag.map(|etag| (etag, url.clone()));
                (url, metadata)
            }
        };
        let etag = known
            .keys
            .and_then(|(known_url, etag)| (known_url == url).then_some(etag));
        let fetched = fetch(url.as_str().to_owned(), etag.clone()).await?;
        let freshness = fetched.freshness();
        let (body, new_etag) = content(fetched, etag.is_some())?;
        let keys = match &body {
            None => None,
            Some(body) => Some(KeySet::from_issuer(body, |skipped| {
                *left_out = Some(skipped.to_string());
            })?),
        };
        Ok(Answer {
            keys,
            freshness,
            known: Known {
                metadata,
                keys: new_etag.or(etag).map(|etag| (url, etag)),
            },
        })
    }
}

/// Asks the issuer's metadata where its keys are.
async fn keys_url(
    issuer: &str,
    issuer_url: &Url,
    fetch: &Fetch,
    known: Option<(String, Url)>,
) -> Result<(Url, Option<String>), FetchError> {
    let base = issuer_url.as_str();
    let base = base.strip_suffix('/').unwrap_or(base);
    let url = format!("{base}/.well-known/openid-configuration");
    let etag = known.as_ref().map(|(etag, _)| etag.clone());
    let asked = fetch(url, etag).await;
    let (body, etag) = asked
        .and_then(|fetched| content(fetched, known.is_some()))
        .map_err(FetchError::of_metadata)?;
    let Some(body) = body else {
        return known
            .map(|(etag, url)| (url, Some(etag)))
            .ok_or(FetchError::Metadata);
    };
    let metadata: Metadata = serde_json::from_slice(&body).map_err(|_| FetchError::Metadata)?;
    // Section 4.3: exactly the issuer that was asked for.
    if metadata.issuer != issuer {
        return Err(FetchError::OtherIssuer {
            wanted: redacted(issuer),
            found: redacted(&metadata.issuer),
        });
    }
    let keys = checked(&metadata.jwks_uri)
        .and_then(|keys| of_issuer(keys, issuer_url))
        .map_err(|problem| FetchError::Url {
            url: redacted(&metadata.jwks_uri),
            problem,
        })?;
    Ok((keys, etag))
}

/// The body, or `None` where the server said that it has not changed.
fn content(
    fetched: Fetched,
    was_known: bool,
) -> Result<(Option<bytes::Bytes>, Option<String>), FetchError> {
    let (body, etag) = fetched.into_parts();
    match &body {
        None if !was_known => Err(FetchError::Status(304)),
        Some(body) if body.len() > HttpsFetch::MAX_LEN => Err(FetchError::TooLong {
            limit: HttpsFetch::MAX_LEN,
        }),
        _ => Ok((body, etag)),
    }
}

/// Parses a URL with the parser that fetches it, and checks what it parsed.
pub(super) fn checked(url: &str) -> Result<Url, UrlProblem> {
    if url.contains(['{', '}']) {
        return Err(UrlProblem::Placeholder);
    }
    let url = Url::parse(url).map_err(|_| UrlProblem::NotAUrl)?;
    let host = url.host_str().ok_or(UrlProblem::NotAUrl)?;
    match url.scheme() {
        "https" => {}
        "http" if is_loopback_host(host) => {}
        _ => return Err(UrlProblem::NotHttps),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(UrlProblem::UserInfo);
    }
    if url.fragment().is_some() {
        return Err(UrlProblem::Fragment);
    }
    Ok(url)
}

/// What an issuer's metadata may lead to: `https` stays `https`, and internal stays the issuer's.
fn of_issuer(keys: Url, issuer: &Url) -> Result<Url, UrlProblem> {
    if issuer.scheme() != "https" {
        return Ok(keys);
    }
    if keys.scheme() != "https" {
        return Err(UrlProblem::NotHttps);
    }
    if keys.host_str() != issuer.host_str() && keys.host_str().is_none_or(is_internal) {
        return Err(UrlProblem::InternalHost);
    }
    Ok(keys)
}

/// Whether a host is an address, or a name of this machine (RFC 6761 section 6.3).
fn is_internal(host: &str) -> bool {
    let name = host.strip_suffix('.').unwrap_or(host);
    host.starts_with('[')
        || name.parse::<IpAddr>().is_ok()
        || name.rsplit('.').next() == Some("localhost")
}

/// A URL as it may be logged: without user name, password, query and fragment, and of a length
/// that a line of a log has room for.
pub(super) fn redacted(url: &str) -> String {
    const LONGEST: usize = 256;
    let Ok(mut parsed) = Url::parse(url) else {
        return "..".to_owned();
    };
    if !parsed.has_host() || parsed.set_username("").is_err() || parsed.set_password(None).is_err()
    {
        return "..".to_owned();
    }
    let had_more = parsed.query().is_some() || parsed.fragment().is_some();
    parsed.set_query(None);
    parsed.set_fragment(None);
    // What was parsed is ASCII. A root that was not written is not shown either.
    let mut shown = parsed.as_str().to_owned();
    if parsed.path() == "/" && !url.trim_end().ends_with('/') && !had_more {
        shown.pop();
    }
    let is_long = shown.len() > LONGEST;
    shown.truncate(LONGEST);
    if had_more || is_long {
        shown.push_str("..");
    }
    shown
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redacted(self.url()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_and_loopback_are_safe() {
        use UrlProblem::{Fragment, NotAUrl, NotHttps, Placeholder, UserInfo};
        for (url, problem) in [
            ("https://id.example/keys", None),
            ("HTTPS://id.example/keys?v=1", None),
            ("http://127.0.0.1:8080/keys", None),
            ("http://127.1/keys", None),
            ("http://[::1]/keys", None),
            ("http://localhost/keys", None),
            ("http://id.example/keys", Some(NotHttps)),
            ("http://localhost.example/keys", Some(NotHttps)),
            ("http://127.0.0.1.example/keys", Some(NotHttps)),
            ("http://0.0.0.0/keys", Some(NotHttps)),
            ("http://[::ffff:127.0.0.1]/keys", Some(NotHttps)),
            ("http://localhost:80@id.example/keys", Some(NotHttps)),
            ("http://id.example\\@localhost/keys", Some(NotHttps)),
            ("ftp://id.example/keys", Some(NotHttps)),
            ("file:///etc/passwd", Some(NotAUrl)),
            ("data:,{}", Some(Placeholder)),
            ("data:,x", Some(NotAUrl)),
            ("/keys", Some(NotAUrl)),
            ("", Some(NotAUrl)),
            ("https://svc@id.example/keys", Some(UserInfo)),
            ("https://:secret@id.example/keys", Some(UserInfo)),
            ("https://id.example/keys#a", Some(Fragment)),
            ("https://id.example/{tenantid}/v2.0", Some(Placeholder)),
        ] {
            assert_eq!(checked(url).err(), problem, "{url}");
        }
    }

    #[test]
    fn metadata_leads_to_no_host_that_only_this_machine_reaches() {
        use UrlProblem::{InternalHost, NotHttps};
        for (issuer, keys, problem) in [
            ("https://id.example", "https://id.example/keys", None),
            ("https://id.example", "https://keys.example/keys", None),
            ("https://10.0.0.5", "https://10.0.0.5:8443/keys", None),
            ("https://localhost", "https://localhost:8443/keys", None),
            ("http://localhost", "http://127.0.0.1:80/keys", None),
            (
                "https://id.example",
                "http://127.0.0.1:2375/v1",
                Some(NotHttps),
            ),
            ("https://localhost", "http://localhost/keys", Some(NotHttps)),
            (
                "https://id.example",
                "https://127.0.0.1/",
                Some(InternalHost),
            ),
            ("https://id.example", "https://0x7f.1/", Some(InternalHost)),
            (
                "https://id.example",
                "https://2130706433/",
                Some(InternalHost),
            ),
            (
                "https://id.example",
                "https://169.254.169.254/",
                Some(InternalHost),
            ),
            (
                "https://id.example",
                "https://10.1.2.3/keys",
                Some(InternalHost),
            ),
            (
                "https://id.example",
                "https://[fd00::1]/keys",
                Some(InternalHost),
            ),
            (
                "https://id.example",
                "https://localhost./",
                Some(InternalHost),
            ),
            (
                "https://id.example",
                "https://db.localhost/",
                Some(InternalHost),
            ),
            (
                "https://10.0.0.5",
                "https://10.0.0.6/keys",
                Some(InternalHost),
            ),
        ] {
            let issuer = checked(issuer).expect("an issuer");
            let found = checked(keys).and_then(|keys| of_issuer(keys, &issuer));
            assert_eq!(found.err(), problem, "{issuer} {keys}");
        }
    }

    #[test]
    fn what_is_shown_of_a_url_has_no_secret() {
        let long = format!("https://id.example/{}", "a".repeat(300));
        for (url, shown) in [
            (
                "https://svc:secret@id.example/k?api_key=s#s",
                "https://id.example/k..",
            ),
            ("https://id.example", "https://id.example"),
            ("https://id.example/", "https://id.example/"),
            ("https://id.example/keys", "https://id.example/keys"),
            ("svc:secret@id.example/k", ".."),
            ("secret", ".."),
            (&*long, &format!("{}..", &long[..256])),
        ] {
            assert_eq!(redacted(url), shown, "{url}");
        }
    }
}
