//! Looks at each response for what its reader must not see.

use std::collections::BTreeMap;

use http::{HeaderMap, Request, header::CONTENT_ENCODING};
use tower::Service;

use super::{
    decode::unpacked,
    exchange::{Answer, End, Exchange},
    marks::{Marks, Sighting},
    user::TestUser,
};
use crate::testing::{Finding, Location};

/// What was seen so far, and by whom.
pub(super) struct Observed<'a> {
    users: &'a [TestUser],
    ids_are_public: bool,
    /// Whether somebody saw an id or a secret of their own that is looked for.
    saw_own: bool,
    /// Refusals and failures by their text.
    refusals: BTreeMap<String, usize>,
}

impl<'a> Observed<'a> {
    pub(super) fn new(users: &'a [TestUser], ids_are_public: bool) -> Self {
        Self {
            users,
            ids_are_public,
            saw_own: false,
            refusals: BTreeMap::new(),
        }
    }

    /// Looks at an exchange that is over, also at what one read that was cancelled or that failed.
    pub(super) fn look_at<S: Service<Request<B>>, B, R>(
        &mut self,
        reader: usize,
        step: usize,
        exchange: &Exchange<S, B, R>,
        end: &End,
    ) -> Vec<Finding> {
        let mut findings = self.look_at_answer(reader, step, &exchange.request, &exchange.answer);
        let name = || self.users[reader].id().to_owned();
        let unfinished = |state: String| Finding::Unfinished {
            reader: name(),
            request: exchange.request.clone(),
            state,
            frames: exchange.answer.frames,
        };
        match end {
            End::Panicked(message) => findings.push(Finding::Panicked {
                reader: name(),
                request: exchange.request.clone(),
                message: message.clone(),
            }),
            End::Endless => findings.push(unfinished("still sends".to_owned())),
            End::TimedOut(waits_for) => findings.push(unfinished(format!("waits for {waits_for}"))),
            End::Failed(error) => self.refused(error.clone()),
            End::Completed | End::Cancelled => {}
        }
        findings
    }

    /// Looks at what a client got.
    pub(super) fn look_at_answer(
        &mut self,
        reader: usize,
        step: usize,
        request: &str,
        answer: &Answer,
    ) -> Vec<Finding> {
        let mut findings = Vec::new();
        let marks = Marks::of(self.users);
        let mut look = |place: String, bytes: &[u8]| {
            for sighting in marks.seen_in(bytes) {
                if sighting.owner == Some(reader) {
                    self.saw_own |= sighting.what != "id" || !self.ids_are_public;
                } else if sighting.what != "id" || !self.ids_are_public {
                    let location = Location {
                        step,
                        request: request.to_owned(),
                        status: answer.status,
                        place: place.clone(),
                        excerpt: sighting.excerpt.clone(),
                    };
                    findings.push(foreign_bytes(self.users, reader, sighting, location));
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
        look("body".to_owned(), &body(answer));
        if !answer.is_success() {
            let status = answer.status.map(|status| status.to_string());
            let reason = [status, answer.refusal.clone()]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>();
            if !reason.is_empty() {
                self.refused(reason.join(", "));
            }
        }
        findings
    }

    /// Returns why the check could not have found a leak, if that is so.
    pub(super) fn shows_nothing(&self, succeeded: usize, has_recorder: bool) -> Option<String> {
        if succeeded == 0 {
            let mut reasons: Vec<_> = self.refusals.iter().collect();
            reasons.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
            let reasons = reasons
                .into_iter()
                .take(5)
                .map(|(text, count)| format!("{count} times {text}"));
            let reasons: Vec<String> = reasons.collect();
            return Some(format!("no request succeeded: {}", reasons.join("; ")));
        }
        let has_secrets = self.users.iter().any(|user| !user.secrets().is_empty());
        match (self.saw_own, self.ids_are_public, has_secrets) {
            (true, ..) => None,
            // The layer's events are what is checked.
            (false, true, false) if has_recorder => None,
            (false, true, false) => Some(
                "ids are public and no user has a secret: give each one to the service, with \
                 `TestUser::secret`"
                    .to_owned(),
            ),
            (false, _, true) => Some("nobody saw even a secret of their own".to_owned()),
            (false, false, false) => Some(
                "nobody saw even an id of their own: let the service answer with it, or give each \
                 user a secret with `TestUser::secret`"
                    .to_owned(),
            ),
        }
    }

    fn refused(&mut self, reason: String) {
        *self.refusals.entry(reason).or_default() += 1;
    }
}

/// Returns the body without its `content-encoding`.
pub(super) fn body(answer: &Answer) -> std::borrow::Cow<'_, [u8]> {
    let encoding = |headers: &'_ HeaderMap| {
        headers
            .get(CONTENT_ENCODING)
            .map(|value| value.as_bytes().to_owned())
    };
    unpacked(&answer.body, encoding(&answer.headers).as_deref())
}

fn foreign_bytes(
    users: &[TestUser],
    reader: usize,
    sighting: Sighting,
    location: Location,
) -> Finding {
    Finding::ForeignBytes {
        reader: users[reader].id().to_owned(),
        owner: sighting.owner.map(|owner| users[owner].id().to_owned()),
        what: sighting.what,
        form: sighting.form,
        location,
    }
}
