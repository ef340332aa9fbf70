//! Prometheus' own tool has nothing to say against a scrape, the rules for alerts and the queries of
//! the dashboard.

use std::{collections::BTreeSet, env, fs, process::id};

use serde_json::Value;

use crate::{
    measured::recorded,
    metrics::scrape,
    support::program::{example, run, succeeds},
};

#[test]
fn a_scrape_follows_the_conventions() {
    if let Some(output) = run("promtool", ["check", "metrics"], &scrape()) {
        succeeds(&output);
    }
}

#[test]
fn the_rules_for_alerts_pass_their_tests() {
    let folder = example("observability");
    for (command, file) in [("check", "alerts.yml"), ("test", "alerts.test.yml")] {
        let file = folder.join(file);
        let arguments = [command.as_ref(), "rules".as_ref(), file.as_os_str()];
        if let Some(output) = run("promtool", arguments, "") {
            succeeds(&output);
        }
    }
}

#[test]
fn each_alert_is_tested() {
    let rules = fs::read_to_string(example("observability/alerts.yml")).expect("a file");
    let tests = fs::read_to_string(example("observability/alerts.test.yml")).expect("a file");
    let names: Vec<_> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    assert!(names.len() > 5);
    for name in names {
        assert!(tests.contains(name), "{name} has no test");
    }
}

/// The queries of the dashboard, with Grafana's variables replaced.
fn queries() -> Vec<String> {
    let dashboard = fs::read_to_string(example("observability/dashboard.json")).expect("a file");
    let dashboard: Value = serde_json::from_str(&dashboard).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().expect("targets"));
    targets
        .map(|target| {
            let query = target["expr"].as_str().expect("a query");
            query
                .replace("$__rate_interval", "5m")
                .replace("$__range", "1h")
                .replace("$job", ".*")
        })
        .collect()
}

#[test]
fn the_dashboard_and_the_rules_ask_for_metrics_that_exist() {
    let scrape = recorded().render();
    let exists = |name: &str| {
        let name = ["_bucket", "_count", "_sum"]
            .iter()
            .find_map(|end| name.strip_suffix(end))
            .unwrap_or(name);
        scrape.contains(&format!("# TYPE {name} "))
    };
    let rules = fs::read_to_string(example("observability/alerts.yml")).expect("a file");
    let queries = queries();
    let mut asked = BTreeSet::new();
    for text in queries.iter().map(String::as_str).chain([&*rules]) {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        asked.extend(words.filter(|word| word.starts_with("user_scope_")));
    }
    assert!(asked.len() > 10);
    for name in asked {
        assert!(exists(name), "there is no {name}");
    }
}

#[test]
fn the_queries_of_the_dashboard_are_valid() {
    // A rule for each, because `promtool` checks queries of rules only.
    let rules: Vec<_> = queries()
        .iter()
        .enumerate()
        .map(|(n, query)| serde_json::json!({ "record": format!("dashboard:query{n}"), "expr": query }))
        .collect();
    assert!(rules.len() > 10);
    let file = serde_json::json!({ "groups": [{ "name": "dashboard", "rules": rules }] });
    let path = env::temp_dir().join(format!("dashboard-{}.yml", id()));
    fs::write(&path, file.to_string()).expect("a file");
    let arguments = ["check".as_ref(), "rules".as_ref(), path.as_os_str()];
    if let Some(output) = run("promtool", arguments, "") {
        succeeds(&output);
    }
    let _ = fs::remove_file(path);
}

/// Returns the series of a scrape as `promtool` takes them, each growing by its value in each minute.
fn recorded_series(scrape: &str) -> Vec<Value> {
    let lines = scrape
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    let series = lines.map(|line| {
        let (series, value) = line.rsplit_once(' ').expect("a value");
        serde_json::json!({ "series": series, "values": format!("0+{value}x60") })
    });
    series.collect()
}

#[test]
fn each_query_of_the_dashboard_has_an_answer_to_what_was_recorded() {
    // A scrape does not say of which job it is; Prometheus does.
    let tests: Vec<_> = queries()
        .iter()
        .map(|query| {
            serde_json::json!({
                "expr": format!("count({query}) > bool 0"),
                "eval_time": "60m",
                "exp_samples": [{ "labels": "{}", "value": 1 }],
            })
        })
        .collect();
    assert!(tests.len() > 15);
    let file = serde_json::json!({
        "evaluation_interval": "1m",
        "tests": [{
            "interval": "1m",
            "input_series": recorded_series(&recorded().render()),
            "promql_expr_test": tests,
        }],
    });
    let path = env::temp_dir().join(format!("recorded-{}.yml", id()));
    fs::write(&path, file.to_string()).expect("a file");
    let arguments = ["test".as_ref(), "rules".as_ref(), path.as_os_str()];
    if let Some(output) = run("promtool", arguments, "") {
        succeeds(&output);
    }
    let _ = fs::remove_file(path);
}
