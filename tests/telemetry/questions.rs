//! An auditor's questions are answered by the documented queries, and other systems get their form.

use serde_json::{Value, json};
use tower_user_scope::audit::UserIdTelemetry;

use crate::{
    audit_log::log,
    support::{
        self,
        program::{example, run, succeeds},
    },
};

/// Runs a query of `examples/observability` on the log of the service in which everything happens.
fn ask(query: &str, options: &[&str], variables: &[(&str, &str)]) -> Option<String> {
    let file = example("observability").join(query);
    let mut arguments: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
    arguments.extend(["-f".into(), file.to_str().expect("a path").into()]);
    for (name, value) in variables {
        arguments.extend(["--arg".into(), (*name).into(), (*value).into()]);
    }
    let output = run("jq", arguments, &log(UserIdTelemetry::Plain))?;
    Some(succeeds(&output))
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn who_acted_as_whom_on_what_evidence_when_from_where_and_with_what_result() {
    let Some(answer) = ask("who-acted.jq", &["-rn"], &[]) else {
        return;
    };
    // Each case is one row, with what the test knows.
    let cases = support::cases();
    let rows: Vec<Vec<&str>> = answer
        .lines()
        .map(|row| row.split('\t').collect())
        .collect();
    assert_eq!(rows.len(), cases.len(), "{answer}");
    for (row, case) in rows.iter().zip(&cases) {
        let [
            _,
            actor,
            principal,
            evidence,
            peer,
            method,
            path,
            status,
            reason,
        ] = row[..]
        else {
            panic!("{row:?}");
        };
        assert_eq!(
            peer,
            std::net::IpAddr::from(case.peer).to_string(),
            "{}",
            case.name
        );
        assert_eq!(method, "GET");
        assert_eq!(Some(path), case.path.split('?').next());
        assert_eq!(status, case.status.as_str(), "{}", case.name);
        assert_eq!(principal, case.user.unwrap_or("-"), "{}", case.name);
        assert_eq!(
            actor,
            case.actor.or(case.user).unwrap_or("-"),
            "{}",
            case.name
        );
        let evidences = match case.user {
            Some(_) if reason == "-" => ["proved", "asserted"],
            _ => ["-", "-"],
        };
        assert!(evidences.contains(&evidence), "{}: {evidence}", case.name);
    }
}

#[test]
fn who_saw_this_thread_since_that_time() {
    let thread = [("thread", "t-17"), ("since", "2020-01-01")];
    let Some(answer) = ask("who-saw-thread.jq", &["-n"], &thread) else {
        return;
    };
    let answer = json(&answer);
    let seen: Vec<_> = answer.as_array().expect("a list").iter().collect();
    assert_eq!(seen.len(), 2, "{answer}");
    for (row, actor) in seen
        .iter()
        .zip([Value::Null, json!({ "kind": "user", "id": "support" })])
    {
        assert_eq!(row["principal"], json!({ "kind": "user", "id": "alice" }));
        assert_eq!(row["actor"], actor);
        assert_eq!(row["requests"], 1);
    }
    let later = [("thread", "t-17"), ("since", "2999-01-01")];
    let none = ask("who-saw-thread.jq", &["-n"], &later).expect("jq is here");
    assert_eq!(json(&none), json!([]));
}

#[test]
fn what_a_user_did_or_tried() {
    for user in ["alice", "bob", "support", "nobody"] {
        let Some(answer) = ask("what-did-user.jq", &["-n"], &[("user", user)]) else {
            return;
        };
        let cases = support::cases();
        let known = cases
            .iter()
            .filter(|case| case.user == Some(user) || case.actor == Some(user));
        let known: Vec<_> = known
            .map(|case| case.path.split('?').next().unwrap_or_default())
            .collect();
        let answer = json(&answer);
        let told: Vec<_> = answer
            .as_array()
            .expect("a list")
            .iter()
            .map(|row| row["path"].as_str().unwrap_or_default())
            .collect();
        assert_eq!(told, known, "{user}");
    }
}

#[test]
fn what_was_refused_why_and_from_where() {
    let Some(answer) = ask("what-was-refused.jq", &["-n"], &[]) else {
        return;
    };
    let answer = json(&answer);
    let rows = answer.as_array().expect("a list");
    let total: u64 = rows.iter().filter_map(|row| row["requests"].as_u64()).sum();
    let refused = support::cases()
        .into_iter()
        .filter(|case| case.refused)
        .count();
    assert_eq!(total, refused as u64, "{answer}");
    assert_eq!(rows[0]["reason"], "not_accepted");
    assert_eq!(rows[0]["peers"], json!(["10.0.0.7", "203.0.113.9"]));
}

#[test]
fn events_of_ocsf_have_what_it_requires() {
    let Some(events) = ask("to-ocsf.jq", &["-c"], &[("service", "orders")]) else {
        return;
    };
    let events: Vec<_> = events.lines().map(json).collect();
    assert_eq!(events.len(), support::cases().len());
    for (event, case) in events.iter().zip(support::cases()) {
        let required = [
            "activity_id",
            "category_uid",
            "class_uid",
            "type_uid",
            "severity_id",
            "time",
            "metadata",
        ];
        for field in required.iter().chain(match event["class_uid"].as_u64() {
            Some(3002) => &["user", "service", "status_code"][..],
            Some(6003) => &["actor", "api", "src_endpoint"][..],
            other => panic!("{other:?}"),
        }) {
            assert!(!event[field].is_null(), "{}: {field} of {event}", case.name);
        }
        let number = |name: &str| event[name].as_u64().expect("a number");
        assert_eq!(
            number("type_uid"),
            number("class_uid") * 100 + number("activity_id")
        );
        assert_eq!(number("category_uid"), number("class_uid") / 1000);
        assert_eq!(number("status_id"), if case.refused { 2 } else { 1 });
        assert!(number("time") > 1_700_000_000_000);
    }
}

#[test]
fn events_of_ecs_have_its_names() {
    let Some(events) = ask("to-ecs.jq", &["-c"], &[]) else {
        return;
    };
    let events: Vec<_> = events.lines().map(json).collect();
    let delegated = events
        .iter()
        .find(|event| event["user.id"] == "support")
        .expect("an event");
    assert_eq!(delegated["user.effective.id"], "alice");
    let failures = events
        .iter()
        .filter(|event| event["event.outcome"] == "failure")
        .count();
    assert_eq!(
        failures,
        support::cases()
            .into_iter()
            .filter(|case| case.refused)
            .count()
    );
}
