//! Where an identifier comes from when the client sent none.

use std::{fmt, sync::Arc};

use super::RequestId;

/// Makes the ids that a client did not send.
///
/// An id is made when somebody first asks for it, so a request whose ids nobody reads pays
/// nothing for them.
#[derive(Clone)]
pub struct IdSource(Source);

#[derive(Clone)]
enum Source {
    #[cfg(feature = "ids")]
    UuidV7,
    #[cfg(not(feature = "ids"))]
    Process,
    Custom(Arc<dyn Fn() -> RequestId + Send + Sync>),
}

/// [`uuid_v7`](IdSource::uuid_v7) with the feature `ids`. Without it, ids begin with 128 random
/// bits of the process and count from there: unique, and in order within a process.
impl Default for IdSource {
    fn default() -> Self {
        #[cfg(feature = "ids")]
        return Self::uuid_v7();
        #[cfg(not(feature = "ids"))]
        return Self(Source::Process);
    }
}

impl IdSource {
    /// Version 7 UUIDs (RFC 9562 section 5.7): unique across processes, and within a process
    /// each sorts after the one before it.
    #[cfg(feature = "ids")]
    #[cfg_attr(docsrs, doc(cfg(feature = "ids")))]
    #[must_use]
    pub const fn uuid_v7() -> Self {
        Self(Source::UuidV7)
    }

    /// Ids from the application's own generator.
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU64, Ordering};
    /// use tower_user_scope::context::{IdSource, RequestId};
    ///
    /// let next = AtomicU64::new(1);
    /// let source = IdSource::from_fn(move || {
    ///     let text = format!("node-7.{}", next.fetch_add(1, Ordering::Relaxed));
    ///     RequestId::try_from(text).expect("digits and a fixed prefix are a valid id")
    /// });
    /// # let _ = source;
    /// ```
    pub fn from_fn(make: impl Fn() -> RequestId + Send + Sync + 'static) -> Self {
        Self(Source::Custom(Arc::new(make)))
    }

    pub(crate) fn make(&self) -> RequestId {
        match &self.0 {
            #[cfg(feature = "ids")]
            Source::UuidV7 => {
                let mut text = uuid::Uuid::encode_buffer();
                RequestId::trusted(version_7::next().hyphenated().encode_lower(&mut text))
            }
            #[cfg(not(feature = "ids"))]
            Source::Process => process::next(),
            Source::Custom(make) => make(),
        }
    }
}

/// Version 7 UUIDs, each after the one before it.
///
/// `Uuid::now_v7` reads the time before it takes its lock. Where two threads do so around the
/// turn of a second, `uuid` 1.26 makes an id that is almost a second ahead, and the next ones are
/// before it. Here the time is read under the lock and never goes back.
#[cfg(feature = "ids")]
mod version_7 {
    use std::{
        sync::{Mutex, PoisonError},
        time::{Duration, UNIX_EPOCH},
    };

    use uuid::{ContextV7, Timestamp, Uuid};

    use crate::clock::{Clock, SystemClock};

    static LAST: Mutex<Last> = Mutex::new(Last::new());

    struct Last {
        time: Duration,
        context: ContextV7,
    }

    pub(super) fn next() -> Uuid {
        let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
        let now = SystemClock.now().duration_since(UNIX_EPOCH);
        last.next(now.unwrap_or_default())
    }

    impl Last {
        const fn new() -> Self {
            Self {
                time: Duration::ZERO,
                context: ContextV7::new(),
            }
        }

        fn next(&mut self, now: Duration) -> Uuid {
            self.time = self.time.max(now);
            let (seconds, nanoseconds) = (self.time.as_secs(), self.time.subsec_nanos());
            Uuid::new_v7(Timestamp::from_unix(&self.context, seconds, nanoseconds))
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn ids_are_in_order_where_the_time_goes_back_over_the_turn_of_a_second() {
            let mut last = Last::new();
            let times = [9_998, 9_999, 10_000, 9_999, 9_000, 10_001, 3, 10_002];
            let ids = times.map(|millis| last.next(Duration::from_millis(1_000_000 + millis)));
            assert!(ids.is_sorted(), "{ids:?}");
            let [_, _, turn, ..] = ids;
            let (seconds, nanoseconds) = turn.get_timestamp().expect("one").to_unix();
            assert_eq!((seconds, nanoseconds), (1_010, 0), "the time is kept");
        }
    }
}

/// Ids for builds without the feature `ids`.
#[cfg(not(feature = "ids"))]
mod process {
    use std::{
        hash::{BuildHasher, RandomState},
        sync::{
            OnceLock,
            atomic::{AtomicU64, Ordering},
        },
    };

    use super::RequestId;

    static PROCESS: OnceLock<[u64; 2]> = OnceLock::new();
    static NEXT: AtomicU64 = AtomicU64::new(0);

    pub(super) fn next() -> RequestId {
        // The keys of a `RandomState` come from the operating system's random numbers.
        let [high, low] =
            PROCESS.get_or_init(|| [0, 1].map(|half| RandomState::new().hash_one(half)));
        let count = NEXT.fetch_add(1, Ordering::Relaxed);
        RequestId::trusted(&format!("{high:016x}{low:016x}-{count:016x}"))
    }
}

impl fmt::Debug for IdSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            #[cfg(feature = "ids")]
            Source::UuidV7 => "IdSource(UuidV7)",
            #[cfg(not(feature = "ids"))]
            Source::Process => "IdSource(Process)",
            Source::Custom(_) => "IdSource(Custom)",
        })
    }
}
