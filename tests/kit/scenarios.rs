//! B80, B82: What a user sees among others is what the user sees alone. Each planted leak is found, and
//! named by its request, its place and its cause.

use std::fmt::Write as _;

use base64::{Engine, prelude::BASE64_STANDARD};
use tower_user_scope::testing::{Finding, IsolationReport, ScenarioCheck};

use super::{
    services::{Handle, World, answer, hash, honest, ok, play, search, with_header},
    support::seeds,
};

/// A leak, whether looking for ids and secrets finds it, the request in which the scenario finds it,
/// the fewest users with whom it does so with each seed, and the service.
type Planted = (&'static str, bool, &'static str, usize, Handle);

const PLANTED: [Planted; 35] = [
    (
        "a count over all users",
        false,
        "GET /extra",
        2,
        |world, ask| match ask {
            ask if ask.is("GET", "/extra") => ok(world.notes.len()),
            ask => honest(world, ask),
        },
    ),
    (
        "a count in a header",
        false,
        "POST /notes",
        2,
        |world, ask| {
            let answer = honest(world, ask);
            with_header(answer, "x-total-count", world.notes.len())
        },
    ),
    (
        "a sum over all users",
        false,
        "GET /extra",
        2,
        |world, ask| match ask {
            ask if ask.is("GET", "/extra") => {
                let bytes = world.notes.iter().flat_map(|note| note.text.bytes());
                ok(bytes.map(u32::from).sum::<u32>())
            }
            ask => honest(world, ask),
        },
    ),
    (
        "a hash over all users",
        false,
        "GET /extra",
        2,
        |world, ask| match ask {
            ask if ask.is("GET", "/extra") => {
                let texts: Vec<_> = world.notes.iter().map(|note| &note.text).collect();
                ok(hash(texts))
            }
            ask => honest(world, ask),
        },
    ),
    (
        "an entity tag over all users",
        false,
        "GET /notes",
        2,
        |world, ask| {
            let answer = honest(world, ask);
            let texts: Vec<_> = world.notes.iter().map(|note| &note.text).collect();
            match ask {
                ask if ask.is("GET", "/notes") => {
                    with_header(answer, "etag", format!("\"{}\"", hash(texts)))
                }
                _ => answer,
            }
        },
    ),
    (
        "a default that the last writer set",
        false,
        "GET /extra",
        2,
        |world, ask| match ask {
            ask if ask.is("POST", "/extra") => {
                "dark".clone_into(&mut world.kept);
                ok("saved")
            }
            ask if ask.is("GET", "/extra") => ok(format!("theme: {}", world.kept)),
            ask => honest(world, ask),
        },
    ),
    (
        "a cache whose key has no user",
        true,
        "GET /notes",
        2,
        |world, ask| {
            if let Some(known) = world
                .cache
                .get(ask.path)
                .filter(|_| ask.is("GET", "/notes"))
            {
                return ok(known);
            }
            if ask.is("GET", "/notes") && world.of(ask.user).count() > 0 {
                let text: String = world.of(ask.user).map(|note| note.text.clone()).collect();
                world.cache.insert(ask.path.to_owned(), text.clone());
                return ok(text);
            }
            honest(world, ask)
        },
    ),
    (
        "a limit that users share",
        false,
        "GET /extra",
        2,
        |world, ask| {
            world.count += 1;
            if world.count > 8 {
                answer(429, "later")
            } else {
                honest(world, ask)
            }
        },
    ),
    (
        "the rest of a shared limit in a header",
        false,
        "POST /notes",
        2,
        |world, ask| {
            world.count += 1;
            let left = 1_000 - world.count;
            with_header(honest(world, ask), "ratelimit-remaining", left)
        },
    ),
    (
        "ids from one sequence",
        false,
        "POST /notes",
        2,
        |world, ask| {
            honest(world, ask);
            match ask {
                ask if ask.is("POST", "/notes") => {
                    let id = world.notes.len().to_string();
                    world
                        .notes
                        .last_mut()
                        .expect("just added")
                        .id
                        .clone_from(&id);
                    answer(201, id)
                }
                ask => honest(world, ask),
            }
        },
    ),
    (
        "a name that somebody else has taken",
        false,
        "POST /extra",
        2,
        |world, ask| match ask {
            ask if ask.is("POST", "/extra") && world.kept.is_empty() => {
                ask.user.clone_into(&mut world.kept);
                answer(201, "created the project `demo`")
            }
            ask if ask.is("POST", "/extra") => answer(409, "there is a project `demo`"),
            ask => honest(world, ask),
        },
    ),
    (
        "another's text in base64",
        true,
        "GET /extra",
        2,
        |world, ask| match ask {
            ask if ask.is("GET", "/extra") => {
                ok(BASE64_STANDARD.encode(world.notes.last().map_or("", |note| &note.text)))
            }
            ask => honest(world, ask),
        },
    ),
    (
        "another's text in capitals",
        true,
        "GET /extra",
        2,
        |world, ask| match ask {
            ask if ask.is("GET", "/extra") => ok(world
                .notes
                .last()
                .map_or("", |note| &note.text)
                .to_uppercase()),
            ask => honest(world, ask),
        },
    ),
    (
        "a piece of another's text",
        false,
        "GET /extra",
        2,
        |world, ask| match ask {
            ask if ask.is("GET", "/extra") => {
                ok(world.notes.last().map_or("", |note| &note.text[9..14]))
            }
            ask => honest(world, ask),
        },
    ),
    (
        "a place in a queue",
        false,
        "POST /extra",
        2,
        |world, ask| match ask {
            ask if ask.is("POST", "/extra") => {
                world.count += 1;
                ok(format!("you are number {}", world.count))
            }
            ask => honest(world, ask),
        },
    ),
    (
        "the number of a request",
        false,
        "POST /notes",
        2,
        |world, ask| {
            world.count += 1;
            let number = world.count;
            with_header(honest(world, ask), "x-request-number", number)
        },
    ),
    (
        "an error that one input leaves behind",
        false,
        "GET /extra",
        2,
        |world, ask| match ask {
            ask if ask.is("POST", "/extra") => {
                world.count += 1;
                ok("accepted")
            }
            ask if ask.is("GET", "/extra") && world.count > 0 => answer(503, "the index is broken"),
            ask => honest(world, ask),
        },
    ),
    (
        "more pages, as others have notes",
        false,
        "GET /extra",
        2,
        |world, ask| match ask {
            ask if ask.is("GET", "/extra") => {
                ok(serde_json::json!({"notes": [], "has_more": world.notes.len() > 1}))
            }
            ask => honest(world, ask),
        },
    ),
    (
        "a delete of everybody's notes",
        false,
        "GET /notes",
        2,
        |world, ask| match ask {
            ask if ask.is("POST", "/extra") => {
                world.notes.clear();
                ok("deleted your notes")
            }
            ask => honest(world, ask),
        },
    ),
    (
        "the first user is the administrator",
        false,
        "GET /extra",
        2,
        |world, ask| match ask {
            ask if ask.is("GET", "/extra") => {
                if world.kept.is_empty() {
                    ask.user.clone_into(&mut world.kept);
                }
                ok(if world.kept == ask.user {
                    "administrator"
                } else {
                    "member"
                })
            }
            ask => honest(world, ask),
        },
    ),
    (
        "403 for what is there, 404 for what is not",
        false,
        "GET /notes/{}",
        2,
        |world, ask| match world.find(ask.path) {
            Some(note) if note.owner != ask.user => answer(403, "forbidden"),
            _ => honest(world, ask),
        },
    ),
    (
        "another text for what is there",
        false,
        "GET /notes/{}",
        2,
        |world, ask| match world.find(ask.path) {
            Some(note) if note.owner != ask.user => answer(404, "this note is not yours"),
            _ => honest(world, ask),
        },
    ),
    (
        "a header that only what is there has",
        false,
        "GET /notes/{}",
        2,
        |world, ask| match world.find(ask.path) {
            Some(note) if note.owner != ask.user => with_header(honest(world, ask), "x-version", 1),
            _ => honest(world, ask),
        },
    ),
    (
        "a note without a check of its owner",
        false,
        "GET /notes/{}",
        2,
        |world, ask| match world.find(ask.path) {
            Some(note) => ok(&note.text),
            _ => honest(world, ask),
        },
    ),
    (
        "a text for whoever asks next",
        true,
        "GET /extra",
        2,
        |world, ask| match ask {
            ask if ask.is("POST", "/extra") => {
                ask.body.clone_into(&mut world.kept);
                ok("sent")
            }
            ask if ask.is("GET", "/extra") => ok(std::mem::take(&mut world.kept)),
            ask => honest(world, ask),
        },
    ),
    (
        "a page that is cut before it is filtered",
        false,
        "GET /extra",
        2,
        |world, ask| match ask {
            ask if ask.is("GET", "/extra") => {
                let page = world.notes.iter().rev().take(1);
                ok(page.filter(|note| note.owner == ask.user).count())
            }
            ask => honest(world, ask),
        },
    ),
    (
        "a quota of bytes that users share",
        false,
        "POST /notes",
        2,
        |world, ask| {
            let stored: usize = world.notes.iter().map(|note| note.text.len()).sum();
            match ask {
                ask if ask.is("POST", "/notes") && stored > 0 => answer(507, "the disk is full"),
                ask => honest(world, ask),
            }
        },
    ),
    (
        "the cookie of another user",
        true,
        "GET /extra",
        2,
        |world, ask| {
            let answer = honest(world, ask);
            if ask.is("POST", "/extra") {
                world.kept = format!("sid={}; HttpOnly", ask.user);
            }
            match ask {
                ask if ask.is("GET", "/extra") && !world.kept.is_empty() => {
                    with_header(answer, "set-cookie", &world.kept)
                }
                _ => answer,
            }
        },
    ),
    (
        "an undo of the last change, whoever made it",
        false,
        "POST /extra",
        2,
        |world, ask| match ask {
            ask if ask.is("POST", "/extra") => {
                world.notes.pop();
                ok(format!("{} left", world.of(ask.user).count()))
            }
            ask => honest(world, ask),
        },
    ),
    (
        "a number by order of arrival",
        false,
        "GET /extra",
        2,
        |world, ask| match ask {
            ask if ask.is("GET", "/extra") => ok(arrival(world, ask.user)),
            ask => honest(world, ask),
        },
    ),
    (
        "the version of the whole store",
        false,
        "GET /notes",
        2,
        |world, ask| {
            let answer = honest(world, ask);
            match ask {
                ask if ask.is("GET", "/notes") => {
                    with_header(answer, "last-modified", world.notes.len())
                }
                _ => answer,
            }
        },
    ),
    (
        "an average over all users",
        false,
        "GET /extra",
        2,
        |world, ask| match ask {
            ask if ask.is("POST", "/extra") => {
                world.kept += ask.user;
                ok("counted")
            }
            ask if ask.is("GET", "/extra") => {
                let votes = world.kept.matches("user-").count();
                let mine = world.kept.matches(ask.user).count();
                ok(format!("{mine} of {votes}"))
            }
            ask => honest(world, ask),
        },
    ),
    (
        "another's text, backwards",
        false,
        "GET /extra",
        2,
        |world, ask| match ask {
            ask if ask.is("GET", "/extra") => {
                let last = world.notes.last().map_or("", |note| &note.text);
                ok(last.chars().rev().collect::<String>())
            }
            ask => honest(world, ask),
        },
    ),
    (
        "two places for the drafts of all users",
        true,
        "GET /extra",
        3,
        |world, ask| {
            let place = format!("draft {}", arrival(world, ask.user) % 2);
            match ask {
                ask if ask.is("POST", "/extra") => {
                    world.cache.insert(place, ask.body.to_owned());
                    ok("saved")
                }
                ask if ask.is("GET", "/extra") => {
                    ok(world.cache.get(&place).map_or("", String::as_str))
                }
                ask => honest(world, ask),
            }
        },
    ),
    (
        "a licence for three users",
        false,
        "POST /notes",
        4,
        |world, ask| match arrival(world, ask.user) {
            ..3 => honest(world, ask),
            _ => answer(402, "no licence is left"),
        },
    ),
];

