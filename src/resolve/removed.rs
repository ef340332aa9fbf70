//! The headers that strategies removed from a request, until they are reported.

use std::{borrow::Cow, net::IpAddr};

use http::{HeaderName, request::Parts};

use crate::{
    audit::{Audit, AuditEvent},
    strategy::Strategy,
    stripped::StripReason,
};

/// How many headers of one request and strategy are reported in an event of their own, so that no
/// request can fill a log.
const MOST_REPORTED: usize = 8;

/// The removed headers, in order.
#[derive(Debug, Default)]
pub struct Removed {
    headers: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    /// The strategy's place in the list, since two can have one name.
    place: usize,
    strategy: &'static str,
    header: HeaderName,
    reason: StripReason,
    wanted: Option<Box<str>>,
}

impl Removed {
    /// Lets a strategy remove headers.
    #[inline]
    pub(super) fn remove_by<S: Strategy>(
        &mut self,
        strategy: &S,
        place: usize,
        head: &mut Parts,
        believed: bool,
    ) {
        strategy.scrub(head, believed, &mut |stripped| {
            self.headers.push(Entry {
                place,
                strategy: strategy.name(),
                header: stripped.header().clone(),
                reason: stripped.reason(),
                wanted: stripped.wanted().map(Box::from),
            });
        });
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.headers.is_empty()
    }

    #[cold]
    pub(crate) fn report(&self, audit: &Audit, peer: Option<IpAddr>) {
        for headers in self.headers.chunk_by(|a, b| a.place == b.place) {
            let (reported, rest) = headers.split_at(headers.len().min(MOST_REPORTED));
            for (at, gone) in reported.iter().enumerate() {
                let is_last = at + 1 == reported.len();
                audit.emit(&AuditEvent::HeaderStripped {
                    strategy: gone.strategy,
                    header: Cow::Borrowed(&gone.header),
                    reason: gone.reason,
                    peer,
                    wanted: gone.wanted.as_deref().map(Cow::Borrowed),
                    more: if is_last { rest.len() } else { 0 },
                });
            }
        }
    }
}
