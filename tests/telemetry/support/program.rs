//! Other programs, which check what this library writes.

use std::{
    env,
    ffi::OsStr,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
};

/// A folder of `examples/`.
pub(crate) fn example(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../examples")
        .join(folder)
}

/// Runs a program with this input. Returns nothing if the program is not installed: the test says
/// that it is skipped, or fails if `REQUIRE_PROGRAMS` is set.
pub(crate) fn run<A: AsRef<OsStr>>(
    program: &str,
    arguments: impl IntoIterator<Item = A>,
    input: &str,
) -> Option<Output> {
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            skip(program);
            return None;
        }
        Err(error) => panic!("{program}: {error}"),
    };
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_owned();
    // Written by another thread, because the program may answer before it has read everything.
    let writes = thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().expect("the program ends");
    // A program that fails may not read its input.
    let _ = writes.join().expect("no panic");
    Some(output)
}

fn skip(program: &str) {
    let test = thread::current().name().unwrap_or("a test").to_owned();
    let line = format!("SKIPPED {test}: {program} is not installed");
    assert!(env::var_os("REQUIRE_PROGRAMS").is_none(), "{line}");
    // Not with `eprintln`, because the test harness hides the output of tests that pass.
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Returns what the program wrote, if it succeeded.
pub(crate) fn succeeds(output: &Output) -> String {
    let written = [&*output.stdout, &*output.stderr].concat();
    let written = String::from_utf8_lossy(&written).into_owned();
    assert!(output.status.success(), "{written}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
