//! Where an issuer's keys are: at a URL, or where its metadata says.
//!
//! Knows nothing of when keys are fetched and how long they are used.

use std::fmt;

use reqwest::Url;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    super::{KeySet, TokenConfigError, UrlProblem, json},
    fetch::{Fetch, FetchError, Fetched},
    https::HttpsFetch,
    period::Freshness,
    url::{PlainHttp, allowed_for_issuer, checked, redacted},
};

#[derive(Clone)]
pub(super) struct Address {
    place: Place,
    plain: PlainHttp,
}

#[derive(Clone)]
enum Place {
    Keys(String),
    Metadata {
        form: MetadataForm,
        /// The metadata is fetched under this URL.
        base: String,
        /// The name that the metadata has to have.
        issuer: String,
    },
}

/// Which metadata an issuer publishes, and where.
#[derive(Clone, Copy)]
enum MetadataForm {
    /// OpenID Connect Discovery 1.0 section 4: after the issuer's path.
    OpenId,
    /// RFC 8414 section 3.1: before the issuer's path.
    OAuth,
}

impl MetadataForm {
    fn url(self, base: &Url) -> String {
        match self {
            Self::OpenId => {
                let base = base.as_str();
                let base = base.strip_suffix('/').unwrap_or(base);
                format!("{base}/.well-known/openid-configuration")
            }
            Self::OAuth => {
                let path = base.path();
                let path = path.strip_suffix('/').unwrap_or(path);
                let mut url = base.clone();
                url.set_path(&format!("/.well-known/oauth-authorization-server{path}"));
                url.into()
            }
        }
    }
}

/// OpenID Connect Discovery 1.0 section 3, RFC 8414 section 2. Of the URLs, only the wanted one is read.
#[derive(Deserialize)]
struct Metadata<'a> {
    issuer: String,
    #[serde(borrow)]
    jwks_uri: Option<&'a RawValue>,
    #[cfg(feature = "introspection")]
    introspection_endpoint: Option<&'a RawValue>,
}

/// What is looked for in the metadata.
#[derive(Clone, Copy)]
enum Wanted {
    Keys,
    #[cfg(feature = "introspection")]
    Introspection,
}

impl Wanted {
    fn name(self) -> &'static str {
        match self {
            Self::Keys => "jwks_uri",
            #[cfg(feature = "introspection")]
            Self::Introspection => "introspection_endpoint",
        }
    }

    fn url(self, metadata: &Metadata<'_>) -> Result<String, FetchError> {
        let text = match self {
            Self::Keys => metadata.jwks_uri,
            #[cfg(feature = "introspection")]
            Self::Introspection => metadata.introspection_endpoint,
        };
        let url = text.and_then(|text| json::string(text.get()));
        let member = self.name();
        url.map(Into::into)
            .ok_or(FetchError::NotInMetadata { member })
    }
}

/// The `ETag`s of the last fetch, for conditional requests.
#[derive(Clone, Default)]
pub(super) struct Validators {
    /// The metadata's `ETag`, and the URL of the keys that it names.
    metadata: Option<(String, Url)>,
    /// The URL of the keys, and their `ETag`.
    keys: Option<(Url, String)>,
}

/// The result of a fetch.
pub(super) struct Answer {
    /// `None` if they have not changed.
    pub(super) keys: Option<KeySet>,
    pub(super) freshness: Freshness,
    pub(super) validators: Validators,
}

impl Address {
    pub(super) fn of_keys(url: String) -> Self {
        Self::at(Place::Keys(url))
    }

    pub(super) fn of_open_id(base: String, issuer: String) -> Self {
        let form = MetadataForm::OpenId;
        Self::at(Place::Metadata { form, base, issuer })
    }

    pub(super) fn of_oauth(issuer: String) -> Self {
        let (form, base) = (MetadataForm::OAuth, issuer.clone());
        Self::at(Place::Metadata { form, base, issuer })
    }

    fn at(place: Place) -> Self {
        Self {
            place,
            plain: PlainHttp::ToLoopback,
        }
    }

    pub(super) fn allow_http(&mut self) {
        self.plain = PlainHttp::Anywhere;
    }

    pub(super) fn allows_http(&self) -> bool {
        self.plain == PlainHttp::Anywhere
    }

    fn url(&self) -> &str {
        match &self.place {
            Place::Keys(url) | Place::Metadata { base: url, .. } => url,
        }
    }

