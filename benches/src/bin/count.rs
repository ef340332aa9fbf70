//! What does not depend on the machine: allocations and instructions of each case.
//!
//! `count` prints a table of allocations, `count --instructions` one of instructions.
//! `count NAME TIMES` runs one case so often and prints nothing, for a profiler:
//! `valgrind --tool=callgrind --toggle-collect='*Case*run*'` counts the case alone.

use std::{env, process::ExitCode};

use tower_user_scope_benches::{
    callgrind, cases,
    counting::{Counting, allocated},
    ours::growth,
    tokens::Kind,
};

#[global_allocator]
static COUNTING: Counting = Counting;

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    match arguments.next().as_deref() {
        None => {
            count();
            ExitCode::SUCCESS
        }
        Some("--instructions") => {
            if callgrind::is_there() {
                count_instructions()
            } else {
                eprintln!("--instructions needs valgrind");
                ExitCode::FAILURE
            }
        }
        Some(name) => {
            let times = arguments.next().and_then(|times| times.parse().ok());
            cases::named(name).run(times.unwrap_or(1000));
            ExitCode::SUCCESS
        }
    }
}

fn count() {
    println!("| case | allocations | bytes |");
    println!("| --- | ---: | ---: |");
    for entry in cases::all() {
        let Some(mut case) = entry.make() else {
            continue;
        };
        case.run(10);
        let one = allocated(|| case.run(1));
        println!("| {} | {} | {} |", entry.name, one.times, one.bytes);
    }
    println!();
    println!(
        "ratio open_scope_bytes {}",
        growth::bytes_of_open_scope(100_000)
    );
}

/// Of all cases but those whose cryptography valgrind may not know.
fn count_instructions() -> ExitCode {
    let Ok(myself) = env::current_exe() else {
        return ExitCode::FAILURE;
    };
    let of = |case: &str| callgrind::instructions(&myself, case);
    let (none, by_hand) = (of("none"), of("by_hand"));
    println!("| case | instructions | beyond none | beyond by_hand |");
    println!("| --- | ---: | ---: | ---: |");
    let is_token = |name: &str| Kind::ALL.iter().any(|kind| name.starts_with(kind.name()));
    for entry in cases::all() {
        let name = entry.name.as_str();
        if is_token(name) || name.contains("users") || name.starts_with("access") {
            continue;
        }
        let count = of(name);
        let beyond = |other: u64| count.cast_signed() - other.cast_signed();
        println!(
            "| {name} | {count} | {} | {} |",
            beyond(none),
            beyond(by_hand)
        );
    }
    ExitCode::SUCCESS
}
