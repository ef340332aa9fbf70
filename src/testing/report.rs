//! The report of an isolation check.

use std::fmt;

use crate::scope::IsolationError;

/// A leak, or another reason why a check failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finding {
    /// A response to one user holds the id of another.
    #[non_exhaustive]
    ForeignBytes {
        /// Who got the response.
        reader: String,
        /// Whose id is in it.
        owner: String,
        /// Where: `body`, or the name of a header.
        place: String,
    },
    /// One user's factory was used in another user's scope.
    CrossUserAccess(IsolationError),
    /// A factory was still held when its scope had closed.
    #[non_exhaustive]
    FactoryRetained {
        /// Whose it is.
        owner: String,
        /// The type of the factory.
        factory: &'static str,
    },
    /// The service panicked, as it does where a factory's check refuses.
    #[non_exhaustive]
    Panicked {
        /// In whose request.
        reader: String,
        /// What the panic said.
        message: String,
    },
    /// The recorder has no event: no layer has a clone of it as its observer.
    NoEvents,
    /// Scopes were opened that nothing has closed, though every request is over.
    #[non_exhaustive]
    ScopesLeftOpen {
        /// How many.
        count: usize,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ForeignBytes {
                reader,
                owner,
                place,
            } => write!(
                f,
                "{reader} read the id of {owner} in the {place} of a response"
            ),
            Self::CrossUserAccess(violation) => write!(f, "{violation}"),
            Self::FactoryRetained { owner, factory } => write!(
                f,
                "`{factory}` of {owner} was still held after its scope had closed"
            ),
            Self::Panicked { reader, message } => {
                write!(f, "a request of {reader} panicked: {message}")
            }
            Self::NoEvents => {
                f.write_str("the recorder has no event: use a clone of it as the layer's observer")
            }
            Self::ScopesLeftOpen { count } => write!(f, "{count} scopes were never closed"),
        }
    }
}

/// What an [`IsolationCheck`](super::IsolationCheck) did and found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a report that nobody reads finds nothing"]
pub struct IsolationReport {
    pub(super) seed: u64,
    pub(super) sent: usize,
    pub(super) completed: usize,
    pub(super) succeeded: usize,
    pub(super) cancelled: usize,
    pub(super) failed: usize,
    pub(super) findings: Vec<Finding>,
}

impl IsolationReport {
    /// Returns the seed, which reproduces the order of the requests.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Returns how many requests were sent. Each was completed, was cancelled or failed.
    #[must_use]
    pub fn sent(&self) -> usize {
        self.sent
    }

    /// Returns how many responses were read to their end.
    #[must_use]
    pub fn completed(&self) -> usize {
        self.completed
    }

    /// Returns how many of them were answered with success (2xx, and over gRPC a status of 0), rather
    /// than refused.
    #[must_use]
    pub fn succeeded(&self) -> usize {
        self.succeeded
    }

    /// Returns how many requests the check cancelled.
    #[must_use]
    pub fn cancelled(&self) -> usize {
        self.cancelled
    }

    /// What must not have happened; empty where users are isolated.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Ends the test where something was found.
    ///
    /// # Panics
    /// With the whole report, where there is a finding, and where no request succeeded: a
    /// check whose requests were all refused has shown nothing.
    #[track_caller]
    pub fn assert_isolated(&self) {
        assert!(self.findings.is_empty(), "users are not isolated\n{self}");
        assert!(self.succeeded > 0, "no request succeeded\n{self}");
    }
}

impl fmt::Display for IsolationReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// More of the same helps nobody.
        const SHOWN: usize = 10;

        writeln!(
            f,
            "isolation check with seed {}: {} sent, {} completed ({} with success), {} cancelled, {} failed, \
             {} findings",
            self.seed,
            self.sent,
            self.completed,
            self.succeeded,
            self.cancelled,
            self.failed,
            self.findings.len()
        )?;
        for finding in self.findings.iter().take(SHOWN) {
            writeln!(f, "  - {finding}")?;
        }
        if self.findings.len() > SHOWN {
            writeln!(f, "  (and {} more)", self.findings.len() - SHOWN)?;
        }
        Ok(())
    }
}
