//! The ids that tie work together: where each is read from, and what a bad one is.
//!
//! Correlation ids come from the client and decide nothing about who the user is.

use http::{HeaderMap, HeaderName, HeaderValue, request::Parts};

use super::{
    CorrelationError, CorrelationErrorKind, CorrelationKind, RequestId, TraceParent,
    correlated::Ids,
};
use crate::header_set::HeaderSet;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Where the correlation ids of a request are read from.
///
/// An id that is there and good is kept; one that is there and bad is refused with 400; one
/// that is not there is made when it is first asked for. The application may look up by any of
/// the four ids what it is about to do, so that a bad one is not replaced in silence; an id that
/// a service has no use for is switched off with [`without_header`](Self::without_header). A
/// `traceparent` is only for tracing: a bad one is ignored.
///
/// ```
/// use http::HeaderName;
/// use tower_user_scope::context::{CorrelationKind, CorrelationSources};
///
/// let ids = CorrelationSources::new()
///     .header(CorrelationKind::Thread, HeaderName::from_static("x-conversation-id"))
///     .without_header(CorrelationKind::Connection);
/// # let _ = ids;
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct CorrelationSources {
    headers: [Option<HeaderName>; 4],
    /// All of them.
    wanted: HeaderSet,
    trace_context: bool,
    #[cfg(feature = "ids")]
    query: [Option<Box<str>>; 4],
}

impl CorrelationSources {
    /// The longest query string that is searched for ids, in bytes.
    pub const MAX_QUERY_LEN: usize = 8 * 1024;

    /// `x-request-id`, `x-thread-id`, `x-run-id`, `x-connection-id` and `traceparent`; nothing
    /// from the query.
    pub fn new() -> Self {
        Self {
            headers: [
                Some(HeaderName::from_static("x-request-id")),
                Some(HeaderName::from_static("x-thread-id")),
                Some(HeaderName::from_static("x-run-id")),
                Some(HeaderName::from_static("x-connection-id")),
            ],
            wanted: HeaderSet::NONE,
            trace_context: true,
            #[cfg(feature = "ids")]
            query: [None, None, None, None],
        }
        .with_wanted_set()
    }

    /// Reads an id from this header instead of its default one.
    pub fn header(mut self, kind: CorrelationKind, name: HeaderName) -> Self {
        self.headers[kind as usize] = Some(name);
        self.with_wanted_set()
    }

    /// Reads an id from no header at all.
    pub fn without_header(mut self, kind: CorrelationKind) -> Self {
        self.headers[kind as usize] = None;
        self.with_wanted_set()
    }

    /// Says whether `traceparent` is read; by default it is. One that does not follow the W3C's
    /// grammar, or that is sent more than once, is ignored, and an audit event says so
    /// ([`AuditEvent::TraceIgnored`](crate::audit::AuditEvent::TraceIgnored)): the trace starts anew
    /// (Trace Context, section 3.2), and the request goes on.
    ///
    /// Where it is sent, a request without a request id of its own is known by
    /// `{trace-id}-{parent-id}`.
    pub fn trace_context(mut self, read: bool) -> Self {
        self.trace_context = read;
        self.with_wanted_set()
    }

    /// Reads an id from a query parameter too, for clients that can't set headers, such as a
    /// browser that opens a WebSocket.
    ///
    /// Query strings end up in access logs and in the `Referer` of other requests; that is of
    /// no harm to an id that proves nothing.
    #[cfg(feature = "ids")]
    #[cfg_attr(docsrs, doc(cfg(feature = "ids")))]
    pub fn query(mut self, kind: CorrelationKind, parameter: impl Into<String>) -> Self {
        self.query[kind as usize] = Some(parameter.into().into_boxed_str());
        self
    }

    /// Returns the name of the header that an id is read from.
    pub(super) fn name_of(&self, kind: CorrelationKind) -> Option<&HeaderName> {
        self.headers[kind as usize].as_ref()
    }

    #[inline]
    pub(crate) fn read(
        &self,
        head: &Parts,
        sent: HeaderSet,
    ) -> Result<Option<Box<Ids>>, CorrelationError> {
        if self.may_be_sent(head, sent) {
            return self.read_sent(head).map(Some);
        }
        Ok(None)
    }

    /// The request id that the headers of a refused request have, where it can be read.
    #[cold]
    pub(crate) fn readable_request_id(&self, head: &Parts) -> Option<RequestId> {
        let only = |name: &HeaderName| {
            let mut values = head.headers.get_all(name).iter();
            values.next().filter(|_| values.next().is_none())
        };
        let name = self.name_of(CorrelationKind::Request);
        if let Some(value) = name.and_then(only) {
            return from_header(CorrelationKind::Request, value).ok();
        }
        let value = self.trace_context.then(|| only(&TRACEPARENT)).flatten()?;
        let parent = trace_parent(value).ok()?;
        Some(RequestId::of_trace(&parent))
    }

