//! The registry of open scopes.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use http::{Method, Uri, request::Parts};
use thiserror::Error;

use super::{
    Credential, Revocation,
    follow::Feed,
    message::{MAX_LEN, Message},
    revocation::Whom,
    revoked::{MOST, Revoked},
};
use crate::{
    clock::{Clock, SystemClock},
    context::{Subject, UserContext},
    lifetime::{EndReason, Lifetime},
    sharded::{Key, Sharded},
};

/// The open scopes of the layers that were given it. Clones are the same registry.
///
/// It has as many entries as there are scopes open, and remembers at most
/// [`MAX_REVOCATIONS`](Self::MAX_REVOCATIONS) revocations.
#[derive(Clone)]
pub struct OpenScopes {
    pub(super) registry: Arc<Registry>,
}

pub(super) struct Registry {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) keep_for: Duration,
    revoked: Revoked,
    next: AtomicU64,
    open: Sharded<Subject, Vec<Entry>>,
    pub(super) feed: OnceLock<Feed>,
    /// Whether a message of the feed could not be read.
    pub(super) has_skipped: AtomicBool,
}

/// A scope that is open.
#[derive(Clone)]
pub struct OpenScope {
    context: UserContext,
    since: SystemTime,
    method: Method,
    uri: Uri,
}

struct Entry {
    number: u64,
    scope: OpenScope,
}

/// An entry, until it is dropped.
pub(crate) struct Registered {
    registry: Arc<Registry>,
    subject: Key<Subject>,
    number: u64,
}

/// A revocation could not be remembered: the open scopes have ended, and requests that begin later are
/// not refused by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{limit} revocations are remembered already; {ended} open scopes were ended")]
#[non_exhaustive]
pub struct TooManyRevocationsError {
    /// How many may be remembered.
    pub limit: usize,
    /// How many open scopes were ended.
    pub ended: usize,
}

impl OpenScopes {
    /// How many revocations are remembered at a time.
    pub const MAX_REVOCATIONS: usize = MOST;

    /// The most bytes of a message that is published in a
    /// [`RevocationFeed`](super::RevocationFeed), and of one that is read.
    pub const MAX_MESSAGE: usize = MAX_LEN;

    /// Creates a registry that remembers each revocation for this long. It has to be at least as long
    /// as credentials live: a token that outlives its revocation is good again.
    #[must_use]
    pub fn new(keep_for: Duration) -> Self {
        Self::with_clock(keep_for, SystemClock)
    }

    /// As [`new`](Self::new), by a clock of the application's or a test's.
    #[must_use]
    pub fn with_clock(keep_for: Duration, clock: impl Clock + 'static) -> Self {
        Self {
            registry: Arc::new(Registry {
                clock: Arc::new(clock),
                keep_for,
                revoked: Revoked::default(),
                next: AtomicU64::new(0),
                open: Sharded::new(),
                feed: OnceLock::new(),
                has_skipped: AtomicBool::new(false),
            }),
        }
    }

    /// Returns how many scopes a subject has open: whether it is here.
    #[must_use]
    pub fn count(&self, subject: &Subject) -> usize {
        let open = &self.registry.open;
        let subject = open.key(subject.clone());
        open.with(&subject, |scopes| scopes.get(&subject).map_or(0, Vec::len))
    }

    /// Returns how many scopes are open, of all subjects.
    #[must_use]
    pub fn total(&self) -> usize {
        let mut total = 0;
        self.registry.open.each(|scopes| total += scopes.len());
        total
    }

    /// Returns the open scopes, at most so many, in no order.
    #[must_use]
    pub fn list(&self, most: usize) -> Vec<OpenScope> {
        let mut list = Vec::new();
        self.registry.open.each(|scopes| {
            let left = most - list.len();
            list.extend(scopes.iter().take(left).map(|entry| entry.scope.clone()));
        });
        list
    }

    /// Revokes credentials: refuses requests that begin with them from now on, and ends the scopes that
    /// they have opened. Returns how many scopes it ended here. With a [feed](Self::with_feed), other
    /// replicas do the same as soon as the feed has brought it to them; see
    /// [`published`](Self::published).
    ///
    /// # Errors
    /// [`TooManyRevocationsError`] where no more can be remembered.
    pub fn revoke(&self, revocation: Revocation) -> Result<usize, TooManyRevocationsError> {
        let registry = &self.registry;
        let now = registry.clock.now();
        let revocation = revocation.at(now);
        let until = now.checked_add(registry.keep_for);
        let (ended, mut fits) = registry.apply(&revocation, now, until);
        if let Some(feed) = registry.feed.get() {
            fits &= feed.send(&Message {
                origin: feed.origin,
                revoked_at: now,
                revocation,
            });
        }
        if fits {
            Ok(ended)
        } else {
            let limit = Self::MAX_REVOCATIONS;
            Err(TooManyRevocationsError { limit, ended })
        }
    }

