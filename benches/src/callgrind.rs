//! Instructions, counted by valgrind: the same on every run of the same binary, whatever else
//! the machine does.

use std::{
    path::Path,
    process::{Command, Stdio},
};

const REQUESTS: u64 = 200;

/// Whether there is a valgrind.
#[must_use]
pub fn is_there() -> bool {
    Command::new("valgrind")
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Instructions of one request of a case, run by the program `count`; only what is within
/// [`Case::run`](crate::case::Case::run) counts.
///
/// # Panics
/// Where valgrind can't be run, or says nothing.
#[must_use]
pub fn instructions(count: &Path, case: &str) -> u64 {
    instructions_of(count, case, REQUESTS)
}

/// As [`instructions`], for a case that is run so many times.
///
/// # Panics
/// As [`instructions`].
#[must_use]
pub fn instructions_of(count: &Path, case: &str, times: u64) -> u64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg("--toggle-collect=*Case*run*")
        .arg(count)
        .args([case, &times.to_string()])
        .output()
        .expect("valgrind");
    let report = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{case} under valgrind: {report}");
    let total = collected(&report).unwrap_or_else(|| panic!("no count in: {report}"));
    assert!(total > times, "nothing of {case} was counted: {report}");
    total / times
}

/// The instructions that a report of valgrind has.
#[must_use]
pub fn collected(report: &str) -> Option<u64> {
    let count = report
        .lines()
        .find_map(|line| line.split("Collected :").nth(1))?;
    count.trim().parse().ok()
}
