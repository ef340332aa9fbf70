//! A copy of the tree with all changes in it, compiled once.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    ops::Range,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::source::{self, Mutant};

const TREE: &str = "target/mutants/tree";
/// Changes that didn't compile last time, so that nobody finds it out again.
const DROPPED: &str = "target/mutants/dropped";
/// What only the compiler or a document is asked in.
const LEFT_OUT: &[&str] = &["ui-tests", "guide-tests"];

/// Asks which change is on, and notes in a file which ones were asked for.
const SWITCH: &str = r#"
use std::{env, fs::File, io::Write, sync::{Mutex, OnceLock, atomic::{AtomicBool, Ordering}}};

static ON: OnceLock<usize> = OnceLock::new();
static SEEN: [AtomicBool; COUNT] = [const { AtomicBool::new(false) }; COUNT];
static NOTES: OnceLock<Option<Mutex<File>>> = OnceLock::new();

#[inline(never)]
pub(crate) fn on(number: usize) -> bool {
    let on = *ON.get_or_init(|| {
        env::var("MUTANT").ok().and_then(|number| number.parse().ok()).unwrap_or(0)
    });
    if on == 0 && !SEEN[number].swap(true, Ordering::Relaxed) {
        note(number);
    }
    on == number
}

fn note(number: usize) {
    let notes = NOTES.get_or_init(|| {
        let name = env::var_os("MUTANTS_REACHED")?;
        Some(Mutex::new(File::options().append(true).create(true).open(name).ok()?))
    });
    if let Some(notes) = notes {
        let line = format!("{number}\n");
        drop(notes.lock().map(|mut notes| notes.write_all(line.as_bytes())));
    }
}
"#;

pub struct Tree {
    /// The files with changes, and what they are without.
    files: BTreeMap<String, String>,
    found: Vec<Mutant>,
}

