//! Revocations that are remembered, for requests that begin after them.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use super::{Credential, Revocation, revocation::Whom};
use crate::{context::Subject, lifetime::EndReason};

/// The most revocations that are remembered.
pub(super) const MOST: usize = 100_000;

/// What was revoked, by whom it names.
#[derive(Default)]
pub(super) struct Revoked {
    /// Whether there is any: most services have none at most times.
    any: AtomicBool,
    all: RwLock<Remembered>,
}

#[derive(Default)]
struct Remembered {
    subjects: HashMap<Subject, Vec<Revocation>>,
    sessions: HashMap<Arc<str>, Vec<Revocation>>,
    tokens: HashMap<Arc<str>, Vec<Revocation>>,
    /// Until when each is remembered, in the order in which they came. One of another replica may come
    /// after others that are remembered for longer, and is forgotten with them.
    until: VecDeque<(Option<SystemTime>, Whom)>,
}

impl Revoked {
    /// Remembers a revocation until a time, or for ever. Returns whether there was room.
    pub(super) fn add(
        &self,
        revocation: &Revocation,
        now: SystemTime,
        until: Option<SystemTime>,
    ) -> bool {
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        while let Some((Some(until), whom)) = all.until.front() {
            if *until > now {
                break;
            }
            let whom = whom.clone();
            all.until.pop_front();
            all.forget_oldest(&whom);
        }
        if all.until.len() >= MOST {
            return false;
        }
        all.of(&revocation.whom).push(revocation.clone());
        all.until.push_back((until, revocation.whom.clone()));
        self.any.store(true, Ordering::SeqCst);
        true
    }

    /// Returns why a credential is no longer valid, if it was revoked.
    pub(super) fn find(
        &self,
        subject: &Subject,
        credential: Option<&Credential>,
    ) -> Option<EndReason> {
        if !self.any.load(Ordering::SeqCst) {
            return None;
        }
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        let session = credential.and_then(Credential::session_id);
        let token = credential.and_then(Credential::token_id);
        let found = [
            all.subjects.get(subject),
            session.and_then(|id| all.sessions.get(id)),
            token.and_then(|id| all.tokens.get(id)),
        ];
        let mut found = found.into_iter().flatten().flatten();
        found
            .find(|revocation| revocation.covers(credential))
            .map(|revocation| revocation.reason)
    }
}

impl Remembered {
    fn of(&mut self, whom: &Whom) -> &mut Vec<Revocation> {
        match whom {
            Whom::Subject(subject) => self.subjects.entry(subject.clone()).or_default(),
            Whom::Session(id) => self.sessions.entry(Arc::clone(id)).or_default(),
            Whom::Token(id) => self.tokens.entry(Arc::clone(id)).or_default(),
        }
    }

    fn forget_oldest(&mut self, whom: &Whom) {
        let of_whom = self.of(whom);
        drop(of_whom.remove(0));
        if !of_whom.is_empty() {
            return;
        }
        match whom {
            Whom::Subject(subject) => drop(self.subjects.remove(subject)),
            Whom::Session(id) => drop(self.sessions.remove(id)),
            Whom::Token(id) => drop(self.tokens.remove(id)),
        }
    }
}
