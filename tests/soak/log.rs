//! What metrics and the audit log say of the soak, against what its clients know.

#[path = "../telemetry/support/program.rs"]
mod program;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use serde_json::{Value, json};

use self::program::{example, run, succeeds};
use crate::load::Tally;

/// The thread of all requests of a user.
pub(super) fn thread_of(user: &str) -> String {
    format!("thread-of-{user}")
}

/// Installs a recorder for all threads of this process.
pub(super) fn record_metrics() -> PrometheusHandle {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).expect("the only one of this process");
    handle
}

/// Returns the sum of all series of a metric.
fn sum(scrape: &str, metric: &str) -> f64 {
    let series = scrape.lines().filter(|line| {
        let rest = line.strip_prefix(metric);
        rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
    });
    let values = series.filter_map(|line| line.rsplit(' ').next());
    values
        .map(|value| value.parse::<f64>().expect("a number"))
        .sum()
}

pub(super) fn assert_metrics(scrape: &str, accepted: u64, refused: u64) {
    for (metric, known) in [
        ("user_scope_accepted_total", accepted),
        ("user_scope_refused_total", refused),
        ("user_scope_scope_duration_seconds_count", accepted),
        ("user_scope_open_scopes", 0),
    ] {
        let counted = sum(scrape, metric);
        #[expect(clippy::cast_precision_loss, reason = "a test has fewer requests")]
        let known = known as f64;
        assert!(
            (counted - known).abs() < 0.5,
            "{metric}: {counted}, not {known}"
        );
    }
    assert!(!scrape.contains("user-"), "a user's id is in a label");
}

fn ask(log: &str, query: &str, option: &str, variables: &[(&str, &str)]) -> Option<String> {
    let file = example("observability").join(query);
    let mut arguments = vec![option.to_owned(), "-f".to_owned()];
    arguments.push(file.to_str().expect("a path").to_owned());
    for (name, value) in variables {
        arguments.extend(["--arg", *name, *value].map(str::to_owned));
    }
    Some(succeeds(&run("jq", arguments, log)?))
}

fn list(json: &str) -> Vec<Value> {
    serde_json::from_str(json).expect("a list of JSON")
}

/// Asks the four questions of an auditor.
pub(super) fn assert_answers(log: &str, accepted: u64, seen: &Tally) {
    let Some(rows) = ask(log, "who-acted.jq", "-rn", &[]) else {
        return;
    };
    let mut went_on = 0;
    for row in rows.lines() {
        let row: Vec<_> = row.split('\t').collect();
        let [_, actor, principal, evidence, peer, method, path, _, reason] = row[..] else {
            panic!("{row:?}");
        };
        assert_eq!((actor, method, path), (principal, "POST", "/"), "{row:?}");
        // No server of the soak says where its requests come from.
        assert_eq!(peer, "-", "{row:?}");
        if reason == "-" {
            went_on += 1;
            assert_eq!(evidence, "proved", "{row:?}");
            assert!(seen.users.contains_key(principal), "{row:?}");
        }
    }
    assert_eq!(went_on, accepted);

    let refused = ask(log, "what-was-refused.jq", "-n", &[]).expect("jq is here");
    for (status, known) in &seen.refused_with {
        let rows = list(&refused)
            .into_iter()
            .filter(|row| row["status"] == *status);
        let counted: u64 = rows.filter_map(|row| row["requests"].as_u64()).sum();
        assert_eq!(counted, *known, "refused with {status}");
    }

    for (user, known) in seen.users.iter().take(3) {
        let did = ask(log, "what-did-user.jq", "-n", &[("user", user)]).expect("jq is here");
        let did = list(&did).len() as u64;
        assert!(
            (known.answered..=known.sent).contains(&did),
            "{user}: {did}"
        );

        let thread = thread_of(user);
        let thread = [("thread", &*thread), ("since", "2020-01-01")];
        let saw = list(&ask(log, "who-saw-thread.jq", "-n", &thread).expect("jq is here"));
        assert_eq!(saw.len(), 1, "nobody but {user}: {saw:?}");
        assert_eq!(saw[0]["principal"], json!({ "kind": "user", "id": user }));
        let requests = saw[0]["requests"].as_u64().expect("a number");
        assert!(
            (known.answered..=known.sent).contains(&requests),
            "{user}: {requests}"
        );
    }
}
