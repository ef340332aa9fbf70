//! Looks at each response for what its reader must not see.

use std::{borrow::Cow, collections::BTreeMap};

use http::{HeaderValue, header::CONTENT_ENCODING};

use super::{
    decode::{Decoders, unpacked},
    exchange::{Answer, End},
    marks::Marks,
    user::TestUser,
};
use crate::testing::{Finding, Location};

/// A request, what came back, and how it ended.
pub(in crate::testing) type Seen<'a> = (&'a str, &'a Answer, &'a End);

/// What was seen so far.
pub(in crate::testing) struct Observed {
    ids_are_public: bool,
    decoders: Decoders,
    /// Whether somebody saw an id or a secret of their own that is looked for.
    saw_own: bool,
    /// Refusals and failures by their text.
    refusals: BTreeMap<String, usize>,
}

impl Observed {
    pub(in crate::testing) fn new(ids_are_public: bool, decoders: Decoders) -> Self {
        Self {
            ids_are_public,
            decoders,
            saw_own: false,
            refusals: BTreeMap::new(),
        }
    }

    /// Looks at an exchange that is over, also at what one read that was cancelled or that failed.
    /// `reader` is the number of a user and that of the user's request.
    pub(in crate::testing) fn look_at(
        &mut self,
        users: &[TestUser],
        (reader, step): (usize, usize),
        is_shared: bool,
        (request, answer, end): Seen<'_>,
    ) -> Vec<Finding> {
        let ids_are_public = is_shared || self.ids_are_public;
        let mut findings =
            self.foreign_bytes(users, (reader, step), ids_are_public, request, answer);
        let name = || users[reader].id().to_owned();
        let unfinished = |state: String| Finding::Unfinished {
            reader: name(),
            request: request.to_owned(),
            state,
            frames: answer.frames,
        };
        match end {
            End::Panicked(message) => findings.push(Finding::Panicked {
                reader: name(),
                request: request.to_owned(),
                message: message.clone(),
            }),
            End::Endless => findings.push(unfinished("still sends".to_owned())),
            End::TimedOut(waits_for) => findings.push(unfinished(format!("waits for {waits_for}"))),
            End::Failed(error) => self.refused(error.clone()),
            End::Completed if !answer.is_success() => {
                let status = answer.status.map(|status| status.to_string());
                let reason = [status, answer.refusal.clone()].into_iter().flatten();
                self.refused(reason.collect::<Vec<_>>().join(", "));
            }
            End::Completed | End::Cancelled => {}
        }
        findings
    }

    fn foreign_bytes(
        &mut self,
        users: &[TestUser],
        (reader, step): (usize, usize),
        ids_are_public: bool,
        request: &str,
        answer: &Answer,
    ) -> Vec<Finding> {
        let mut findings = Vec::new();
        let marks = Marks::of(users);
        let mut look = |place: String, bytes: &[u8]| {
            let as_is = marks.seen_in(bytes).into_iter();
            let decoded = self
                .decoders
                .decoded(bytes)
                .flat_map(|plain| marks.seen_in(&plain));
            for sighting in as_is.chain(decoded) {
                let is_looked_for = sighting.what != "id" || !ids_are_public;
                if sighting.owner == Some(reader) {
                    self.saw_own |= is_looked_for;
                } else if is_looked_for {
                    findings.push(Finding::ForeignBytes {
                        reader: users[reader].id().to_owned(),
                        owner: sighting.owner.map(|owner| users[owner].id().to_owned()),
                        what: sighting.what,
                        form: sighting.form,
                        location: Location {
                            step,
                            request: request.to_owned(),
                            status: answer.status,
                            place: place.clone(),
                            excerpt: sighting.excerpt,
                        },
                    });
                }
            }
        };
        for (kind, headers) in [("header", &answer.headers), ("trailer", &answer.trailers)] {
            for (name, value) in headers {
                look(format!("{kind} {name}"), value.as_bytes());
                look(
                    format!("the name of {kind} {name}"),
                    name.as_str().as_bytes(),
                );
            }
        }
        look("body".to_owned(), &unpacked_body(answer));
        findings
    }

    /// Returns why the check shows nothing, where no request succeeded.
    pub(in crate::testing) fn no_success(&self, succeeded: usize) -> Option<String> {
        let mut reasons: Vec<_> = self.refusals.iter().collect();
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let reasons = reasons
            .into_iter()
            .take(5)
            .map(|(text, count)| format!("{count} times {text}"));
        let reasons: Vec<String> = reasons.collect();
        (succeeded == 0).then(|| format!("no request succeeded: {}", reasons.join("; ")))
    }

    /// Returns why nothing could be found by looking for ids and secrets, if that is so.
    pub(in crate::testing) fn nothing_of_own(
        &self,
        users: &[TestUser],
        has_recorder: bool,
    ) -> Option<String> {
        let has_secrets = users.iter().any(|user| !user.secrets().is_empty());
        let reason = match (self.saw_own, self.ids_are_public, has_secrets) {
            (true, ..) => return None,
            // The layer's events are what is checked.
            (false, true, false) if has_recorder => return None,
            (false, true, false) => {
                "ids are public and no user has a secret: give each one to the service, with \
                 `TestUser::secret`"
            }
            (false, _, true) => "nobody saw even a secret of their own",
            (false, false, false) => {
                "nobody saw even an id of their own: let the service answer with it, or give each \
                 user a secret with `TestUser::secret`"
            }
        };
        Some(reason.to_owned())
    }

    fn refused(&mut self, reason: String) {
        *self.refusals.entry(reason).or_default() += 1;
    }
}

/// Returns the body without its `content-encoding`.
pub(in crate::testing) fn unpacked_body(answer: &Answer) -> Cow<'_, [u8]> {
    let encoding = answer.headers.get(CONTENT_ENCODING);
    unpacked(&answer.body, encoding.map(HeaderValue::as_bytes))
}
