//! Counts of limits that replicas share.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use redis::{Client, Script};
use sha2::{Digest, Sha256};

use super::{leases::Leases, link::Link};
use crate::{
    limit::{LimitStore, Quota, TakeAllFuture, TakeFuture, Taken},
    outcome::UnavailableError,
};

/// Counts the use of [limits](crate::limit) in Redis 6.2 or later, or Valkey, so that replicas share one
/// count.
///
/// All limits of a layer that are [in one store](crate::limit::Limit::in_store) are counted by one
/// script, all or none, by the server's clock. A rate is exact to two microseconds, and one of more
/// than a million requests a second counts as that. Each key has an expiry, and the SHA-256 of a limit
/// and a subject instead of their names.
///
/// A slot of a concurrency limit is a lease, which this process renews while the scope is open, and
/// gives back when it closes. The leases of a process that dies end after
/// [`lease_time`](Self::lease_time). Where Redis is away for longer than that, or loses its data, other
/// replicas see the slots of this one as free until it has renewed them.
///
/// Give each layer a store, or its limits other names: limits of one name in one store are counted
/// together.
///
/// ```
/// use std::{sync::Arc, time::Duration};
/// use tower_user_scope::{
///     ExistingContext, UserScopeLayer,
///     limit::{Limit, OnUnavailable, Rate},
///     redis::RedisLimits,
/// };
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let client = redis::Client::open("redis://127.0.0.1/")?;
/// let redis = Arc::new(RedisLimits::new(client, "shop:limits"));
/// let layer = UserScopeLayer::builder()
///     .strategy(ExistingContext::new())
///     .limit(
///         Limit::rate("requests", Rate::new(600, Duration::from_secs(60)))
///             .in_store(Arc::clone(&redis), OnUnavailable::Allow),
///     )
///     .limit(
///         Limit::concurrency("event-streams", 4)
///             .only(|_user, head| head.uri.path().starts_with("/events"))
///             .in_store(redis, OnUnavailable::Refuse),
///     )
///     .context_only()
///     .build()?;
/// # let _ = layer;
/// # Ok(())
/// # }
/// ```
pub struct RedisLimits {
    client: Client,
    prefix: String,
    lease_time: Duration,
    time_limit: Duration,
    shared: OnceLock<Arc<Shared>>,
}

struct Shared {
    link: Arc<Link>,
    leases: Arc<Leases>,
    script: Script,
}

impl RedisLimits {
    /// Creates a store whose keys begin with this prefix, the same on all replicas of a service. It
    /// connects when it is used.
    #[must_use]
    pub fn new(client: Client, prefix: impl Into<String>) -> Self {
        Self {
            client,
            prefix: prefix.into(),
            lease_time: Duration::from_secs(30),
            time_limit: Duration::from_secs(1),
            shared: OnceLock::new(),
        }
    }

    /// Sets how long the lease of a slot lives without being renewed, from 1 second to a day; 30 seconds
    /// by default. It is renewed three times in this time. Give all replicas the same.
    #[must_use]
    pub fn lease_time(mut self, time: Duration) -> Self {
        self.lease_time = time.clamp(Duration::from_secs(1), Duration::from_secs(86_400));
        self
    }

    /// Sets how long a call may take, and how long connecting may; 1 second by default. After that
    /// Redis counts as down. A longer limit than the layer's
    /// [`time_limit`](crate::middleware::LayerBuilder::time_limit) has no effect.
    #[must_use]
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = limit;
        self
    }

    fn shared(&self) -> &Arc<Shared> {
        self.shared.get_or_init(|| {
            let link = Arc::new(Link::new(self.client.clone(), self.time_limit));
            Arc::new(Shared {
                leases: Leases::new(Arc::clone(&link), self.lease_time),
                link,
                script: Script::new(include_str!("take.lua")),
            })
        })
    }

    fn key(&self, key: &str, quota: &Quota) -> Arc<str> {
        let kind = match quota {
            Quota::Rate(_) => "rate",
            Quota::Concurrency { .. } => "open",
        };
        let hash = Sha256::digest(key);
        let hash = hash
            .iter()
            .take(16)
            .fold(String::new(), |hash, byte| format!("{hash}{byte:02x}"));
        format!("{}:{kind}:{hash}", self.prefix).into()
    }
}

impl LimitStore for RedisLimits {
    fn take(&self, key: String, quota: Quota) -> TakeFuture {
        let taken = self.take_all(vec![(key, quota)]);
        Box::pin(async move { Ok(taken.await?.pop().unwrap_or_else(Taken::refused)) })
    }

    fn take_all(&self, claims: Vec<(String, Quota)>) -> TakeAllFuture {
        let shared = Arc::clone(self.shared());
        let claims = claims
            .into_iter()
            .map(|(key, quota)| (self.key(&key, &quota), quota));
        let claims = claims.collect();
        Box::pin(async move { shared.take(claims).await })
    }
}

impl Shared {
    async fn take(&self, claims: Vec<(Arc<str>, Quota)>) -> Result<Vec<Taken>, UnavailableError> {
        let mut connected = self.link.connect().await?;
        let slots = claims
            .iter()
            .filter(|(_, quota)| matches!(quota, Quota::Concurrency { .. }));
        // Given back if this future is dropped, because Redis may have granted it.
        let lease = self
            .leases
            .prepare(slots.map(|(key, _)| Arc::clone(key)).collect());
        let given_back = self.leases.given_back_of(&lease);
        let mut call = self.script.prepare_invoke();
        call.arg(claims.len())
            .arg(lease.id())
            .arg(self.leases.time().as_millis().to_string());
        for (key, quota) in &claims {
            call.key(&**key);
            match quota {
                Quota::Rate(rate) => {
                    let period = rate.period().as_secs_f64() * 1e6;
                    let interval = (period / f64::from(rate.most())).max(1.0);
                    let tolerance = interval * f64::from(rate.burst());
                    call.arg("rate").arg(interval).arg(tolerance);
                }
                Quota::Concurrency { most, .. } => {
                    call.arg("open").arg(*most).arg(0);
                }
            }
        }
        for (key, id) in &given_back {
            call.key(&**key).arg(&**id);
        }
        let answer = call.invoke_async(&mut connected.connection).await;
        let answer: Vec<u64> = self.link.answered(connected.number(), answer).await?;
        self.leases.forget(&given_back);
        match *answer {
            [0, _, ref left @ ..] => {
                let mut lease = lease.hold();
                let answers = claims.iter().zip(left.chunks(2)).map(|((_, quota), left)| {
                    let (remaining, reset) = match *left {
                        [remaining, reset] => (remaining, reset),
                        _ => (0, 0),
                    };
                    let reset = Duration::from_micros(reset);
                    let is_rate = matches!(quota, Quota::Rate(_));
                    let taken =
                        Taken::granted().with_remaining(remaining, is_rate.then_some(reset));
                    match lease.take() {
                        Some(lease) => taken.with_slot(lease),
                        None => taken,
                    }
                });
                Ok(answers.collect())
            }
            [number, wait, ..] => {
                lease.forget();
                let before = (1..number).map(|_| Taken::granted());
                let refused = Taken::refused().with_retry_after(Duration::from_micros(wait));
                Ok(before.chain([refused]).collect())
            }
            _ => Ok(Vec::new()),
        }
    }
}

/// Without the client, whose address may have a password.
impl fmt::Debug for RedisLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisLimits")
            .field("prefix", &self.prefix)
            .field("lease_time", &self.lease_time)
            .field("time_limit", &self.time_limit)
            .finish_non_exhaustive()
    }
}
