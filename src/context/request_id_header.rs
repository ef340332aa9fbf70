//! The header by which a request id goes to the inner service and back to the client.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{CorrelationKind, CorrelationSources, RequestId};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Whether a response has the id of its request, and in which header.
#[derive(Clone, Debug, Default)]
pub(crate) enum ReturnRequestId {
    #[default]
    Never,
    /// In the header that it is read from.
    AsRead,
    In(HeaderName),
}

impl ReturnRequestId {
    /// Returns the header, which is `x-request-id` if the id is read from none.
    pub(crate) fn header(self, sources: &CorrelationSources) -> Option<RequestIdHeader> {
        match self {
            Self::Never => None,
            Self::AsRead => {
                let read = sources.name_of(CorrelationKind::Request).cloned();
                Some(RequestIdHeader(read.unwrap_or(X_REQUEST_ID)))
            }
            Self::In(name) => Some(RequestIdHeader(name)),
        }
    }
}

/// The name of the header that has the request id.
#[derive(Clone, Debug)]
pub(crate) struct RequestIdHeader(HeaderName);

impl RequestIdHeader {
    /// Sets the header of a request, so that inner layers, and services that the request is
    /// passed on to, know it by the same id.
    pub(crate) fn set_on_request(&self, headers: &mut HeaderMap, id: &RequestId) {
        let sent = headers.get(&self.0);
        if sent.is_none_or(|sent| sent.as_bytes() != id.as_str().as_bytes()) {
            insert(headers, &self.0, id);
        }
    }

    /// Sets the header of a response that has none, as tower-http's `PropagateRequestId` does.
    pub(crate) fn set_on_response(&self, headers: &mut HeaderMap, id: &RequestId) {
        if !headers.contains_key(&self.0) {
            insert(headers, &self.0, id);
        }
    }
}

fn insert(headers: &mut HeaderMap, name: &HeaderName, id: &RequestId) {
    // Request ids are visible ASCII, so each of them is a header's value.
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        headers.insert(name, value);
    }
}