/// Returns how many users came before this one.
fn arrival(world: &mut World, user: &str) -> usize {
    let before = world
        .cache
        .keys()
        .filter(|key| key.starts_with("user-"))
        .count();
    let place = world.cache.entry(user.to_owned());
    place
        .or_insert_with(|| before.to_string())
        .parse()
        .expect("a number")
}

#[tokio::test]
async fn b80_each_planted_leak_is_found_where_it_is_with_each_seed() {
    for (name, _, place, users, handle) in PLANTED {
        for seed in seeds() {
            let report = play(ScenarioCheck::new().users(users).seed(seed), handle).await;
            assert!(is_found(&report, place), "{name}, seed {seed}: {report}");
        }
        if users > 2 {
            let fewer = ScenarioCheck::new().users(users - 1);
            let report = play(fewer, handle).await;
            assert!(
                !is_found(&report, place),
                "{name} takes fewer users: {report}"
            );
        }
    }
}

fn is_found(report: &IsolationReport, place: &str) -> bool {
    report.findings().iter().any(|finding| {
        let is_leak = matches!(
            finding,
            Finding::Interference { .. }
                | Finding::ForeignThing { .. }
                | Finding::ForeignBytes { .. }
        );
        is_leak && at(finding) == place
    })
}

/// Returns the route of a finding.
fn at(finding: &Finding) -> String {
    let request = finding.location().map_or("", |location| location.request());
    match request.strip_prefix("GET /notes/") {
        Some(_) => "GET /notes/{}".to_owned(),
        None => request.to_owned(),
    }
}

