//! Identity headers that a request announces as trailer fields.

use http::{header, request::Parts};

use super::list::private::List;
use crate::header_set::{HeaderSet, fold_alike};

/// Returns the strategy that reads a header of a name which the request announces as a trailer
/// field (RFC 9110 section 6.6.2), or of one that an upstream would fold into it.
///
/// Trailers arrive after the layer has decided, so nothing can be removed from them.
pub(super) fn strategy_of_announced<L: List>(
    list: &L,
    head: &Parts,
    sent: HeaderSet,
) -> Option<&'static str> {
    if !sent.meets(HeaderSet::TRAILER) || !head.headers.contains_key(header::TRAILER) {
        return None;
    }
    let fields = head.headers.get_all(header::TRAILER).iter();
    let announced: Vec<Vec<u8>> = fields
        .flat_map(|field| field.as_bytes().split(|byte| *byte == b','))
        .map(|name| name.trim_ascii().to_ascii_lowercase())
        .collect();
    let mut first = None;
    list.each(&mut |strategy| {
        let names = strategy.headers().unwrap_or_default();
        let is_read = |name: &Vec<u8>| {
            let mut names = names.iter();
            names.any(|ours| fold_alike(ours.as_str().as_bytes(), name))
        };
        if first.is_none() && announced.iter().any(is_read) {
            first = Some(strategy.name());
        }
    });
    first
}
