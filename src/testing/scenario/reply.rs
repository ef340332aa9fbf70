//! What a scenario's client got.

use std::fmt;

use bytes::Bytes;
use http::{Extensions, HeaderMap, StatusCode};
use serde_json::Value;

/// What a client got: a response that was read to its end, an event, or a message.
///
/// Where the service failed or panicked, it is a 502, as from a proxy in front of the service.
#[derive(Clone, Debug)]
pub struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) trailers: HeaderMap,
    pub(super) extensions: Extensions,
}

impl Reply {
    /// The reply in place of one that the service did not give.
    pub(super) fn none(reason: &'static str) -> Self {
        Self {
            status: StatusCode::BAD_GATEWAY,
            headers: HeaderMap::new(),
            body: Bytes::from_static(reason.as_bytes()),
            trailers: HeaderMap::new(),
            extensions: Extensions::new(),
        }
    }

    /// Returns the status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Returns the headers.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Returns the body, unpacked if it was compressed by gzip or deflate.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Returns the trailers.
    #[must_use]
    pub fn trailers(&self) -> &HeaderMap {
        &self.trailers
    }

    /// Returns the extensions of a response that switches protocols (status 101). hyper's clients put
    /// the upgraded connection there: `reply.extensions().get::<hyper::upgrade::OnUpgrade>()`.
    /// Those of any other response are empty.
    #[must_use]
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// Returns the body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Returns a value of a JSON body by its pointer (RFC 6901), such as `/items/0/id`: a text as it
    /// is, and any other value as JSON.
    ///
    /// # Panics
    /// With the reply, if the body has no such value. In a scenario that ends the user's script.
    #[must_use]
    #[track_caller]
    pub fn json(&self, pointer: &str) -> String {
        let body: Option<Value> = serde_json::from_slice(&self.body).ok();
        match body.as_ref().and_then(|body| body.pointer(pointer)) {
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
            None => panic!("no value at {pointer:?} in {self}"),
        }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.status, self.text())
    }
}