#[tokio::test]
async fn what_each_check_finds_is_what_the_guide_says() {
    let mut table = String::new();
    for (name, by_search, _, users, handle) in PLANTED {
        let report = search(handle).await;
        let leaks = report
            .findings()
            .iter()
            .any(|finding| matches!(finding, Finding::ForeignBytes { .. }));
        assert_eq!(leaks, by_search, "{name}: {report}");
        let _ = writeln!(
            table,
            "| {name} | {} | {users} |",
            if by_search { "yes" } else { "" }
        );
    }
    let guide = include_str!("../../src/guide/testing.md");
    assert!(
        guide.contains(&table),
        "the guide is to have this table:\n{table}"
    );
}

fn interference(report: &IsolationReport) -> (Vec<String>, Option<bool>, String) {
    let found = report.findings().iter().find_map(|finding| match finding {
        Finding::Interference {
            because,
            of_content,
            location,
            ..
        } => {
            let because = because.iter().map(|sent| {
                sent.split_once(" sent ")
                    .map_or("", |(_, request)| request)
                    .to_owned()
            });
            Some((because.collect(), *of_content, location.place().to_owned()))
        }
        _ => None,
    });
    found.unwrap_or_else(|| panic!("no interference: {report}"))
}

#[tokio::test]
async fn b82_the_cause_is_the_fewest_requests_of_others() {
    fn case(name: &str) -> Handle {
        PLANTED
            .into_iter()
            .find(|(planted, ..)| *planted == name)
            .expect("planted")
            .4
    }
    for (name, because, of_content, place) in [
        (
            "a count over all users",
            &["POST /notes"][..],
            false,
            "line 1, word 1",
        ),
        (
            "a sum over all users",
            &["POST /notes"],
            true,
            "line 1, word 1",
        ),
        (
            "a hash over all users",
            &["POST /notes"],
            true,
            "line 1, word 1",
        ),
        (
            "a piece of another's text",
            &["POST /notes"],
            true,
            "line 1, word 1",
        ),
        (
            "a default that the last writer set",
            &["POST /extra"],
            false,
            "line 1, word 2",
        ),
        (
            "more pages, as others have notes",
            &["POST /notes"],
            false,
            "$.has_more",
        ),
    ] {
        let report = play(ScenarioCheck::new(), case(name)).await;
        let found = interference(&report);
        let because: Vec<String> = because.iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            (because, Some(of_content), place.to_owned()),
            "{name}: {report}"
        );
    }
}
