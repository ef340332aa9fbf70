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
    #[cfg(feature = "uuid")]
    UuidV7,
    Custom(Arc<dyn Fn() -> RequestId + Send + Sync>),
}

impl IdSource {
    /// Version 7 UUIDs (RFC 9562 section 5.7): unique across processes, and within a process
    /// each sorts after the one before it.
    #[cfg(feature = "uuid")]
    #[cfg_attr(docsrs, doc(cfg(feature = "uuid")))]
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
            #[cfg(feature = "uuid")]
            Source::UuidV7 => {
                let mut text = uuid::Uuid::encode_buffer();
                RequestId::trusted(uuid::Uuid::now_v7().hyphenated().encode_lower(&mut text))
            }
            Source::Custom(make) => make(),
        }
    }
}

impl fmt::Debug for IdSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            #[cfg(feature = "uuid")]
            Source::UuidV7 => "IdSource(UuidV7)",
            Source::Custom(_) => "IdSource(Custom)",
        })
    }
}
