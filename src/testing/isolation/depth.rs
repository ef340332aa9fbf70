//! Decides when an exchange is cancelled.

use std::collections::HashMap;

/// Shares of an exchange's way are counted in thousandths.
pub(in crate::testing) const WHOLE: usize = 1_000;

/// How many polls exchanges took that came to their end, by request.
#[derive(Default)]
pub(in crate::testing) struct Depths(HashMap<String, usize>);

impl Depths {
    /// Remembers how many polls an exchange took that was completed.
    pub(in crate::testing) fn completed(&mut self, request: &str, polls: usize) {
        let longest = self.0.entry(request.to_owned()).or_default();
        *longest = polls.max(*longest);
    }

    /// Returns whether an exchange that is to be cancelled at this share of its way is there.
    /// None is, until one of its kind has been completed.
    pub(in crate::testing) fn is_reached(&self, request: &str, share: usize, polls: usize) -> bool {
        let longest = self.0.get(request);
        longest.is_some_and(|longest| polls >= longest * share / WHOLE)
    }
}
