//! Interleaved rounds: every round runs every case once, so that whatever the machine does meets
//! all of them alike. Neither criterion nor divan does that.

use std::time::{Duration, Instant};

use crate::case::Case;

/// How long one case runs in one round; long enough for the clock, short enough for hundreds of
/// rounds.
const SLICE: Duration = Duration::from_micros(400);

/// The part of a slice that each case runs before its clock starts, to fill the caches again.
const WARM_UP: u32 = 8;

/// Nanoseconds of each case, by round.
pub fn measure(cases: &mut [Case], rounds: usize) -> Vec<Vec<f64>> {
    let runs: Vec<u32> = cases.iter_mut().map(runs_per_slice).collect();
    let mut times = vec![Vec::with_capacity(rounds); cases.len()];
    for _ in 0..rounds {
        for ((case, runs), times) in cases.iter_mut().zip(&runs).zip(&mut times) {
            case.run((runs / WARM_UP).max(1));
            let begun = Instant::now();
            case.run(*runs);
            let nanoseconds = begun.elapsed().as_secs_f64() * 1e9;
            times.push(nanoseconds / f64::from(*runs) / case.per_run());
        }
    }
    times
}

/// How many runs fill a slice, found by running.
fn runs_per_slice(case: &mut Case) -> u32 {
    let mut runs = 1_u32;
    loop {
        let begun = Instant::now();
        case.run(runs);
        if begun.elapsed() * 2 >= SLICE {
            return runs;
        }
        runs *= 2;
    }
}

/// The median of what each round says of two cases. The machine is much the same within one
/// round and not from one to the next, so this is steadier than what two medians say.
pub fn paired(one: &[f64], other: &[f64], what: fn(f64, f64) -> f64) -> f64 {
    let rounds = one.iter().zip(other).map(|(one, other)| what(*one, *other));
    median(&rounds.collect::<Vec<_>>())
}

/// The middle one.
pub fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
