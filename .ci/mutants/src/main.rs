//! Changes the code in one place at a time and shows which changes no test notices.

mod build;
mod source;
mod trial;

use std::{collections::BTreeMap, env, fs, process::ExitCode, time::Duration};

use crate::{build::Tree, source::Mutant, trial::Fate};

/// The modules that decide who somebody is or how a scope ends, and their files or folders.
const MODULES: &[(&str, &[&str])] = &[
    ("policy", &["src/policy.rs"]),
    ("list and tally", &["src/resolve/"]),
    ("outcomes", &["src/outcome.rs"]),
    (
        "modifiers",
        &["src/strategy/modifiers.rs", "src/strategy/fallback.rs"],
    ),
    ("trusted header", &["src/strategy/trusted_header/"]),
    ("tokens", &["src/jwt/", "src/token/"]),
    ("sessions", &["src/session/"]),
    ("scope", &["src/scope/"]),
    ("factory", &["src/factory/"]),
    ("body", &["src/response/", "src/trailers.rs"]),
    ("future", &["src/future.rs", "src/time_limit.rs"]),
    ("ids", &["src/context/"]),
];
/// Changes that no test can notice, with the reason.
const EQUIVALENT: &str = ".ci/mutants/equivalent.md";
const ALIVE: &str = "target/mutants/alive";

struct Arguments {
    sample: usize,
    seed: u64,
    within: Option<String>,
    again: bool,
    minutes: Option<u64>,
}

fn arguments() -> Result<Arguments, String> {
    let mut read = Arguments {
        sample: 300,
        seed: 1,
        within: None,
        again: false,
        minutes: None,
    };
    let mut given = env::args().skip(1);
    while let Some(option) = given.next() {
        let mut value = || {
            given
                .next()
                .ok_or_else(|| format!("{option} needs a value"))
        };
        match option.as_str() {
            "--sample" => read.sample = value()?.parse().map_err(|_| "--sample N")?,
            "--seed" => read.seed = value()?.parse().map_err(|_| "--seed N")?,
            "--in" => read.within = Some(value()?),
            "--minutes" => read.minutes = Some(value()?.parse().map_err(|_| "--minutes N")?),
            "--again" => read.again = true,
            _ => return Err(format!("unknown option {option}")),
        }
    }
    Ok(read)
}

fn module_of(file: &str) -> Option<&'static str> {
    let is_in = |path: &&str| file == *path || (path.ends_with('/') && file.starts_with(*path));
    MODULES
        .iter()
        .find_map(|(name, paths)| paths.iter().any(|path| is_in(path)).then_some(*name))
}

/// As many of each module as there are, in an order that the seed alone decides.
fn sample(mutants: &[Mutant], size: usize, seed: u64) -> Vec<Mutant> {
    let mut of: BTreeMap<&str, Vec<(u64, &Mutant)>> = BTreeMap::new();
    for mutant in mutants {
        let module = module_of(&mutant.file).unwrap_or_default();
        of.entry(module)
            .or_default()
            .push((hash(&mutant.key(), seed), mutant));
    }
    for found in of.values_mut() {
        found.sort_by_key(|(order, mutant)| (*order, mutant.number));
    }
    let most = of.values().map(Vec::len).max().unwrap_or_default();
    let rounds = (0..most).flat_map(|round| of.values().filter_map(move |found| found.get(round)));
    rounds
        .take(size)
        .map(|(_, mutant)| (*mutant).clone())
        .collect()
}

/// FNV-1a, and a last round that mixes it.
fn hash(text: &str, seed: u64) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325 ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let hashed = text.bytes().fold(start, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    (hashed ^ (hashed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<ExitCode, String> {
    let arguments = arguments()?;
    let tree = Tree::copy(|file| module_of(file).is_some())?;
    let mutants = tree.compile()?;
    println!("{} changes compile", mutants.len());

    let alive = fs::read_to_string(ALIVE).unwrap_or_default();
    let mut chosen: Vec<Mutant> = mutants;
    if let Some(within) = &arguments.within {
        chosen.retain(|mutant| mutant.file.starts_with(within));
    }
    if arguments.again {
        chosen.retain(|mutant| alive.lines().any(|line| line == mutant.key()));
    } else {
        chosen = sample(&chosen, arguments.sample, arguments.seed);
    }

    let fates = {
        let limit = arguments
            .minutes
            .map(|minutes| Duration::from_secs(minutes * 60));
        trial::run(&tree.tests()?, &chosen, limit)?
    };
    let equivalent = fs::read_to_string(EQUIVALENT).unwrap_or_default();
    let mut table: BTreeMap<&str, [usize; 3]> = BTreeMap::new();
    let mut survivors = Vec::new();
    let tried = |(_, fate): &(&Mutant, &Fate)| !matches!(fate, Fate::Untried);
    for (mutant, fate) in chosen.iter().zip(&fates).filter(tried) {
        let row = table
            .entry(module_of(&mutant.file).unwrap_or_default())
            .or_default();
        row[0] += 1;
        if let Fate::Killed = fate {
            row[1] += 1;
        } else if equivalent.lines().any(|line| line == mutant.entry()) {
            row[2] += 1;
        } else {
            survivors.push((mutant, fate));
        }
    }

    println!("\n| module | tried | killed | equivalent | alive |\n| --- | --: | --: | --: | --: |");
    let mut all = [0; 3];
    for (module, row) in &table {
        let [tried, killed, equal] = *row;
        println!(
            "| {module} | {tried} | {killed} | {equal} | {} |",
            tried - killed - equal
        );
        for (sum, part) in all.iter_mut().zip(row) {
            *sum += part;
        }
    }
    let [tried, killed, equal] = all;
    println!(
        "| all | {tried} | {killed} | {equal} | {} |",
        survivors.len()
    );
    println!(
        "\nkilled: {:.1} %\n",
        100.0 * killed as f64 / tried.max(1) as f64
    );
    let mut kept = String::new();
    for (mutant, fate) in &survivors {
        let reach = if let Fate::Unreached = fate {
            " (no test comes here)"
        } else {
            ""
        };
        println!("- {}{reach}", mutant.shown());
        kept.push_str(&mutant.key());
        kept.push('\n');
    }
    fs::write(ALIVE, kept).map_err(|error| error.to_string())?;
    let enough = (killed + equal) * 100 >= tried * 95;
    Ok(if enough {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
