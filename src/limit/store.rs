//! Counts that are kept elsewhere, such as on Redis for several replicas.

use std::{any::Any, fmt, future::Future, pin::Pin, time::Duration};

use super::{fields::Left, quota::Quota};
use crate::outcome::UnavailableError;

/// Counts the use of limits outside of this process, so that replicas share one count. With the feature
/// `redis`, `redis::RedisLimits` is one.
///
/// A store counts by keys, which it keeps apart from its other data by a prefix of its own. A key
/// names the limit and the subject: it is personal data, as the subject's id is.
///
/// - For [`Quota::Rate`], decide and count in one step at the store, by the store's clock: clocks of
///   replicas differ, and a count that is read and then written loses what others count meanwhile.
/// - For [`Quota::Concurrency`], give the slot an expiry that this process renews, so that the slots
///   of a replica that dies come back.
///
/// ```
/// use std::sync::{Arc, atomic::{AtomicU32, Ordering}};
/// use tower_user_scope::limit::{LimitStore, Quota, TakeFuture, Taken};
///
/// /// Counts all slots of all subjects together: for an example only.
/// #[derive(Clone, Default)]
/// struct Together(Arc<AtomicU32>);
///
/// /// Gives a slot back.
/// struct Slot(Together);
///
/// impl Drop for Slot {
///     fn drop(&mut self) {
///         self.0.0.fetch_sub(1, Ordering::SeqCst);
///     }
/// }
///
/// impl LimitStore for Together {
///     fn take(&self, _key: String, quota: Quota) -> TakeFuture {
///         let store = self.clone();
///         Box::pin(async move {
///             let Quota::Concurrency { most, .. } = quota else {
///                 return Ok(Taken::granted());
///             };
///             // Dropped again where it was one too many.
///             let before = store.0.fetch_add(1, Ordering::SeqCst);
///             let slot = Slot(store);
///             Ok(if before < most { Taken::granted().with_slot(slot) } else { Taken::refused() })
///         })
///     }
/// }
/// ```
pub trait LimitStore {
    /// Counts one request under a key, or says that it is above the quota.
    ///
    /// # Errors
    /// [`UnavailableError`] where the store can't be asked. A store that does not answer in time
    /// ([`time_limit`](crate::middleware::LayerBuilder::time_limit)) counts as one that can't.
    fn take(&self, key: String, quota: Quota) -> TakeFuture;

    /// Counts one request under several keys: those of a layer's limits that are in this store, those of
    /// open scopes first. Returns an answer for each key, in their order, up to the first one that is
    /// above its quota.
    ///
    /// By default the keys are taken one after the other: where one is above its quota, the slots of
    /// those before it are given back, and what their rates have counted is not. A store that can count
    /// under all keys or none in one step does that.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    fn take_all(&self, keys: Vec<(String, Quota)>) -> TakeAllFuture {
        let asked = keys.into_iter().map(|(key, quota)| self.take(key, quota));
        let asked: Vec<_> = asked.collect();
        Box::pin(async move {
            let mut answers = Vec::with_capacity(asked.len());
            for answer in asked {
                let answer = answer.await?;
                let is_refused = answer.outcome.is_err();
                answers.push(answer);
                if is_refused {
                    break;
                }
            }
            Ok(answers)
        })
    }
}

/// What [`LimitStore::take_all`] returns.
pub type TakeAllFuture = Pin<Box<dyn Future<Output = Result<Vec<Taken>, UnavailableError>> + Send>>;

/// What [`LimitStore::take`] returns.
pub type TakeFuture = Pin<Box<dyn Future<Output = Result<Taken, UnavailableError>> + Send>>;

/// The answer of a [`LimitStore`].
pub struct Taken {
    pub(super) outcome: Result<(), Duration>,
    pub(super) slot: Option<Box<dyn Any + Send + Sync>>,
    pub(super) left: Option<Left>,
}

impl Taken {
    /// The request is within the quota and was counted.
    #[must_use]
    pub fn granted() -> Self {
        Self {
            outcome: Ok(()),
            slot: None,
            left: None,
        }
    }

    /// The request is above the quota and was not counted.
    #[must_use]
    pub fn refused() -> Self {
        Self {
            outcome: Err(Duration::ZERO),
            slot: None,
            left: None,
        }
    }

    /// Says after how long the next request is allowed, if the request was refused. Responses have
    /// it in whole seconds, at least one.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.outcome = self.outcome.map_err(|_| wait);
        self
    }

    /// Says how many requests or scopes the subject has left, and for a rate after how long it has all of
    /// them again. Responses have it where the layer
    /// [returns its limits](crate::middleware::LayerBuilder::return_rate_limits).
    #[must_use]
    pub fn with_remaining(mut self, remaining: u64, reset: Option<Duration>) -> Self {
        self.left = Some(Left { remaining, reset });
        self
    }

    /// Adds what is dropped when the scope closes, which gives the slot back.
    #[must_use]
    pub fn with_slot(mut self, slot: impl Any + Send + Sync) -> Self {
        self.slot = Some(Box::new(slot));
        self
    }
}

impl fmt::Debug for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Taken")
            .field("outcome", &self.outcome)
            .field("slot", &self.slot.is_some())
            .field("left", &self.left)
            .finish()
    }
}

/// What becomes of a request whose limit can't be checked, because its store is down.
///
/// There is no default: one choice stops the service with its store, and the other gives every
/// user all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OnUnavailable {
    /// The request goes on as if it were within the limit, with an audit event
    /// ([`AuditEvent::LimitSkipped`](crate::audit::AuditEvent::LimitSkipped)).
    Allow,
    /// The request is refused with 503.
    Refuse,
}