    /// Adds a scope that is about to open, or returns why its credential is no longer valid.
    pub(crate) fn register(
        &self,
        context: &UserContext,
        head: &Parts,
    ) -> Result<Registered, EndReason> {
        let registry = &self.registry;
        let number = registry.next.fetch_add(1, Ordering::Relaxed);
        let subject = registry.open.key(context.subject().clone());
        let scope = OpenScope {
            context: context.clone(),
            since: registry.clock.now(),
            method: head.method.clone(),
            uri: head.uri.clone(),
        };
        registry.open.with(&subject, |scopes| {
            let of_subject = scopes.entry(subject.clone()).or_default();
            of_subject.push(Entry { number, scope });
        });
        let registered = Registered {
            registry: Arc::clone(registry),
            subject,
            number,
        };
        // Looked at after it is registered: a revocation that comes in between finds the scope.
        match self.why_revoked(context) {
            Some(reason) => Err(reason),
            None => Ok(registered),
        }
    }

    /// Returns why a context's credential is no longer valid, if it was revoked.
    pub(crate) fn why_revoked(&self, context: &UserContext) -> Option<EndReason> {
        let credential = context.attributes().get::<Credential>();
        let revoked = &self.registry.revoked;
        revoked.find(context.subject(), credential)
    }
}

impl Registry {
    /// Remembers a revocation, and ends the scopes that it is about. Returns how many, and whether it
    /// could be remembered.
    pub(super) fn apply(
        &self,
        revocation: &Revocation,
        now: SystemTime,
        until: Option<SystemTime>,
    ) -> (usize, bool) {
        // Remembered first: a request that is not found among the open ones finds it.
        let fits = self.revoked.add(revocation, now, until);
        let mut lives = Vec::new();
        let mut collect = |entry: &Entry| {
            let context = &entry.scope.context;
            let life = context.life().get();
            // That of the renewal, if there was one.
            let renewed = life.and_then(Lifetime::credential);
            let renewed = renewed.as_deref().and_then(|it| it.downcast_ref());
            let credential = renewed.or_else(|| context.attributes().get::<Credential>());
            if revocation.names(context.subject(), credential) && revocation.covers(credential) {
                lives.extend(life.cloned());
            }
        };
        match &revocation.whom {
            Whom::Subject(subject) => {
                let subject = self.open.key(subject.clone());
                self.open.with(&subject, |scopes| {
                    let of_subject = scopes.get(&subject).into_iter();
                    of_subject.flatten().for_each(&mut collect);
                });
            }
            Whom::Session(_) | Whom::Token(_) => {
                self.open
                    .each(|scopes| scopes.iter().for_each(&mut collect));
            }
        }
        // Outside of the locks: this wakes the scopes' tasks.
        for life in &lives {
            life.end_as(revocation.reason);
        }
        (lives.len(), fits)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let closed = self.registry.open.with(&self.subject, |scopes| {
            let of_subject = scopes.get_mut(&self.subject)?;
            let place = (of_subject.iter()).position(|entry| entry.number == self.number)?;
            let closed = of_subject.swap_remove(place);
            if of_subject.is_empty() {
                scopes.remove(&self.subject);
            }
            Some(closed)
        });
        // Outside of the lock: the last reference to a context drops the application's attributes.
        drop(closed);
    }
}

impl OpenScope {
    /// Returns the context of the scope.
    #[must_use]
    pub fn context(&self) -> &UserContext {
        &self.context
    }

    /// Returns since when it is open.
    #[must_use]
    pub fn since(&self) -> SystemTime {
        self.since
    }

    /// Returns the method of its request.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// Returns the path of its request, without the query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.uri.path()
    }
}

impl fmt::Debug for OpenScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenScope")
            .field("context", &self.context)
            .field("since", &self.since)
            .field("method", &self.method)
            .field("path", &self.path())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for OpenScopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenScopes")
            .field("total", &self.total())
            .finish_non_exhaustive()
    }
}
