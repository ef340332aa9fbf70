//! Removing an identity header, and what an upstream would take for it.

use http::{HeaderName, request::Parts};

use super::{Untrusted, trust::Distrust};
use crate::header_set;

/// A header that was removed before the inner service could see it.
#[derive(Clone, Copy, Debug)]
pub struct Stripped<'a> {
    header: &'a HeaderName,
    reason: StripReason,
    wanted: Option<&'a str>,
}

impl<'a> Stripped<'a> {
    /// A header that a strategy of the application's own removed.
    #[must_use]
    pub fn new(header: &'a HeaderName, reason: StripReason) -> Self {
        Self {
            header,
            reason,
            wanted: None,
        }
    }

    /// Says what the sender would have had to be, such as the networks of trusted proxies; for
    /// operators, and never a secret.
    #[must_use]
    pub fn with_wanted(mut self, wanted: &'a str) -> Self {
        self.wanted = Some(wanted);
        self
    }

    /// The name, as it was sent.
    #[must_use]
    pub fn header(&self) -> &'a HeaderName {
        self.header
    }

    /// Why it was removed.
    #[must_use]
    pub fn reason(&self) -> StripReason {
        self.reason
    }

    /// What the sender would have had to be, where that is known.
    #[must_use]
    pub fn wanted(&self) -> Option<&'a str> {
        self.wanted
    }
}

/// Why a header was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StripReason {
    /// It came from somebody whom it is not believed from.
    Untrusted(Untrusted),
    /// Its name is one that a CGI-style upstream would fold into the trusted header's.
    LookAlike,
    /// It came from somebody trusted and is not what identified the request: another strategy
    /// came first, or its value was bad.
    NotBelieved,
}

impl StripReason {
    /// The reason in lower-case words, for telemetry.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Untrusted(Untrusted::UnknownPeer) => "unknown_peer",
            Self::Untrusted(Untrusted::PeerNotListed) => "peer_not_listed",
            Self::Untrusted(Untrusted::SecretMissing) => "secret_missing",
            Self::Untrusted(Untrusted::SecretMismatch) => "secret_mismatch",
            Self::Untrusted(Untrusted::Condition) => "condition",
            Self::LookAlike => "look_alike",
            Self::NotBelieved => "not_believed",
        }
    }
}

#[inline]
pub(super) fn fold_alike(ours: &HeaderName, sent: &HeaderName) -> bool {
    header_set::fold_alike(ours.as_str().as_bytes(), sent.as_str().as_bytes())
}

/// Removes `name`, unless it is believed, and every name that folds into it.
#[inline]
pub(super) fn strip_alike<'s>(
    head: &mut Parts,
    name: &HeaderName,
    believed: bool,
    trust: impl FnOnce(&Parts) -> Result<(), Distrust<'s>>,
    stripped: &mut dyn FnMut(Stripped<'_>),
) {
    let goes = |sent: &HeaderName| {
        sent.as_str().len() == name.as_str().len()
            && if sent == name {
                !believed
            } else {
                fold_alike(name, sent)
            }
    };
    if head.headers.keys().any(goes) {
        strip(head, name, goes, trust, stripped);
    }
}

#[cold]
fn strip<'s>(
    head: &mut Parts,
    name: &HeaderName,
    goes: impl Fn(&HeaderName) -> bool,
    trust: impl FnOnce(&Parts) -> Result<(), Distrust<'s>>,
    stripped: &mut dyn FnMut(Stripped<'_>),
) {
    let (own, wanted) = match trust(head) {
        Ok(()) => (StripReason::NotBelieved, None),
        Err(distrust) => (StripReason::Untrusted(distrust.why), distrust.wanted),
    };
    let names: Vec<HeaderName> = head
        .headers
        .keys()
        .filter(|sent| goes(sent))
        .cloned()
        .collect();
    for sent in names {
        head.headers.remove(&sent);
        let reason = if sent == *name {
            own
        } else {
            StripReason::LookAlike
        };
        stripped(Stripped {
            header: &sent,
            reason,
            wanted: wanted.filter(|_| reason == own),
        });
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::fold_alike;

    #[test]
    fn names_fold_alike_only_where_a_cgi_upstream_would_make_them_one() {
        for (sent, alike) in [
            ("x-user-id", true),
            ("x_user_id", true),
            ("x-user_id", true),
            ("x.user~id", true),
            ("x-user-ids", false),
            ("xxuser-id", false),
            ("x-user1id", false),
            ("y-user-id", false),
        ] {
            let ours = HeaderName::from_static("x-user-id");
            let name = HeaderName::try_from(sent).expect("a header name");
            assert_eq!(fold_alike(&ours, &name), alike, "{sent}");
        }
    }
}
