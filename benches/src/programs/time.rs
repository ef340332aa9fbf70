//! The clock: all cases in one process, in interleaved rounds, medians.
//!
//! `time [--rounds N] [PREFIX..]`: all cases, or those whose name begins with one of these.

use std::process::ExitCode;

use crate::{
    cases,
    ratios::{self, Figures},
    rounds,
};

/// Measures and prints.
#[must_use]
pub fn run(arguments: &[String]) -> ExitCode {
    let mut rounds = 300;
    let mut prefixes = Vec::new();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        if argument == "--rounds" {
            match arguments.next().map(|rounds| rounds.parse()) {
                Some(Ok(given)) if given > 0 => rounds = given,
                _ => {
                    eprintln!("--rounds needs a number");
                    return ExitCode::FAILURE;
                }
            }
        } else {
            prefixes.push(argument.as_str());
        }
    }
    let wanted =
        |name: &str| prefixes.is_empty() || prefixes.iter().any(|prefix| name.starts_with(prefix));
    let (names, mut made): (Vec<String>, Vec<_>) = cases::all()
        .into_iter()
        .filter(|entry| wanted(&entry.name))
        .filter_map(|entry| Some((entry.name.clone(), entry.make()?)))
        .unzip();
    let times = rounds::measure(&mut made, rounds);
    let figures: Figures = names.iter().cloned().zip(times).collect();

    println!("| case | ns | to by_hand |");
    println!("| --- | ---: | ---: |");
    for name in &names {
        let Some(times) = figures.get(name) else {
            continue;
        };
        let to_by_hand = figures.get("by_hand").map_or(f64::NAN, |by_hand| {
            rounds::paired(times, by_hand, |ours, by_hand| ours / by_hand)
        });
        println!(
            "| {name} | {:.1} | {to_by_hand:.2} |",
            rounds::median(times)
        );
    }
    println!();
    ratios::print(&ratios::of_times(&figures));
    ExitCode::SUCCESS
}
