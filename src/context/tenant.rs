//! Which tenant a request asks for.
//!
//! A client may ask for any. Whether the identity belongs to it is not known here.

use http::{HeaderName, header, request::Parts, uri::Authority};
use thiserror::Error;

use super::{IdError, TenantId};

/// Where a request names the tenant that it is for; see
/// [`LayerBuilder::tenant`](crate::middleware::LayerBuilder::tenant).
///
/// ```
/// use http::HeaderName;
/// use tower_user_scope::context::TenantSource;
///
/// // `x-tenant-id: acme`, `https://acme.example.com/orders` and `/acme/orders`.
/// let header = TenantSource::header(HeaderName::from_static("x-tenant-id"));
/// let subdomain = TenantSource::subdomain_of("example.com");
/// let path = TenantSource::path_segment(0);
/// # let _ = (header, subdomain, path);
/// ```
#[derive(Clone, Debug)]
pub struct TenantSource(Place);

#[derive(Clone, Debug)]
enum Place {
    Header(HeaderName),
    /// In lower case, with a dot in front.
    SubdomainOf(Box<str>),
    PathSegment(usize),
}

impl TenantSource {
    /// Reads the tenant from this header.
    #[must_use]
    pub fn header(name: HeaderName) -> Self {
        Self(Place::Header(name))
    }

    /// Reads the tenant from the first label of the request's host, in lower case, where the host is a
    /// subdomain of this domain. A host of another domain, or the domain itself, names no tenant.
    ///
    /// The host is that of the URI, or else of `Host`; `X-Forwarded-Host` and `Forwarded` are not read.
    #[must_use]
    pub fn subdomain_of(domain: impl AsRef<str>) -> Self {
        let domain = domain.as_ref().trim_start_matches('.').to_ascii_lowercase();
        Self(Place::SubdomainOf(format!(".{domain}").into_boxed_str()))
    }

    /// Reads the tenant from a segment of the path, counted from 0, as the layer sees the path: where a
    /// router has removed a prefix, without it.
    ///
    /// A path in which other software may find another tenant is refused: one with a dot segment
    /// (RFC 3986 section 3.3), encoded or not, and one that has an empty segment or percent-encoding up to
    /// the tenant.
    #[must_use]
    pub fn path_segment(index: usize) -> Self {
        Self(Place::PathSegment(index))
    }

    /// Returns the tenant that a request names; `None` if it names none.
    pub(crate) fn read(&self, head: &Parts) -> Result<Option<TenantId>, TenantError> {
        let named = match &self.0 {
            Place::Header(name) => in_header(head, name)?.map(str::to_owned),
            Place::SubdomainOf(domain) => in_host(head, domain)?,
            Place::PathSegment(index) => in_path(head, *index)?.map(str::to_owned),
        };
        Ok(named.map(|named| named.parse()).transpose()?)
    }
}

/// Returns the only value of a header.
fn in_header<'h>(head: &'h Parts, name: &HeaderName) -> Result<Option<&'h str>, TenantError> {
    let mut values = head.headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(TenantError::Repeated);
    }
    value.to_str().map(Some).map_err(|_| TenantError::Malformed)
}

/// Returns the label of the request's host in front of a domain.
fn in_host(head: &Parts, domain: &str) -> Result<Option<String>, TenantError> {
    let host = |authority: &Authority| {
        let host = authority.host().to_ascii_lowercase();
        host.strip_suffix('.').map(str::to_owned).unwrap_or(host)
    };
    let parse = |text: &str| {
        text.parse::<Authority>()
            .map_err(|_| TenantError::Malformed)
    };
    let in_uri = head.uri.authority().map(host);
    let in_header = in_header(head, &header::HOST)?.map(parse).transpose()?;
    let host = match (in_uri, in_header.as_ref().map(host)) {
        // RFC 9113 section 8.3.1: they are the same.
        (Some(one), Some(other)) if one != other => return Err(TenantError::Repeated),
        (Some(host), _) | (None, Some(host)) => host,
        (None, None) => return Ok(None),
    };
    match host.strip_suffix(domain) {
        Some(label) if label.is_empty() || label.contains('.') => Err(TenantError::Malformed),
        label => Ok(label.map(str::to_owned)),
    }
}

/// Returns a segment of the path; `None` if there is none. A slash at the end begins no segment.
fn in_path(head: &Parts, index: usize) -> Result<Option<&str>, TenantError> {
    let path = head.uri.path();
    let segments = path.strip_suffix('/').unwrap_or(path).split('/').skip(1);
    let mut segments = segments.take(index.saturating_add(1));
    // A handler may decode them, or merge slashes.
    let is_odd = |segment: &str| segment.is_empty() || segment.contains('%');
    if segments.clone().any(is_odd) || has_dot_segment(path) {
        return Err(TenantError::Malformed);
    }
    Ok(segments.nth(index))
}

/// Whether some reader of a path goes up in it: one that decodes first, or that takes a backslash for a
/// slash.
fn has_dot_segment(path: &str) -> bool {
    if !path.contains(['.', '%']) {
        return false;
    }
    let decoded = path.to_ascii_lowercase().replace("%2e", ".");
    let decoded = decoded.replace("%2f", "/").replace("%5c", "\\");
    let mut segments = decoded.split(['/', '\\']);
    segments.any(|segment| matches!(segment, "." | ".."))
}

/// Why the tenant that a request names can't be read; the response is 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TenantError {
    /// The request names more than one.
    #[error("the request names more than one tenant")]
    Repeated,
    /// It is not text, not a host, more than one label of a host, or in a path that may be read in another
    /// way.
    #[error("the request's tenant can't be read")]
    Malformed,
    /// It is not an id.
    #[error(transparent)]
    Id(#[from] IdError),
}
