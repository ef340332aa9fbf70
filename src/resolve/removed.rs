//! The headers that strategies removed from a request, until the operator is told.

use std::{borrow::Cow, net::IpAddr};

use http::{HeaderName, request::Parts};

use crate::{
    audit::{Audit, AuditEvent},
    strategy::Strategy,
    stripped::StripReason,
};

/// How many headers of one request and strategy have an event of their own: nobody can fill a
/// log with one request.
const MOST_TOLD: usize = 8;

/// What was removed, in order.
#[derive(Debug, Default)]
pub struct Removed {
    gone: Vec<Gone>,
}

#[derive(Debug)]
struct Gone {
    /// Its place in the list; two can have one name.
    by: usize,
    strategy: &'static str,
    header: HeaderName,
    reason: StripReason,
    wanted: Option<Box<str>>,
}

impl Removed {
    /// Has a strategy remove what it will.
    #[inline]
    pub(super) fn by<S: Strategy>(
        &mut self,
        strategy: &S,
        by: usize,
        head: &mut Parts,
        believed: bool,
    ) {
        strategy.scrub(head, believed, &mut |stripped| {
            self.gone.push(Gone {
                by,
                strategy: strategy.name(),
                header: stripped.header().clone(),
                reason: stripped.reason(),
                wanted: stripped.wanted().map(Box::from),
            });
        });
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.gone.is_empty()
    }

    #[cold]
    pub(crate) fn tell(&self, audit: &Audit, peer: Option<IpAddr>) {
        for gone in self.gone.chunk_by(|a, b| a.by == b.by) {
            let (told, rest) = gone.split_at(gone.len().min(MOST_TOLD));
            for (at, gone) in told.iter().enumerate() {
                let is_last = at + 1 == told.len();
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
