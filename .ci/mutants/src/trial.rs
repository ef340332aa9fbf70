//! Runs with each change the tests that come to it.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::source::Mutant;

/// What became of a change.
#[derive(Debug)]
pub enum Fate {
    Killed,
    Survived,
    /// No test comes to where it is.
    Unreached,
    /// The time was over.
    Untried,
}

/// A test, and what it comes to without any change.
struct Test {
    program: usize,
    name: String,
    took: Duration,
    reached: BTreeSet<usize>,
}

/// Longer than any test takes on a busy machine; a change that waits for ever is killed by it.
const LONGEST: Duration = Duration::from_secs(30);
/// Tests that take longer are run with those changes alone that all others let pass.
const SLOW: Duration = Duration::from_secs(4);
/// So many tests are run with a change before the others are.
const AT_FIRST: usize = 25;

type Programs = [(PathBuf, PathBuf)];

pub fn run(
    programs: &Programs,
    mutants: &[Mutant],
    limit: Option<Duration>,
) -> Result<Vec<Fate>, String> {
    let tests = known_tests(programs)?;
    eprintln!("{} tests in {} programs", tests.len(), programs.len());
    let started = Instant::now();
    let done = AtomicUsize::new(0);
    let fates = in_parallel(mutants, |mutant| {
        if limit.is_some_and(|limit| started.elapsed() > limit) {
            return Fate::Untried;
        }
        let fate = try_one(programs, &tests, mutant.number);
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        if !matches!(fate, Fate::Killed) {
            eprintln!("{done}: {fate:?} {}", mutant.shown());
        } else if done % 20 == 0 {
            eprintln!(
                "{done} of {} after {} s",
                mutants.len(),
                started.elapsed().as_secs()
            );
        }
        fate
    });
    Ok(fates)
}

fn try_one(programs: &Programs, tests: &[Test], number: usize) -> Fate {
    let mut reaching: Vec<&Test> = tests
        .iter()
        .filter(|test| test.reached.contains(&number))
        .collect();
    if reaching.is_empty() {
        return Fate::Unreached;
    }
    // Quick ones first, and of those the ones that come to the least: they are about this place.
    reaching.sort_by_key(|test| (test.took.as_millis() / 50, test.reached.len()));
    let quick = reaching.partition_point(|test| test.took <= SLOW);
    let (quick, slow) = reaching.split_at(quick);
    let (first, others) = quick.split_at(quick.len().min(AT_FIRST));
    for batch in [first, others, slow] {
        let mut of_program: BTreeMap<usize, Vec<&Test>> = BTreeMap::new();
        for test in batch {
            of_program.entry(test.program).or_default().push(test);
        }
        for (program, tests) in of_program {
            let took: Duration = tests.iter().map(|test| test.took).sum();
            let names: Vec<&str> = tests.iter().map(|test| test.name.as_str()).collect();
            let (file, folder) = &programs[program];
            let number = number.to_string();
            let ok = tried(
                file,
                folder,
                &names,
                &[("MUTANT", Path::new(&number))],
                LONGEST + took * 2,
            );
            if !ok {
                return Fate::Killed;
            }
        }
    }
    Fate::Survived
}

/// Each test alone and without any change: what it comes to, and whether it passes at all.
fn known_tests(programs: &Programs) -> Result<Vec<Test>, String> {
    let mut names = Vec::new();
    for (index, (program, folder)) in programs.iter().enumerate() {
        let listed = Command::new(program)
            .args(["--list", "--format=terse"])
            .current_dir(folder)
            .output()
            .map_err(|error| error.to_string())?;
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        let listed = listed
            .lines()
            .filter_map(|line| line.strip_suffix(": test"));
        names.extend(listed.map(|name| (index, name.to_owned())));
    }
    let notes = env::current_dir()
        .map_err(|error| error.to_string())?
        .join("target/mutants/reached");
    let _ = fs::remove_dir_all(&notes);
    fs::create_dir_all(&notes).map_err(|error| error.to_string())?;
    let tests = in_parallel(&names, |(program, name)| {
        let file = notes.join(format!("{program}-{}", name.replace("::", "-")));
        let started = Instant::now();
        let (test, folder) = &programs[*program];
        let variables = [("MUTANTS_REACHED", file.as_path())];
        let ok = tried(test, folder, &[name.as_str()], &variables, LONGEST * 4);
        let took = started.elapsed();
        if !ok {
            eprintln!("fails without any change, and is left out: {name}");
            return None;
        }
        let reached = fs::read_to_string(&file).unwrap_or_default();
        if took > SLOW {
            eprintln!("takes {} s, and is run last: {name}", took.as_secs());
        }
        Some(Test {
            program: *program,
            name: name.clone(),
            took,
            reached: reached
                .lines()
                .filter_map(|line| line.parse().ok())
                .collect(),
        })
    });
    Ok(tests.into_iter().flatten().collect())
}

/// Whether the tests pass in time.
fn tried(
    program: &Path,
    folder: &Path,
    names: &[&str],
    variables: &[(&str, &Path)],
    limit: Duration,
) -> bool {
    let mut command = Command::new(program);
    command
        .args(["--exact", "--test-threads=2"])
        .args(names)
        .current_dir(folder)
        // As cargo sets them for tests.
        .env("CARGO_MANIFEST_DIR", folder)
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        // What it starts is ended with it.
        .process_group(0);
    let Ok(mut child) = command.spawn() else {
        return false;
    };
    // One that fails is enough.
    let failed = Arc::new(AtomicBool::new(false));
    if let Some(output) = child.stdout.take() {
        let failed = Arc::clone(&failed);
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if line.starts_with("test ") && line.ends_with("FAILED") {
                    failed.store(true, Ordering::Relaxed);
                }
            }
        });
    }
    let started = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) if started.elapsed() < limit && !failed.load(Ordering::Relaxed) => {
                thread::sleep(Duration::from_millis(5));
            }
            _ => {
                let group = format!("-{}", child.id());
                let _ = Command::new("kill").args(["-9", "--", &group]).status();
                let _ = child.wait();
                return false;
            }
        }
    }
}

/// The same for each, by as many threads as there are processors, in the order of what is given.
fn in_parallel<T: Sync, R: Send>(of: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(one) = of.get(index) else { break };
                    let result = work(one);
                    results
                        .lock()
                        .expect("no thread panics")
                        .push((index, result));
                }
            });
        }
    });
    let mut results = results.into_inner().expect("no thread panics");
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}
