//! Fetches documents over HTTPS with `reqwest`: the default [`FetchDocument`].

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, StatusCode, header};
use reqwest::{Client, ClientBuilder, RequestBuilder, Response, Url, redirect::Policy};

use super::{
    super::TokenConfigError,
    fetch::{FetchDocument, FetchError, Fetched},
    period::Freshness,
    url::{PlainHttp, checked, redacted},
};
use crate::peer::is_loopback_host;

/// Fetches over HTTPS with `reqwest`: HTTP proxies from the environment, certificates as the
/// platform verifies them, no redirects, documents of at most [`HttpsFetch::MAX_LEN`].
///
/// Plain `http` is for loopback addresses and `localhost`, and goes there directly: past every
/// proxy, and without asking a name server. [`dangerously_allow_http`](Self::dangerously_allow_http)
/// allows other hosts.
#[derive(Clone, Debug)]
pub struct HttpsFetch {
    https: Client,
    /// `None` if it could not be created.
    loopback: Option<Client>,
    /// For plain `http` to other hosts, if that is allowed.
    plain: Option<Client>,
}

impl HttpsFetch {
    /// The longest document that is read, in bytes.
    pub const MAX_LEN: usize = 1 << 20;

    /// The maximum number of chunks of a document.
    const MAX_PIECES: usize = 1 << 14;

    /// Creates a client.
    ///
    /// # Errors
    /// [`TokenConfigError::Client`] where the platform's certificates can't be had.
    pub fn new() -> Result<Self, TokenConfigError> {
        builder()
            .https_only(true)
            .build()
            .map(Self::with_client)
            .map_err(|error| TokenConfigError::Client(error.to_string()))
    }

    /// A client of the application's for `https`, with its proxies and roots. Where it follows
    /// redirects, what it ends up with counts only if it is at the same host and port.
    #[must_use]
    pub fn with_client(client: Client) -> Self {
        let localhost = [
            SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            SocketAddr::from((Ipv6Addr::LOCALHOST, 0)),
        ];
        let loopback = builder()
            // Plain `http` only: needs no certificates.
            .tls_certs_only([])
            .no_proxy()
            .resolve_to_addrs("localhost", &localhost)
            .build();
        Self {
            https: client,
            loopback: loopback.ok(),
            plain: None,
        }
    }

    /// Allows plain `http` to other hosts, past every proxy; see
    /// [`RemoteKeys::dangerously_allow_http`](super::RemoteKeys::dangerously_allow_http).
    #[must_use]
    pub fn dangerously_allow_http(mut self) -> Self {
        // Plain `http` only: needs no certificates.
        self.plain = builder().tls_certs_only([]).no_proxy().build().ok();
        self
    }

    /// Returns the client for a URL, and the URL.
    pub(crate) fn client(&self, url: &str) -> Result<(&Client, Url), FetchError> {
        let plain = match &self.plain {
            Some(_) => PlainHttp::Anywhere,
            None => PlainHttp::ToLoopback,
        };
        let wanted = checked(url, plain).map_err(|problem| FetchError::Url {
            url: redacted(url),
            problem,
        })?;
        let client = match (wanted.scheme(), &self.plain) {
            ("https", _) => &self.https,
            (_, Some(plain)) if !wanted.host_str().is_some_and(is_loopback_host) => plain,
            _ => self.loopback.as_ref().ok_or(FetchError::NoLoopbackClient)?,
        };
        Ok((client, wanted))
    }

    async fn get(&self, url: &str, etag: Option<&str>) -> Result<Response, FetchError> {
        let (client, wanted) = self.client(url)?;
        let mut request = client
            .get(wanted.clone())
            .header(header::ACCEPT, "application/jwk-set+json, application/json");
        if let Some(etag) = etag.and_then(|etag| HeaderValue::try_from(etag).ok()) {
            request = request.header(header::IF_NONE_MATCH, etag);
        }
        send(request, &wanted).await
    }
}

/// Sends a request, and refuses what another host has answered.
pub(crate) async fn send(request: RequestBuilder, wanted: &Url) -> Result<Response, FetchError> {
    let response = request.send().await.map_err(transport)?;
    if response.url().origin() != wanted.origin() {
        return Err(FetchError::Redirected);
    }
    Ok(response)
}

fn builder() -> ClientBuilder {
    Client::builder()
        .redirect(Policy::none())
        .connect_timeout(Duration::from_secs(5))
        .user_agent(concat!("tower-user-scope/", env!("CARGO_PKG_VERSION")))
        // Cargo unifies features, so another crate may turn these on: a small response could
        // decompress to a large one.
        .no_gzip()
        .no_brotli()
        .no_zstd()
        .no_deflate()
}

/// Removes the URL, whose query may contain a secret.
fn transport(error: reqwest::Error) -> FetchError {
    FetchError::transport(error.without_url())
}

impl FetchDocument for HttpsFetch {
    async fn fetch(&self, url: &str) -> Result<Bytes, FetchError> {
        let (body, _) = self.fetch_if_changed(url, None).await?.into_parts();
        body.ok_or(FetchError::Status(304))
    }

    async fn fetch_if_changed(&self, url: &str, etag: Option<&str>) -> Result<Fetched, FetchError> {
        let mut response = self.get(url, etag).await?;
        let mut fetched = match response.status() {
            StatusCode::NOT_MODIFIED if etag.is_some() => Fetched::not_modified(),
            StatusCode::OK => Fetched::new(body(&mut response, Self::MAX_LEN).await?),
            status => return Err(FetchError::Status(status.as_u16())),
        };
        let headers = response.headers();
        fetched.set_freshness(Freshness::read(headers));
        let etag = headers.get(header::ETAG).map(HeaderValue::to_str);
        Ok(match etag {
            Some(Ok(etag)) => fetched.with_etag(etag),
            _ => fetched,
        })
    }
}

/// Reads a body of at most `limit` bytes.
pub(crate) async fn body(response: &mut Response, limit: usize) -> Result<Bytes, FetchError> {
    let mut document = BytesMut::new();
    let mut pieces = 0;
    while let Some(chunk) = response.chunk().await.map_err(transport)? {
        if document.len() + chunk.len() > limit {
            return Err(FetchError::TooLong { limit });
        }
        // A megabyte in chunks of one byte takes seconds of a thread.
        pieces += 1;
        if pieces > HttpsFetch::MAX_PIECES {
            let limit = HttpsFetch::MAX_PIECES;
            return Err(FetchError::TooManyPieces { limit });
        }
        document.extend_from_slice(&chunk);
    }
    Ok(document.freeze())
}