    /// Returns the issuer whose metadata names the keys' URL.
    pub(super) fn issuer(&self) -> Option<&str> {
        match &self.place {
            Place::Keys(_) => None,
            Place::Metadata { issuer, .. } => Some(issuer),
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
        let url = checked(self.url(), self.plain)?;
        if matches!(self.place, Place::Metadata { .. }) && url.query().is_some() {
            return Err(UrlProblem::Query);
        }
        Ok(url)
    }

    /// Returns the URL of what is wanted: the address itself, or where the issuer's metadata says, which
    /// is fetched. In that case it returns the metadata's `ETag`, too.
    async fn url_of(
        &self,
        wanted: Wanted,
        fetch: &Fetch,
        known: Option<(String, Url)>,
    ) -> Result<(Url, Option<String>), FetchError> {
        let url = self.checked().map_err(|problem| FetchError::Url {
            url: redacted(self.url()),
            problem,
        })?;
        let Place::Metadata { form, issuer, .. } = &self.place else {
            return Ok((url, None));
        };
        let document = Document {
            url: form.url(&url),
            issuer,
            wanted,
        };
        let checked =
            |named: &str| checked(named, self.plain).and_then(|it| allowed_for_issuer(it, &url));
        named_url(&document, checked, fetch, known).await
    }

    /// Fetches the metadata, and returns the URL of the introspection endpoint that it names.
    #[cfg(feature = "introspection")]
    pub(super) async fn introspection_endpoint(&self, fetch: &Fetch) -> Result<Url, FetchError> {
        let (url, _) = self.url_of(Wanted::Introspection, fetch, None).await?;
        Ok(url)
    }

    /// Fetches the keys, and describes those that can't be used in `skipped`.
    pub(super) async fn keys(
        &self,
        fetch: &Fetch,
        validators: Validators,
        skipped: &mut Option<String>,
    ) -> Result<Answer, FetchError> {
        let (url, etag) = self
            .url_of(Wanted::Keys, fetch, validators.metadata)
            .await?;
        let metadata = etag.map(|etag| (etag, url.clone()));
        let etag = validators
            .keys
            .and_then(|(known_url, etag)| (known_url == url).then_some(etag));
        let fetched = fetch(url.as_str().to_owned(), etag.clone()).await?;
        let freshness = fetched.freshness();
        let (body, new_etag) = content(fetched, etag.is_some())?;
        let keys = match &body {
            None => None,
            Some(body) => Some(KeySet::from_issuer(body, |keys| {
                *skipped = Some(keys.to_string());
            })?),
        };
        Ok(Answer {
            keys,
            freshness,
            validators: Validators {
                metadata,
                keys: new_etag.or(etag).map(|etag| (url, etag)),
            },
        })
    }
}

/// Where metadata is, whose it has to be, and what is looked for in it.
struct Document<'a> {
    url: String,
    issuer: &'a str,
    wanted: Wanted,
}

/// Fetches the issuer's metadata, and returns the wanted URL and the metadata's `ETag`.
async fn named_url(
    document: &Document<'_>,
    checked: impl FnOnce(&str) -> Result<Url, UrlProblem>,
    fetch: &Fetch,
    known: Option<(String, Url)>,
) -> Result<(Url, Option<String>), FetchError> {
    let etag = known.as_ref().map(|(etag, _)| etag.clone());
    let refreshed = fetch(document.url.clone(), etag).await;
    let (body, etag) = refreshed
        .and_then(|fetched| content(fetched, known.is_some()))
        .map_err(FetchError::in_metadata)?;
    let Some(body) = body else {
        return known
            .map(|(etag, url)| (url, Some(etag)))
            .ok_or(FetchError::Metadata);
    };
    let metadata: Metadata<'_> = serde_json::from_slice(&body).map_err(|_| FetchError::Metadata)?;
    // OpenID Connect Discovery 1.0 section 4.3, RFC 8414 section 3.3: exactly the configured issuer.
    if metadata.issuer != document.issuer {
        return Err(FetchError::OtherIssuer {
            wanted: redacted(document.issuer),
            found: redacted(&metadata.issuer),
        });
    }
    let named = document.wanted.url(&metadata)?;
    let url = checked(&named).map_err(|problem| FetchError::Url {
        url: redacted(&named),
        problem,
    })?;
    Ok((url, etag))
}

/// Returns the body, `None` for a 304, and the `ETag`.
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

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redacted(self.url()))
    }
}
