//! One limit, as it is configured.

use std::{fmt, sync::Arc, time::Duration};

use http::request::Parts;

use super::{
    counted::{Counted, Per},
    fields::Left,
    gcra::Rates,
    quota::{Quota, Rate},
    slots::{Slot, Slots},
    store::{LimitStore, OnUnavailable},
};
use crate::{config_error::ConfigError, context::UserContext};

/// A limit on what each subject may use; for
/// [`LayerBuilder::limit`](crate::middleware::LayerBuilder::limit).
///
/// The name is in responses and in the audit: 1 to 64 letters, digits, `-`, `_` or `.`.
#[must_use]
pub struct Limit {
    pub(super) name: Arc<str>,
    pub(super) quota: Quota,
    per: Per,
    remembers: usize,
    only: Option<Box<Condition>>,
    pub(super) counts: Counts,
}

type Condition = dyn Fn(&UserContext, &Parts) -> bool + Send + Sync;

/// Where the use is counted.
pub(super) enum Counts {
    /// Not yet: `build()` makes the tables of this process.
    Here,
    Rates(Rates),
    Slots(Arc<Slots>),
    Elsewhere(Arc<dyn LimitStore + Send + Sync>, OnUnavailable),
}

/// What a limit of this process answers.
pub(super) enum Answer {
    /// The limit is not one of this request.
    Passed,
    Counted(Option<Slot>, Left),
    UsedUp(Duration),
    /// The store has to be asked under this key.
    Ask(Arc<dyn LimitStore + Send + Sync>, OnUnavailable, String),
}

impl Limit {
    /// How many subjects a rate limit remembers by default.
    pub const DEFAULT_SUBJECTS: usize = 65_536;

    /// Limits how many requests a subject makes in a period.
    pub fn rate(name: impl Into<Arc<str>>, rate: Rate) -> Self {
        Self::new(name.into(), Quota::Rate(rate))
    }

    /// Limits how many scopes of a subject are open at once; zero is an error of `build()`.
    pub fn concurrency(name: impl Into<Arc<str>>, most: u32) -> Self {
        Self::new(name.into(), Quota::Concurrency { most })
    }

    fn new(name: Arc<str>, quota: Quota) -> Self {
        Self {
            name,
            quota,
            per: Per::Subject,
            remembers: Self::DEFAULT_SUBJECTS,
            only: None,
            counts: Counts::Here,
        }
    }

    /// Counts the subjects of one tenant together. A subject without a tenant counts by itself.
    pub fn per_tenant(mut self) -> Self {
        self.per = Per::Tenant;
        self
    }

    /// Applies the limit to the requests for which the closure returns true, such as those of a
    /// class of routes. By default it applies to all.
    ///
    /// ```
    /// use tower_user_scope::limit::Limit;
    ///
    /// let uploads = Limit::concurrency("uploads", 2)
    ///     .only(|_user, head| head.uri.path().starts_with("/uploads/"));
    /// # let _ = uploads;
    /// ```
    pub fn only(
        mut self,
        applies: impl Fn(&UserContext, &Parts) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.only = Some(Box::new(applies));
        self
    }

    /// Sets how many subjects a rate limit of this process remembers; see
    /// [`limit`](super#memory). Zero counts as one, and all are rounded up to a multiple of 8.
    pub fn remember(mut self, subjects: usize) -> Self {
        self.remembers = subjects;
        self
    }

    /// Counts in a store, such as Redis, instead of in this process. `on_unavailable` says what
    /// becomes of requests while the store is down. Limits that are given clones of one `Arc` are
    /// counted in one call ([`LimitStore::take_all`]).
    ///
    /// ```
    /// use std::{sync::Arc, time::Duration};
    /// use tower_user_scope::limit::{Limit, LimitStore, OnUnavailable, Rate};
    ///
    /// fn limit(store: Arc<impl LimitStore + Send + Sync + 'static>) -> Limit {
    ///     Limit::rate("requests", Rate::new(600, Duration::from_secs(60)))
    ///         .in_store(store, OnUnavailable::Refuse)
    /// }
    /// # struct Store;
    /// # impl LimitStore for Store {
    /// #     fn take(&self, _: String, _: tower_user_scope::limit::Quota) -> tower_user_scope::limit::TakeFuture {
    /// #         unimplemented!()
    /// #     }
    /// # }
    /// # let _ = limit(Arc::new(Store));
    /// ```
    pub fn in_store(
        mut self,
        store: Arc<impl LimitStore + Send + Sync + 'static>,
        on_unavailable: OnUnavailable,
    ) -> Self {
        self.counts = Counts::Elsewhere(store, on_unavailable);
        self
    }

    /// Checks the configuration, and makes what counts in this process.
    pub(super) fn prepare(&mut self) -> Result<(), ConfigError> {
        let name = self.name.as_bytes();
        let is_readable = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
        if name.is_empty() || name.len() > 64 || !name.iter().all(is_readable) {
            let name = self.name.to_string();
            return Err(ConfigError::LimitName { name });
        }
        if !self.quota.is_valid() {
            let name = self.name.to_string();
            return Err(ConfigError::LimitQuota { name });
        }
        if let Counts::Here = self.counts {
            self.counts = match &self.quota {
                Quota::Rate(rate) => Counts::Rates(Rates::new(rate, self.remembers)),
                Quota::Concurrency { most } => Counts::Slots(Arc::new(Slots::new(*most))),
            };
        }
        Ok(())
    }

    /// The place of the limit among others: what is given back comes before what is not, and this
    /// process before a store.
    pub(super) fn place(&self) -> (bool, bool) {
        let is_elsewhere = matches!(self.counts, Counts::Elsewhere(..));
        (is_elsewhere, matches!(self.quota, Quota::Rate(_)))
    }

    /// Counts a request.
    pub(super) fn take(&self, context: &UserContext, head: &Parts) -> Answer {
        if self.only.as_ref().is_some_and(|only| !only(context, head)) {
            return Answer::Passed;
        }
        let who = Counted::of(self.per, context, head);
        match &self.counts {
            Counts::Rates(rates) => match rates.take(&who) {
                Ok(left) => Answer::Counted(None, left),
                Err(wait) => Answer::UsedUp(wait),
            },
            Counts::Slots(slots) => match slots.take(who) {
                Some((slot, left)) => {
                    let left = Left {
                        remaining: left.into(),
                        reset: None,
                    };
                    Answer::Counted(Some(slot), left)
                }
                None => Answer::UsedUp(Duration::ZERO),
            },
            Counts::Elsewhere(store, rule) => {
                Answer::Ask(Arc::clone(store), *rule, who.key(&self.name, context))
            }
            Counts::Here => unreachable!("`build()` has prepared the limit"),
        }
    }
}

impl fmt::Debug for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limit")
            .field("name", &self.name)
            .field("quota", &self.quota)
            .field("per", &self.per)
            .finish_non_exhaustive()
    }
}