fn shown(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Writes where something has changed, so that cargo compiles no more than that again.
fn write(path: &Path, content: &[u8]) -> Result<(), String> {
    if fs::read(path).is_ok_and(|old| old == content) {
        return Ok(());
    }
    fs::create_dir_all(path.parent().unwrap_or(path)).map_err(shown)?;
    fs::write(path, content).map_err(shown)
}

impl Tree {
    /// Copies what git knows of, and finds the changes of the files that are chosen.
    pub fn copy(is_chosen: impl Fn(&str) -> bool) -> Result<Self, String> {
        let listed = Command::new("git")
            .args([
                "ls-files",
                "-z",
                "--cached",
                "--others",
                "--exclude-standard",
            ])
            .output()
            .map_err(shown)?;
        let listed = String::from_utf8(listed.stdout).map_err(shown)?;
        // What was moved or removed since the last copy must not be compiled.
        let listed: BTreeSet<&str> = listed.split('\0').filter(|name| !name.is_empty()).collect();
        forget(Path::new(TREE), &listed)?;
        let (mut files, mut found) = (BTreeMap::new(), Vec::new());
        for name in listed {
            let Ok(content) = fs::read(name) else {
                continue;
            };
            if is_chosen(name) {
                let text = String::from_utf8(content).map_err(shown)?;
                let first = found.len() + 1;
                let problem = |error| format!("{name}: {error}");
                found.extend(source::find(name, &text, first).map_err(problem)?);
                files.insert(name.to_owned(), text);
            } else if name != "src/lib.rs" {
                let path = Path::new(TREE).join(name);
                write(&path, &content)?;
                fs::set_permissions(&path, fs::metadata(name).map_err(shown)?.permissions())
                    .map_err(shown)?;
            }
        }
        let root = fs::read_to_string("src/lib.rs").map_err(shown)?;
        // A change may leave something without use, and one may be found wrong by a lint.
        let allowed = "#![allow(warnings, arithmetic_overflow, unconditional_panic)]";
        let root = format!("{allowed}\n{root}\nmod mutant_switch;\n");
        write(&Path::new(TREE).join("src/lib.rs"), root.as_bytes())?;
        let count = format!("const COUNT: usize = {};\n{SWITCH}", found.len() + 1);
        write(
            &Path::new(TREE).join("src/mutant_switch.rs"),
            count.as_bytes(),
        )?;
        Ok(Self { files, found })
    }

    /// The changes that compile, in one build.
    pub fn compile(&self) -> Result<Vec<Mutant>, String> {
        let known = fs::read_to_string(DROPPED).unwrap_or_default();
        let known: BTreeSet<&str> = known.lines().collect();
        let mut kept = self.found.clone();
        kept.retain(|mutant| !known.contains(mutant.key().as_str()));
        let mut dropped: BTreeSet<String> = known.into_iter().map(str::to_owned).collect();
        loop {
            let places = self.write(&kept)?;
            let (ok, messages) = cargo(&["check", "--lib", "--all-features"])?;
            if ok {
                fs::write(DROPPED, Vec::from_iter(dropped).join("\n")).map_err(shown)?;
                return Ok(kept);
            }
            let errors = messages
                .iter()
                .filter(|message| message["message"]["level"] == "error");
            let bad: BTreeSet<usize> = errors.flat_map(|error| blamed(&places, error)).collect();
            if bad.is_empty() {
                return Err(rendered(&messages));
            }
            eprintln!("{} of {} changes do not compile", bad.len(), kept.len());
            let gone = kept.iter().filter(|mutant| bad.contains(&mutant.number));
            dropped.extend(gone.map(Mutant::key));
            kept.retain(|mutant| !bad.contains(&mutant.number));
        }
    }

    fn write(&self, kept: &[Mutant]) -> Result<Places, String> {
        let mut places = Places::new();
        for (name, text) in &self.files {
            let of_file: Vec<&Mutant> = kept.iter().filter(|mutant| mutant.file == *name).collect();
            let (written, found) = source::write(text, &of_file);
            write(&Path::new(TREE).join(name), written.as_bytes())?;
            places.insert(name.clone(), found);
        }
        Ok(places)
    }

    /// The test programs, and the folder that each is run in.
    pub fn tests(&self) -> Result<Vec<(PathBuf, PathBuf)>, String> {
        let mut arguments = vec![
            "test",
            "--workspace",
            "--all-features",
            "--lib",
            "--tests",
            "--no-run",
        ];
        for package in LEFT_OUT {
            arguments.extend(["--exclude", package]);
        }
        let (ok, messages) = cargo(&arguments)?;
        if !ok {
            return Err(rendered(&messages));
        }
        let programs = messages.iter().filter_map(|message| {
            let program = message["executable"].as_str()?;
            let folder = Path::new(message["manifest_path"].as_str()?).parent()?;
            let is_test = message["profile"]["test"].as_bool()?;
            is_test.then(|| (program.into(), folder.into()))
        });
        Ok(programs.collect())
    }
}

/// Each file's changes, with where their text is.
type Places = BTreeMap<String, Vec<(usize, Range<usize>)>>;

/// The changes that an error is about: those in whose text it is; else those in whose text is what
/// else it shows; else the nearest ones.
fn blamed(places: &Places, error: &Value) -> BTreeSet<usize> {
    let spans = error["message"]["spans"].as_array().into_iter().flatten();
    let spans: Vec<(bool, Range<usize>, &Vec<(usize, Range<usize>)>)> = spans
        .filter_map(|span| {
            let number = |name: &str| usize::try_from(span[name].as_u64()?).ok();
            let start = number("byte_start")?;
            let range = start..number("byte_end")?.max(start + 1);
            let places = places.get(span["file_name"].as_str()?)?;
            Some((span["is_primary"] == true, range, places))
        })
        .collect();
    for primary in [true, false] {
        let of_kind = spans
            .iter()
            .filter(|(is_primary, ..)| *is_primary == primary);
        let met: BTreeSet<usize> = of_kind
            .flat_map(|(_, range, places)| {
                let meets =
                    |place: &Range<usize>| place.start < range.end && range.start < place.end;
                places
                    .iter()
                    .filter(move |(_, place)| meets(place))
                    .map(|(number, _)| *number)
            })
            .collect();
        if !met.is_empty() {
            return met;
        }
    }
    let nearest = spans.iter().flat_map(|(_, range, places)| {
        let before = places
            .iter()
            .filter(|(_, place)| place.end <= range.start)
            .next_back();
        let after = places.iter().find(|(_, place)| place.start >= range.end);
        [before, after]
            .into_iter()
            .flatten()
            .map(|(number, _)| *number)
    });
    nearest.collect()
}

fn rendered(messages: &[Value]) -> String {
    let errors = messages
        .iter()
        .filter(|message| message["message"]["level"] == "error");
    let texts = errors.filter_map(|error| error["message"]["rendered"].as_str());
    texts.collect::<Vec<_>>().join("\n")
}

fn cargo(arguments: &[&str]) -> Result<(bool, Vec<Value>), String> {
    let target = fs::canonicalize("target").map_err(shown)?;
    let output = Command::new("cargo")
        .args(arguments)
        .args(["--quiet", "--locked", "--message-format=json"])
        .current_dir(TREE)
        .env("CARGO_TARGET_DIR", target)
        .env("CARGO_INCREMENTAL", "0")
        .stderr(Stdio::inherit())
        .output()
        .map_err(shown)?;
    let text = String::from_utf8_lossy(&output.stdout);
    let messages = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    Ok((output.status.success(), messages))
}

/// Removes what isn't listed any more.
fn forget(folder: &Path, listed: &BTreeSet<&str>) -> Result<(), String> {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.map_err(shown)?.path();
        let name = path
            .strip_prefix(TREE)
            .map_err(shown)?
            .to_string_lossy()
            .into_owned();
        if path.is_dir() {
            forget(&path, listed)?;
        } else if !listed.contains(name.as_str()) && name != "src/mutant_switch.rs" {
            fs::remove_file(&path).map_err(shown)?;
        }
    }
    Ok(())
}
