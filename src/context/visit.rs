//! What tells the requests of two unknown visitors apart.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    num::NonZeroU64,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// One request of nobody in particular, and the work that it began.
///
/// The number is the server's own, because a request id may be the client's: 64 random bits of the
/// process and a count, so that two replicas that share a cache have different ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Visit {
    process: u64,
    /// Never 0, so that an `Option` of it takes no more: identities are moved about.
    count: NonZeroU64,
}

static PROCESS: OnceLock<u64> = OnceLock::new();
static NEXT: AtomicU64 = AtomicU64::new(0);

impl Visit {
    pub(super) fn begin() -> Self {
        // The keys of a `RandomState` come from the operating system's random numbers.
        let process = *PROCESS.get_or_init(|| RandomState::new().hash_one(0));
        let earlier = NEXT.fetch_add(1, Ordering::Relaxed);
        Self {
            process,
            count: NonZeroU64::MIN.saturating_add(earlier),
        }
    }
}

/// 32 hexadecimal digits.
impl fmt::Display for Visit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.process, self.count)
    }
}

#[cfg(feature = "ids")]
mod portable {
    use std::borrow::Cow;

    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    use super::{NonZeroU64, Visit};

    impl Serialize for Visit {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_str(self)
        }
    }

    impl<'de> Deserialize<'de> for Visit {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let text = <Cow<'de, str>>::deserialize(deserializer)?;
            // `from_str_radix` would take a sign and other lengths as well.
            let is_one = text.len() == 32
                && text
                    .bytes()
                    .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            let half = |digits| u64::from_str_radix(digits, 16).ok();
            let visit = is_one
                .then(|| text.split_at(16))
                .and_then(|(process, count)| {
                    Some(Self {
                        process: half(process)?,
                        count: NonZeroU64::new(half(count)?)?,
                    })
                });
            visit.ok_or_else(|| D::Error::custom("visit is malformed"))
        }
    }
}
