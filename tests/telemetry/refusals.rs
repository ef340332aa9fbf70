//! Each reason of a refusal is in the guide, with what it means and what to do.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;
use tower_user_scope::audit::UserIdTelemetry;

use crate::audit_log::log;

fn source(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../src")
        .join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the words of this form between quotes.
fn quoted(text: &str, quote: char) -> BTreeSet<String> {
    let is_word =
        |text: &&str| !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let texts = text.split(quote).skip(1).step_by(2);
    texts.filter(is_word).map(str::to_owned).collect()
}

/// The words in the first column of the guide's table of reasons.
fn in_the_guide() -> BTreeSet<String> {
    let guide = source("guide/operating.md");
    let (_, table) = guide.split_once("| word | ").expect("a table");
    let (table, _) = table.split_once("\n\n").expect("its end");
    let rows = table
        .lines()
        .skip(2)
        .filter_map(|row| row.split('|').nth(1));
    rows.flat_map(|cell| quoted(cell, '`')).collect()
}

/// The words that the library has.
fn in_the_library() -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    for (file, from, to) in [
        ("rejection/reason.rs", "match self.kind()", "\n    }\n"),
        ("outcome.rs", "=> \"repeated\"", "\n    }\n"),
        ("authorize/forbidden.rs", "match **missing", "}\n    }\n"),
        ("authorize/require.rs", "ForbiddenError::new(", ")"),
        ("resolve/tenant.rs", "ForbiddenError::new(", ")"),
        ("jwt/error_kind.rs", "match self", "\n    }\n"),
        (
            "session/error.rs",
            "InvalidErrorKind::Rejected(",
            "\n    }\n",
        ),
        (
            "api_key/error.rs",
            "impl From<ApiKeyError> for",
            "\n    }\n",
        ),
    ] {
        let text = source(file);
        let at = text
            .find(from)
            .unwrap_or_else(|| panic!("{file}: no {from}"));
        let end = text[at..]
            .find(to)
            .unwrap_or_else(|| panic!("{file}: no end"));
        words.extend(quoted(&text[at..at + end + to.len()], '"'));
    }
    // What an expired token is called by `TokenErrorKind`; as a reason it is `expired`.
    words.remove("token_expired");
    // The names of features.
    words.remove("limit");
    words.remove("tokio");
    words
}

#[test]
fn the_guide_has_every_reason_and_no_other() {
    let (guide, library) = (in_the_guide(), in_the_library());
    assert!(library.len() > 50, "{library:?}");
    let missing: Vec<_> = library.difference(&guide).collect();
    assert!(missing.is_empty(), "not in the guide: {missing:?}");
    let stale: Vec<_> = guide.difference(&library).collect();
    assert!(stale.is_empty(), "in the guide only: {stale:?}");
}

#[test]
fn what_is_logged_is_in_the_guide() {
    let guide = in_the_guide();
    // Words of the tests' application.
    let own = ["key_unknown", "not_the_owner"];
    let log = log(UserIdTelemetry::Omitted);
    let mut logged = BTreeSet::new();
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).expect("JSON");
        if line["event"] == "refused" {
            logged.insert(line["reason"].as_str().expect("a word").to_owned());
        }
    }
    assert!(logged.len() > 6, "{logged:?}");
    for word in logged {
        assert!(guide.contains(&word) || own.contains(&&*word), "{word}");
    }
}
