//! B82: A report names the cause first and each cause once, says how the check is repeated, and has
//! forms for other programs.

use std::{collections::BTreeMap, process::Command};

use tower_user_scope::testing::{Finding, IsolationReport, ScenarioCheck};

use super::services::{Handle, answer, honest, ok, play};

/// Counts all notes, reads the notes of others, and panics for one input.
const LEAKY: Handle = |world, ask| match world.find(ask.path) {
    Some(note) => ok(&note.text),
    None if ask.is("GET", "/extra") => ok(format!("<{}> \"notes\"\u{1}", world.notes.len())),
    None if ask.is("POST", "/extra") => panic!("no place for {}", ask.body.len()),
    None => honest(world, ask),
};

async fn report(seed: u64) -> IsolationReport {
    play(ScenarioCheck::new().seed(seed), LEAKY).await
}

#[tokio::test]
async fn findings_are_grouped_by_cause_and_panics_are_told_apart() {
    let report = report(7).await;
    let text = report.to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines.len() < 12, "short enough to be read: {text}");
    assert!(lines[0].contains("with seed 7"), "{text}");
    let first_words: Vec<&str> = report.findings().iter().map(Finding::kind).collect();
    let mut sorted = BTreeMap::new();
    for (at, kind) in first_words.iter().enumerate() {
        sorted.entry(*kind).or_insert(at);
    }
    assert!(sorted["foreign_thing"] < sorted["interference"], "{text}");
    assert!(sorted["interference"] < sorted["panicked"], "{text}");
    assert_eq!(text.matches("panicked: no place for").count(), 1, "{text}");
    assert!(text.contains("more like it"), "{text}");
}

#[tokio::test]
async fn a_report_says_how_the_check_is_repeated() {
    let text = report(9).await.to_string();
    let command = text.lines().last().expect("a line");
    assert_eq!(
        command,
        "again: ISOLATION_SEED=9 cargo test -p tower-user-scope \
         reports::a_report_says_how_the_check_is_repeated -- --exact"
    );
}

#[tokio::test]
async fn the_environment_sets_the_seed_of_a_check() {
    const ASKED: &str = "TEST_ASKS_FOR_THE_SEED";
    if std::env::var_os(ASKED).is_some() {
        assert_eq!(report(7).await.seed(), 4_711);
        return;
    }
    // The variable is one of the process, so the test is run in another one.
    let name = "reports::the_environment_sets_the_seed_of_a_check";
    let output = Command::new(std::env::current_exe().expect("a test"))
        .args([name, "--exact"])
        .env(ASKED, "1")
        .env("ISOLATION_SEED", "4711")
        .output()
        .expect("a process");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
}

#[tokio::test]
async fn a_report_has_forms_for_other_programs() {
    let report = report(7).await;
    let json: serde_json::Value = serde_json::from_str(&report.to_json()).expect("JSON");
    assert_eq!(json["seed"], 7);
    let findings = json["findings"].as_array().expect("a list");
    assert_eq!(findings.len(), report.findings().len());
    let count = findings
        .iter()
        .find(|finding| finding["kind"] == "interference")
        .expect("the count");
    assert_eq!(count["request"], "GET /extra");
    assert_eq!(count["status"], 200);
    assert_eq!(count["place"], "line 1, word 1");

    let junit = report.to_junit("notes & more");
    assert!(junit.starts_with("<?xml version=\"1.0\""), "{junit}");
    assert!(
        junit.contains("<testsuite name=\"notes &amp; more\""),
        "{junit}"
    );
    assert!(!junit.contains('\u{1}'), "{junit}");
    let failures = junit.matches("<failure ").count();
    assert!(
        junit.contains(&format!("failures=\"{failures}\"")) && failures > 2,
        "{junit}"
    );

    let honest = play(ScenarioCheck::new(), honest).await.to_junit("notes");
    assert!(honest.contains("tests=\"1\" failures=\"0\""), "{honest}");
}

#[tokio::test]
async fn what_was_refused_is_in_the_report_with_its_reason() {
    let refused: Handle = |_, _| answer(403, "no");
    let text = play(ScenarioCheck::new(), refused).await.to_string();
    assert!(
        text.contains("no request succeeded") && text.contains("times 403 Forbidden"),
        "{text}"
    );
}
