//! What a check did and found.

mod export;
mod finding;
mod location;

use std::fmt;

use super::isolation::End;

pub(in crate::testing) use self::location::route;
pub use self::{finding::Finding, location::Location};

/// What an [`IsolationCheck`](super::IsolationCheck) or a [`ScenarioCheck`](super::ScenarioCheck)
/// did and found.
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
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            sent: 0,
            completed: 0,
            succeeded: 0,
            cancelled: 0,
            failed: 0,
            findings: Vec::new(),
        }
    }

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

    /// Returns how many requests the service failed to answer: by an error, a panic, or no end.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.failed
    }

    /// Returns what must not have happened, the likeliest cause first; nothing where users are
    /// isolated and the check could have shown it if they were not.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Ends the test where something was found.
    ///
    /// # Panics
    /// With the whole report, where there is a finding. That a check could not have found anything,
    /// as all requests were refused, is a [finding](Finding::ShowsNothing) too.
    #[track_caller]
    pub fn assert_isolated(&self) {
        assert!(self.findings.is_empty(), "users are not isolated\n{self}");
    }

    /// Counts an exchange that is over.
    pub(super) fn count(&mut self, end: &End, succeeded: bool) {
        match end {
            End::Completed => {
                self.completed += 1;
                self.succeeded += usize::from(succeeded);
            }
            End::Cancelled => self.cancelled += 1,
            End::Failed(_) | End::Panicked(_) | End::Endless | End::TimedOut(_) => self.failed += 1,
        }
    }

    /// Adds what was found in a response. More than a thousand findings help nobody.
    pub(super) fn add(&mut self, findings: Vec<Finding>) {
        let room = MOST.saturating_sub(self.findings.len());
        self.findings.extend(findings.into_iter().take(room));
    }

    /// Brings the findings into the order in which they are read.
    pub(super) fn sort(&mut self) {
        self.findings.sort_by_key(Finding::rank);
    }

    /// Returns the findings of one cause together, the first of which is shown.
    fn groups(&self) -> Vec<(&Finding, usize)> {
        let mut groups: Vec<(String, &Finding, usize)> = Vec::new();
        for finding in &self.findings {
            let cause = finding.cause();
            match groups.iter_mut().find(|group| group.0 == cause) {
                Some((_, _, count)) => *count += 1,
                None => groups.push((cause, finding, 1)),
            }
        }
        groups
            .into_iter()
            .map(|(_, first, count)| (first, count))
            .collect()
    }

    /// Returns the command that repeats the check, where it runs in a test of Cargo.
    fn command(&self) -> Option<String> {
        let package = std::env::var("CARGO_PKG_NAME").ok()?;
        let test = std::thread::current().name().map(str::to_owned);
        let test = test.filter(|name| name != "main")?;
        let seed = self.seed;
        Some(format!(
            "{SEED}={seed} cargo test -p {package} {test} -- --exact"
        ))
    }
}

/// How many findings are kept of what responses show.
const MOST: usize = 1_000;

/// The environment variable that sets the seed of every check.
pub(super) const SEED: &str = "ISOLATION_SEED";

impl fmt::Display for IsolationReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let groups = self.groups();
        writeln!(
            f,
            "isolation check with seed {}: {} sent, {} completed ({} with success), {} cancelled, {} failed, \
             {} findings of {} causes",
            self.seed,
            self.sent,
            self.completed,
            self.succeeded,
            self.cancelled,
            self.failed,
            self.findings.len(),
            groups.len(),
        )?;
        for (number, (first, count)) in (1..).zip(groups) {
            writeln!(f, "{number}. {first}")?;
            if count > 1 {
                writeln!(f, "   (and {} more like it)", count - 1)?;
            }
        }
        if let (false, Some(command)) = (self.findings.is_empty(), self.command()) {
            writeln!(f, "again: {command}")?;
        }
        Ok(())
    }
}
