//! B82: Services without a leak have no finding, also where they do something at random, look at the
//! clock, or show on purpose what users share.

use std::{
    io::Write as _,
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use flate2::{Compression, write::GzEncoder};
use tower_user_scope::testing::ScenarioCheck;

use super::{
    services::{Handle, answer, hash, honest, ok, play, random, with_header},
    support::seeds,
};

type Declared = fn(ScenarioCheck) -> ScenarioCheck;
type Honest = (&'static str, Declared, Handle);

fn since_1970() -> std::time::Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
}

const NOTHING: Declared = |check| check;

const HONEST: [Honest; 30] = [
    ("notes of each user", NOTHING, honest),
    ("a random id of each request", NOTHING, |world, ask| {
        with_header(honest(world, ask), "x-request-id", random())
    }),
    ("random ids in a body", NOTHING, |world, ask| match ask {
        ask if ask.is("POST", "/extra") => {
            ok(serde_json::json!({ "job": random(), "state": "queued" }))
        }
        ask => honest(world, ask),
    }),
    (
        "a token against forged requests in a page",
        NOTHING,
        |world, ask| match ask {
            ask if ask.is("GET", "/extra") => ok(format!(
                "<form>\n<input name=csrf value={}>\n<p>{}</p></form>",
                random(),
                ask.user
            )),
            ask => honest(world, ask),
        },
    ),
    ("the time in nanoseconds", NOTHING, |world, ask| match ask {
        ask if ask.is("GET", "/extra") => {
            ok(serde_json::json!({ "now": since_1970().as_nanos().to_string(), "zone": "UTC" }))
        }
        ask => honest(world, ask),
    }),
    (
        "a clock that jumps while the check runs",
        NOTHING,
        |world, ask| match ask {
            ask if ask.is("GET", "/extra") => {
                ok(serde_json::json!({ "now": since_1970().as_millis() / 20, "zone": "UTC" }))
            }
            ask => honest(world, ask),
        },
    ),
    ("the header `date`", NOTHING, |world, ask| {
        with_header(honest(world, ask), "date", since_1970().as_secs())
    }),
    ("a list in random order", NOTHING, |world, ask| match ask {
        ask if ask.is("GET", "/extra") => {
            let tags: std::collections::HashSet<_> = ["red", "green", "blue"].into();
            ok(serde_json::json!({ "tags": tags.into_iter().collect::<Vec<_>>(), "of": ask.user }))
        }
        ask => honest(world, ask),
    }),
    ("a count of each user", NOTHING, |world, ask| {
        let answer = honest(world, ask);
        with_header(answer, "x-count", world.of(ask.user).count())
    }),
    ("a limit of each user", NOTHING, |world, ask| match ask {
        ask if ask.is("GET", "/extra") => {
            let key = format!("{} asked", ask.user);
            let asked = world.cache.entry(key).or_default();
            asked.push('x');
            if asked.len() > 1 {
                answer(429, "later")
            } else {
                ok("now")
            }
        }
        ask => honest(world, ask),
    }),
    ("a cache whose key has the user", NOTHING, |world, ask| {
        let key = format!("{} {}", ask.user, ask.path);
        if let Some(known) = world.cache.get(&key).filter(|_| ask.is("GET", "/extra")) {
            return ok(known);
        }
        world.cache.insert(key, format!("hello {}", ask.user));
        honest(world, ask)
    }),
    (
        "an entity tag of each user's notes",
        NOTHING,
        |world, ask| {
            let answer = honest(world, ask);
            let texts: Vec<_> = world.of(ask.user).map(|note| &note.text).collect();
            with_header(answer, "etag", format!("\"{}\"", hash(texts)))
        },
    ),
    ("a compressed page", NOTHING, |world, ask| match ask {
        ask if ask.is("GET", "/extra") => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            let page = format!(
                "{{\"user\":\"{}\",\"at\":{}}}",
                ask.user,
                since_1970().as_nanos()
            );
            encoder.write_all(page.as_bytes()).expect("memory");
            let page = answer(200, encoder.finish().expect("memory"));
            with_header(page, "content-encoding", "gzip")
        }
        ask => honest(world, ask),
    }),
    (
        "a user's input that is refused",
        NOTHING,
        |world, ask| match ask {
            ask if ask.is("POST", "/extra") => answer(422, format!("{} is no number", ask.body)),
            ask => honest(world, ask),
        },
    ),
    (
        "a feed of who is there",
        |check| check.shared_path("/extra"),
        |world, ask| match ask {
            ask if ask.is("GET", "/extra") => {
                let owners: Vec<_> = world.notes.iter().map(|note| note.owner.as_str()).collect();
                ok(owners.join("\n"))
            }
            ask => honest(world, ask),
        },
    ),
    (
        "a chat",
        |check| check.shared_path("/extra"),
        |world, ask| match ask {
            ask if ask.is("POST", "/extra") => {
                world.kept += ask.user;
                world.kept += " says hello\n";
                ok(&world.kept)
            }
            ask if ask.is("GET", "/extra") => ok(&world.kept),
            ask => honest(world, ask),
        },
    ),
    (
        "a total that is public",
        |check| check.may_differ("$.total"),
        |world, ask| match ask {
            ask if ask.is("GET", "/extra") => {
                // From one digit to two.
                let (total, mine) = (7 * world.notes.len(), world.of(ask.user).count());
                let body = serde_json::json!({ "total": total, "mine": mine }).to_string();
                let length = body.len();
                with_header(ok(body), "content-length", length)
            }
            ask => honest(world, ask),
        },
    ),
    (
        "a limit of the whole service in a header",
        |check| check.may_differ("RateLimit-Remaining"),
        |world, ask| {
            world.count += 1;
            let left = 1_000 - world.count;
            with_header(honest(world, ask), "ratelimit-remaining", left)
        },
    ),
    (
        "ids from one sequence, declared",
        |check| {
            check
                .may_differ("line 1, word 1")
                .may_differ("$.notes[*].id")
        },
        |world, ask| {
            let answered = honest(world, ask);
            if !ask.is("POST", "/notes") {
                return answered;
            }
            let id = (world.notes.len() + 7_000_000_000).to_string();
            world
                .notes
                .last_mut()
                .expect("just added")
                .id
                .clone_from(&id);
            answer(201, id)
        },
    ),
    (
        "the last one who was there, by an id that is public",
        |check| check.ids_are_public().may_differ("x-last"),
        |world, ask| {
            ask.user.clone_into(&mut world.kept);
            let last = world.kept.clone();
            with_header(honest(world, ask), "x-last", last)
        },
    ),
    (
        "a list for administrators",
        |check| check.shared_path("/extra"),
        |world, ask| match ask {
            ask if ask.is("GET", "/extra") && ask.user.starts_with("user-0-") => {
                let owners = world.notes.iter().map(|note| note.owner.clone());
                ok(serde_json::json!({ "users": owners.collect::<Vec<_>>() }))
            }
            ask if ask.is("GET", "/extra") => answer(403, "for administrators"),
            ask => honest(world, ask),
        },
    ),
    ("a random cookie", NOTHING, |world, ask| {
        let cookie = format!("visit={}; HttpOnly", random());
        with_header(honest(world, ask), "set-cookie", cookie)
    }),
    (
        "an answer that is repeated for the same key",
        NOTHING,
        |world, ask| match ask {
            ask if ask.is("POST", "/extra") => {
                let key = format!("{} {}", ask.user, ask.body);
                ok(world.cache.entry(key).or_insert_with(random))
            }
            ask => honest(world, ask),
        },
    ),
    (
        "a code that follows from the user",
        NOTHING,
        |world, ask| match ask {
            ask if ask.is("GET", "/extra") => ok(hash(ask.user)),
            ask => honest(world, ask),
        },
    ),
    (
        "a redirect to the user's own page",
        NOTHING,
        |world, ask| match ask {
            ask if ask.is("POST", "/extra") => {
                with_header(answer(303, ""), "location", format!("/users/{}", ask.user))
            }
            ask => honest(world, ask),
        },
    ),
    (
        "an error with the number of the incident",
        NOTHING,
        |world, ask| match ask {
            ask if ask.is("POST", "/extra") => answer(500, format!("incident {}", random())),
            ask => honest(world, ask),
        },
    ),
    ("a cursor in base64", NOTHING, |world, ask| match ask {
        ask if ask.is("GET", "/extra") => {
            let next = format!("{}:{}", ask.user, world.of(ask.user).count());
            ok(serde_json::json!({ "next": BASE64_STANDARD.encode(next) }))
        }
        ask => honest(world, ask),
    }),
    ("settings of each user", NOTHING, |world, ask| match ask {
        ask if ask.is("POST", "/extra") => {
            world.cache.insert(ask.user.to_owned(), ask.body.to_owned());
            answer(204, "")
        }
        ask if ask.is("GET", "/extra") => {
            ok(world.cache.get(ask.user).map_or("none", String::as_str))
        }
        ask => honest(world, ask),
    }),
    ("how long an answer took", NOTHING, |world, ask| {
        let took = format!("app;dur={}", since_1970().subsec_nanos());
        with_header(honest(world, ask), "server-timing", took)
    }),
    (
        "a delete of the user's own notes",
        NOTHING,
        |world, ask| match ask {
            ask if ask.is("POST", "/extra") => {
                world.notes.retain(|note| note.owner != ask.user);
                ok("deleted your notes")
            }
            ask => honest(world, ask),
        },
    ),
];

#[tokio::test]
async fn b82_an_honest_service_has_no_finding_with_any_seed() {
    for (name, declared, handle) in HONEST {
        for seed in seeds() {
            let report = play(declared(ScenarioCheck::new().seed(seed)), handle).await;
            assert!(
                report.findings().is_empty(),
                "{name}, seed {seed}: {report}"
            );
            assert!(report.succeeded() > 50, "{name}, seed {seed}: {report}");
        }
    }
}
