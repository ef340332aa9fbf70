//! Validated identifiers: who somebody is, and what ties work together.
//!
//! Nothing here knows where an identifier came from. Every constructor checks, so that an
//! identifier that exists is one that may be logged, stored and used in a key.

mod error;
mod rules;

use std::{fmt, str::FromStr, sync::Arc};

use self::rules::{RULES, check_correlation};
pub use self::{
    error::{IdError, IdErrorKind},
    rules::IdRules,
};
use super::TraceParent;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $field:literal, $max:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The longest value, in bytes.
            pub const MAX_LEN: usize = $max;

            pub(crate) const FIELD: &'static str = $field;

            /// The identifier as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<&str> for $name {
            type Error = IdError;

            fn try_from(text: &str) -> Result<Self, IdError> {
                let check: fn(&'static str, &str) -> Result<Arc<str>, IdError> = $check;
                check(Self::FIELD, text).map(Self)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                Self::try_from(text.as_str())
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::try_from(text)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                self.as_str() == other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                self.as_str() == *other
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($name)).field(&self.as_str()).finish()
            }
        }

        #[cfg(feature = "ids")]
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        #[cfg(feature = "ids")]
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                Self::try_from(text.as_ref()).map_err(serde::de::Error::custom)
            }
        }
    };
}

id! {
    /// The id of a human or other account: 1 to 256 bytes of text without control, invisible
    /// or bidirectional format characters, and not a stringified nothing such as `undefined`.
    ///
    /// It is compared byte by byte. So that what looks alike is one user, an id that is not in
    /// Unicode's Normalization Form C, or that has wide or narrow forms of characters, is refused
    /// (by the profile `UsernameCasePreserved` of RFC 8265 section 3.4, which would convert it).
    /// Upper and lower case are two ids, and so are letters of two scripts that look alike. An
    /// application whose ids come in another form converts them in a strategy of its own.
    ///
    /// Two users of the same id in two tenants are two users: compare
    /// [`Subject`](crate::context::Subject)s, not user ids, wherever there are tenants.
    ///
    /// ```
    /// use tower_user_scope::{UserId, context::IdErrorKind};
    ///
    /// let alice: UserId = "alice@example.com".parse()?;
    /// assert_eq!(alice, "alice@example.com");
    ///
    /// let nobody = "undefined".parse::<UserId>().unwrap_err();
    /// assert_eq!(nobody.kind(), IdErrorKind::Placeholder);
    /// assert_eq!(nobody.to_string(), "user_id is a placeholder, not a value");
    /// # Ok::<(), tower_user_scope::context::IdError>(())
    /// ```
    UserId, "user_id", 256, |field, text| RULES.check(field, text)
}

id! {
    /// The id of a tenant (organisation, workspace), by the rules of [`UserId`].
    TenantId, "tenant_id", 256, |field, text| RULES.check(field, text)
}

id! {
    /// The name of a service that acts for itself, by the rules of [`UserId`].
    ServiceName, "service_name", 256, |field, text| RULES.check(field, text)
}

id! {
    /// The id by which the application recognises a visitor who has not logged in, by the rules of
    /// [`RequestId`]. It is written into logs and keys, so it must not be a secret such as the id
    /// of a session.
    VisitorId, "visitor_id", 128, check_correlation
}

id! {
    /// The id of one request: 1 to 128 bytes of visible ASCII without `,` `;` `"` `\` `<` `>`.
    RequestId, "request_id", 128, check_correlation
}

id! {
    /// The id of a thread of work (a conversation, a job), by the rules of [`RequestId`].
    ///
    /// It never decides who the user is: that a thread belongs to the user is for
    /// [`authorize`](crate::middleware::LayerBuilder::authorize) to say.
    ThreadId, "thread_id", 128, check_correlation
}

id! {
    /// The id of one run within a thread, by the rules of [`RequestId`].
    RunId, "run_id", 128, check_correlation
}

id! {
    /// The id of a long-lived connection, such as a WebSocket, by the rules of [`RequestId`].
    ConnectionId, "connection_id", 128, check_correlation
}

impl RequestId {
    /// For text whose form the crate itself guarantees.
    pub(super) fn trusted(text: &str) -> Self {
        Self(Arc::from(text))
    }

    pub(super) fn of_trace(parent: &TraceParent) -> Self {
        Self(Arc::from(format!(
            "{:032x}-{:016x}",
            parent.trace_id(),
            parent.parent_id()
        )))
    }

    /// All correlation ids have one grammar; only the name in the error differs.
    pub(super) fn for_field(field: &'static str, text: &str) -> Result<Self, IdError> {
        check_correlation(field, text).map(Self)
    }
}

impl ThreadId {
    pub(super) fn same(id: RequestId) -> Self {
        Self(id.0)
    }
}

impl RunId {
    pub(super) fn same(id: RequestId) -> Self {
        Self(id.0)
    }
}

impl ConnectionId {
    pub(super) fn same(id: RequestId) -> Self {
        Self(id.0)
    }
}