    /// Most requests have none.
    #[inline]
    fn may_be_sent(&self, head: &Parts, sent: HeaderSet) -> bool {
        #[cfg(feature = "ids")]
        if head.uri.query().is_some() && self.query.iter().any(Option::is_some) {
            return true;
        }
        let _ = head;
        self.wanted.meets(sent)
    }

    fn read_sent(&self, head: &Parts) -> Result<Box<Ids>, CorrelationError> {
        let sent = self.sent(&head.headers)?;
        let mut found: [Option<RequestId>; 4] = [None, None, None, None];
        for kind in CorrelationKind::ALL {
            if let Some(value) = sent.ids[kind as usize] {
                found[kind as usize] = Some(from_header(kind, value)?);
            }
        }
        #[cfg(feature = "ids")]
        self.add_from_query(head, &mut found)?;
        Ok(Box::new(Ids::sent(found, sent.trace_parent)))
    }

    /// One pass over the headers instead of a look-up for each name.
    fn sent<'a>(&self, headers: &'a HeaderMap) -> Result<Sent<'a>, CorrelationError> {
        let mut sent = Sent::default();
        for (name, value) in headers {
            for kind in CorrelationKind::ALL {
                let slot = &mut sent.ids[kind as usize];
                let wanted = self.headers[kind as usize].as_ref();
                if wanted == Some(name) && slot.replace(value).is_some() {
                    return Err(repeated(kind.field()));
                }
            }
            if self.trace_context && *name == TRACEPARENT {
                sent.trace_parent = match sent.trace_parent {
                    None => Some(trace_parent(value)),
                    Some(_) => Some(Err(CorrelationErrorKind::Repeated)),
                };
            }
        }
        Ok(sent)
    }

    /// Updates the set of headers that are read, which shows without a search that a request has none.
    fn with_wanted_set(mut self) -> Self {
        let names = self.headers.iter().flatten();
        self.wanted = names.fold(HeaderSet::NONE, HeaderSet::and);
        if self.trace_context {
            self.wanted = self.wanted.and(&TRACEPARENT);
        }
        self
    }

    #[cfg(feature = "ids")]
    fn add_from_query(
        &self,
        head: &Parts,
        found: &mut [Option<RequestId>; 4],
    ) -> Result<(), CorrelationError> {
        let Some(wanted) = CorrelationKind::ALL
            .into_iter()
            .find(|kind| self.query[*kind as usize].is_some())
        else {
            return Ok(());
        };
        let Some(query) = head.uri.query() else {
            return Ok(());
        };
        if query.len() > Self::MAX_QUERY_LEN {
            return Err(CorrelationError {
                field: wanted.field(),
                kind: CorrelationErrorKind::QueryTooLong,
            });
        }
        let mut seen = [false; 4];
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            for kind in CorrelationKind::ALL {
                let slot = kind as usize;
                if self.query[slot].as_deref() != Some(name.as_ref()) {
                    continue;
                }
                let id = RequestId::for_field(kind.field(), &value)?;
                let differs = found[slot].as_ref().is_some_and(|known| *known != id);
                if seen[slot] || differs {
                    return Err(repeated(kind.field()));
                }
                seen[slot] = true;
                found[slot] = Some(id);
            }
        }
        Ok(())
    }
}

impl Default for CorrelationSources {
    fn default() -> Self {
        Self::new()
    }
}

/// The values that a request has for ids, as they were sent.
#[derive(Default)]
struct Sent<'a> {
    ids: [Option<&'a HeaderValue>; 4],
    trace_parent: Option<Result<TraceParent, CorrelationErrorKind>>,
}

fn repeated(field: &'static str) -> CorrelationError {
    CorrelationError {
        field,
        kind: CorrelationErrorKind::Repeated,
    }
}

fn trace_parent(value: &HeaderValue) -> Result<TraceParent, CorrelationErrorKind> {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let value = value.as_bytes();
    let start = value.iter().take_while(|byte| is_space(byte)).count();
    let end = value.iter().rev().take_while(|byte| is_space(byte)).count();
    value
        .get(start..value.len() - end)
        .and_then(TraceParent::parse)
        .ok_or(CorrelationErrorKind::Malformed)
}

fn from_header(kind: CorrelationKind, value: &HeaderValue) -> Result<RequestId, CorrelationError> {
    let text = std::str::from_utf8(value.as_bytes()).map_err(|_| CorrelationError {
        field: kind.field(),
        kind: CorrelationErrorKind::NotText,
    })?;
    // Optional white space is no part of a field's value (RFC 9110 section 5.5).
    let text = text.trim_matches([' ', '\t']);
    Ok(RequestId::for_field(kind.field(), text)?)
}
