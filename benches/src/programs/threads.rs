//! Verified tokens looked up by several threads at once: what a cache is worth where its lock is
//! wanted by everybody.
//!
//! `threads [--rounds N]`: each way to verify, with one thread and with as many as there are
//! cores, for one token that all threads ask for and for a thousand.

use std::{
    collections::HashMap,
    hint::black_box,
    num::NonZero,
    process::ExitCode,
    sync::{
        Arc, Barrier, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use http::{header::AUTHORIZATION, request::Parts};
use quick_cache::sync::Cache;
use sha2::{Digest, Sha256};
use tower_user_scope::{MaybeFuture, Outcome, strategy::Strategy};

use crate::{
    ours::token,
    programs::number_after,
    requests,
    rounds::median,
    tokens::{Claims, Kind, Material},
};

const SLICE: Duration = Duration::from_millis(20);
const KIND: Kind = Kind::Hs256;

/// One way to find out what a token says.
struct Way {
    name: &'static str,
    /// Whether it was found out.
    verify: Box<Verify>,
}

type Verify = dyn Fn(&Sent) -> bool + Sync;

/// A token, and the request that it comes with.
struct Sent {
    token: String,
    head: Parts,
}

impl Sent {
    fn of(user: usize) -> Self {
        let token = KIND.material().token_of(&format!("user-{user}"));
        let bearer = format!("Bearer {token}");
        let request = requests::with_header(AUTHORIZATION, &bearer);
        let (head, ()) = request.into_parts();
        Self { token, head }
    }
}

fn ways() -> Vec<Way> {
    let material = KIND.material();
    let locked = RwLock::new(HashMap::new());
    let concurrent = Cache::new(10_000);
    let strategy = token::jwt(KIND);
    vec![
        Way {
            name: "jsonwebtoken",
            verify: Box::new(|sent| decode(material, &sent.token).is_some()),
        },
        Way {
            name: "sha256_rwlock",
            verify: Box::new(move |Sent { token, .. }| {
                let key = digest(token);
                let known = || locked.read().ok()?.get(&key).cloned();
                let learn = || {
                    let claims = decode(material, token)?;
                    locked.write().ok()?.insert(key, Arc::clone(&claims));
                    Some(claims)
                };
                known().or_else(learn).is_some()
            }),
        },
        Way {
            name: "sha256_quick_cache",
            verify: Box::new(move |Sent { token, .. }| {
                let decode = || decode(material, token).ok_or(());
                concurrent
                    .get_or_insert_with(&digest(token), decode)
                    .is_ok()
            }),
        },
        // Does more than the others: it finds the token in the head, looks whether its key still
        // is one and what time it is, and makes the identity.
        Way {
            name: "ours",
            verify: Box::new(move |sent| {
                let answer = strategy.resolve(&sent.head);
                matches!(answer, MaybeFuture::Ready(Outcome::Found(_)))
            }),
        },
    ]
}

fn decode(material: &Material, token: &str) -> Option<Arc<Claims>> {
    let data = jsonwebtoken::decode(token, &material.key, &material.validation).ok()?;
    Some(Arc::new(data.claims))
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// Verifications in a second, by so many threads together.
#[expect(
    clippy::disallowed_methods,
    reason = "a slice of the clock is what is waited for"
)]
fn per_second(way: &Way, tokens: &[Sent], threads: usize) -> f64 {
    let (start, stop) = (Barrier::new(threads + 1), AtomicBool::new(false));
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|worker| {
                let (start, stop) = (&start, &stop);
                scope.spawn(move || {
                    let mut done = 0_usize;
                    start.wait();
                    while !stop.load(Ordering::Relaxed) {
                        // Apart from each other, but over the same tokens.
                        let token = &tokens[(done + worker * 7) % tokens.len()];
                        assert!(black_box((way.verify)(token)));
                        done += 1;
                    }
                    done
                })
            })
            .collect();
        start.wait();
        let begun = Instant::now();
        thread::sleep(SLICE);
        stop.store(true, Ordering::Relaxed);
        let done: usize = workers
            .into_iter()
            .map(|worker| worker.join().expect("a worker"))
            .sum();
        done as f64 / begun.elapsed().as_secs_f64()
    })
}

/// Measures and prints.
#[must_use]
pub fn run(arguments: &[String]) -> ExitCode {
    let rounds = number_after("--rounds", arguments).unwrap_or(40);
    let most = thread::available_parallelism()
        .map_or(2, NonZero::get)
        .max(2);
    let ways = ways();
    let sets = [1, 1000].map(|users| (0..users).map(Sent::of).collect::<Vec<_>>());
    // Every verification but the first of each token is a hit.
    for (way, tokens) in ways
        .iter()
        .flat_map(|way| sets.iter().map(move |set| (way, set)))
    {
        assert!(tokens.iter().all(|token| (way.verify)(token)));
    }
    let mut measured: HashMap<(usize, usize, usize), Vec<f64>> = HashMap::new();
    for _ in 0..rounds {
        for (which, way) in ways.iter().enumerate() {
            for (set, tokens) in sets.iter().enumerate() {
                for threads in [1, most] {
                    let figure = per_second(way, tokens, threads);
                    measured
                        .entry((which, set, threads))
                        .or_default()
                        .push(figure);
                }
            }
        }
    }
    println!(
        "| way | tokens | ns, 1 thread | ns a thread, {most} threads | throughput, {most} threads to 1 |"
    );
    println!("| --- | ---: | ---: | ---: | ---: |");
    let mut lines = Vec::new();
    for (which, way) in ways.iter().enumerate() {
        for (set, tokens) in sets.iter().enumerate() {
            let of = |threads| median(&measured[&(which, set, threads)]);
            let (one, all) = (of(1), of(most));
            println!(
                "| {} | {} | {:.0} | {:.0} | {:.2} |",
                way.name,
                tokens.len(),
                1e9 / one,
                1e9 * most as f64 / all,
                all / one
            );
            lines.push(format!(
                "ratio threads_{}_{}_tokens_{most}/1 {:.3}",
                way.name,
                tokens.len(),
                all / one
            ));
        }
    }
    println!();
    println!("{}", lines.join("\n"));
    ExitCode::SUCCESS
}
