//! Wrong use does not compile, and the compiler's message says what to do.
//!
//! Each file in `cases` is a program, with the compiler's output beside it. After a change,
//! `TRYBUILD=overwrite cargo test -p ui-tests` updates the output.
//! Where the output can't say what to do, the program's last line names the documentation that does.

use std::{env, io::Write, process::Command};

/// The compiler whose messages are kept. Other versions word them differently.
const COMPILER: &str = "rustc 1.95.";

/// The flags with which trybuild compiles a case. It compiles the dependencies without the last one,
/// so that Cargo compiles each of them a second time, for the cases.
const FLAGS: [&str; 6] = [
    "--cfg",
    "trybuild",
    "--verbose",
    "-A",
    "dead_code",
    "--diagnostic-width=140",
];

/// Cargo prefers this variable to the flags that trybuild hands it.
const CARGO_FLAGS: &str = "CARGO_ENCODED_RUSTFLAGS";

/// With another compiler the test is skipped and says so, or fails if `REQUIRE_UI` is set.
#[test]
fn wrong_use_is_an_error_that_says_what_to_do() {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("--version").output();
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let version = version.expect("rustc says its version");
    if !version.starts_with(COMPILER) {
        let skipped = format!(
            "the compiler's words are kept for {COMPILER}x, and this is {}",
            version.trim()
        );
        assert!(
            env::var_os("REQUIRE_UI").is_none(),
            "{skipped}: run `TRYBUILD=overwrite cargo test -p ui-tests`, read what has changed, \
             and raise COMPILER"
        );
        // Not with `eprintln`, because the harness hides the output of a test that passes.
        let _ = writeln!(std::io::stderr(), "SKIPPED tests/ui: {skipped}");
        return;
    }
    let flags = FLAGS.join("\x1f");
    if env::var(CARGO_FLAGS).is_ok_and(|set| set == flags) {
        trybuild::TestCases::new().compile_fail("cases/*.rs");
        return;
    }
    // The same test again: setting a variable in a process that has threads is unsafe.
    let again = Command::new(env::current_exe().expect("this program has a path"))
        .args(["--exact", "wrong_use_is_an_error_that_says_what_to_do"])
        .env(CARGO_FLAGS, flags)
        .output()
        .expect("this program runs");
    print!("{}", String::from_utf8_lossy(&again.stdout));
    eprint!("{}", String::from_utf8_lossy(&again.stderr));
    assert!(
        again.status.success(),
        "the messages differ from those kept"
    );
}
