//! Processes of the test program itself, which run one of its tests until they are killed.

use std::{
    env,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

/// A process that is killed where this is dropped.
pub(crate) struct Process(Child);

impl Process {
    /// Runs a test in a process that has a variable in its environment, and returns what the test prints
    /// after the mark.
    pub(crate) fn spawn(test: &str, variable: &str, value: &str, mark: &str) -> (Self, String) {
        let mut child = Command::new(env::current_exe().expect("this program"))
            .args(["--exact", test, "--nocapture"])
            .env(variable, value)
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        let output = BufReader::new(child.stdout.take().expect("its output"));
        let process = Self(child);
        let mut lines = output.lines().map(|line| line.expect("text"));
        let printed = lines.find_map(|line| Some(line.split_once(mark)?.1.to_owned()));
        (process, printed.expect("the process prints the mark"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
