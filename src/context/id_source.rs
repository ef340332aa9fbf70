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
                RequestId::trusted(uuid::Uuid::now_v7().hyphenated().encode_lower(&mut text))
            }
            #[cfg(not(feature = "ids"))]
            Source::Process => process::next(),
            Source::Custom(make) => make(),
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
