//! The report of a header that was removed from a request.

use http::HeaderName;
use thiserror::Error;

/// A header that was removed before the inner service could see it.
#[derive(Clone, Copy, Debug)]
pub struct Stripped<'a> {
    header: &'a HeaderName,
    reason: StripReason,
    wanted: Option<&'a str>,
}

impl<'a> Stripped<'a> {
    /// Creates the report of a header that a strategy removed.
    #[must_use]
    pub fn new(header: &'a HeaderName, reason: StripReason) -> Self {
        Self {
            header,
            reason,
            wanted: None,
        }
    }

    /// Sets what would have been trusted, such as the networks of trusted proxies. It is logged: never a
    /// secret.
    #[must_use]
    pub fn with_wanted(mut self, wanted: &'a str) -> Self {
        self.wanted = Some(wanted);
        self
    }

    /// Returns the name as it was sent.
    #[must_use]
    pub fn header(&self) -> &'a HeaderName {
        self.header
    }

    /// Returns why it was removed.
    #[must_use]
    pub fn reason(&self) -> StripReason {
        self.reason
    }

    /// Returns what would have been trusted, if that is known.
    #[must_use]
    pub fn wanted(&self) -> Option<&'a str> {
        self.wanted
    }
}

/// Why a header was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StripReason {
    /// Its sender is not trusted.
    Untrusted(UntrustedReason),
    /// A CGI-style upstream would treat its name as that of the trusted header.
    LookAlike,
    /// Its sender is trusted, but it did not identify the request: an earlier strategy did, or the
    /// value is invalid.
    Unused,
}

impl StripReason {
    /// Returns the reason in lower-case words, for telemetry.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Untrusted(UntrustedReason::UnknownPeer) => "unknown_peer",
            Self::Untrusted(UntrustedReason::PeerNotListed) => "peer_not_listed",
            Self::Untrusted(UntrustedReason::SecretMissing) => "secret_missing",
            Self::Untrusted(UntrustedReason::SecretMismatch) => "secret_mismatch",
            Self::Untrusted(UntrustedReason::Condition) => "condition",
            Self::LookAlike => "look_alike",
            Self::Unused => "unused",
        }
    }
}

/// Why the sender of a header is not trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum UntrustedReason {
    /// The peer's address is not known.
    #[error("the peer's address is not known")]
    UnknownPeer,
    /// The peer's address is in none of the trusted networks.
    #[error("the peer is not a trusted proxy")]
    PeerNotListed,
    /// The shared secret was not sent, or more than once.
    #[error("the shared secret is missing")]
    SecretMissing,
    /// Another secret was sent.
    #[error("the shared secret is not the right one")]
    SecretMismatch,
    /// The application's own condition does not hold.
    #[error("the application's condition does not hold")]
    Condition,
}
