//! End to end: a server on loopback under `wrk`, with the layer, without it, with a layer that
//! does nothing and by hand; and for one, a thousand and a million users.
//!
//! `load [--rounds N] [--seconds S]`: all servers run at once and are loaded in turn, so that
//! whatever the machine does meets all of them alike. With two cores or more, and `taskset`, the
//! servers are pinned to one core and `wrk` to another: unpinned they take each other's time, and
//! ratios of one binary move by a fifth. Where there is a valgrind, the instructions of a request
//! are counted too, which nothing else on the machine changes.

use std::{
    collections::HashMap,
    env,
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader, Error, Result},
    num::NonZero,
    path::PathBuf,
    process::{Child, Command, ExitCode, Stdio},
    sync::OnceLock,
    thread,
};

use crate::{
    callgrind,
    programs::number_after,
    ratios::{self, Ratio, Target},
    rounds::{median, paired},
    served,
};

/// One server, and how many users ask it.
struct Server {
    name: String,
    users: u32,
    child: Child,
    address: String,
    /// Memory before the first request, in KiB.
    fresh: u64,
    /// What it was asked so far.
    requests: f64,
    /// By round.
    per_second: Vec<f64>,
    /// Microseconds of the server's own time for a request, by round.
    cpu: Vec<f64>,
}

impl Server {
    fn start(kind: &str, users: u32) -> Result<Self> {
        let mut child = on_core("0", env::current_exe()?)
            .args(["serve", kind])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut address = String::new();
        let output = child
            .stdout
            .take()
            .ok_or_else(|| Error::other("no output"))?;
        BufReader::new(output).read_line(&mut address)?;
        let fresh = resident(&child)?;
        Ok(Self {
            name: format!("{kind}_users_{users}"),
            users,
            child,
            address: address.trim().to_owned(),
            fresh,
            requests: 0.0,
            per_second: Vec::new(),
            cpu: Vec::new(),
        })
    }

    fn load(&mut self, seconds: usize) -> Result<()> {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("users.lua");
        let first = self.requests % f64::from(self.users);
        let cpu_before = cpu_seconds(&self.child)?;
        let output = on_core("1", "wrk")
            .args(["--threads=1", "--connections=32"])
            .arg(format!("--duration={seconds}s"))
            .arg("--script")
            .arg(script)
            .arg(format!("http://{}/", self.address))
            .args(["--", &self.users.to_string(), &format!("{first:.0}")])
            .output()?;
        let report = String::from_utf8_lossy(&output.stdout);
        let result = report
            .lines()
            .find_map(|line| line.strip_prefix("RESULT "))
            .ok_or_else(|| Error::other(format!("wrk said: {report}")))?;
        let (requests, per_second) = match result.split(' ').collect::<Vec<_>>()[..] {
            [requests, per_second, "0"] => (requests.parse::<f64>(), per_second.parse()),
            _ => return Err(Error::other(format!("requests failed: {result}"))),
        };
        match (requests, per_second) {
            (Ok(requests), Ok(per_second)) => {
                let cpu = cpu_seconds(&self.child)? - cpu_before;
                self.requests += requests;
                self.per_second.push(per_second);
                self.cpu.push(cpu * 1e6 / requests);
                Ok(())
            }
            _ => Err(Error::other(format!("wrk said: {result}"))),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Its input ends, and so does it.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// A command that is pinned to a core where that is possible.
fn on_core(core: &str, program: impl AsRef<OsStr>) -> Command {
    if !can_pin() {
        return Command::new(program);
    }
    let mut command = Command::new("taskset");
    command.args(["-c", core]).arg(program);
    command
}

/// Whether there are two cores, and a `taskset`.
fn can_pin() -> bool {
    static CAN_PIN: OnceLock<bool> = OnceLock::new();
    *CAN_PIN.get_or_init(|| {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let mut taskset = Command::new("taskset");
        let works = taskset
            .args(["-c", "1", "true"])
            .stderr(Stdio::null())
            .status();
        cores >= 2 && works.is_ok_and(|status| status.success())
    })
}

/// What a process has used of the processors.
fn cpu_seconds(child: &Child) -> Result<f64> {
    /// Of `/proc`, on every Linux.
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.id()))?;
    // After the name, in brackets, the twelfth and the thirteenth field: user and system.
    let ticks: Vec<f64> = stat
        .rsplit(')')
        .next()
        .into_iter()
        .flat_map(str::split_whitespace)
        .skip(11)
        .take(2)
        .filter_map(|ticks| ticks.parse().ok())
        .collect();
    Ok(ticks.iter().sum::<f64>() / TICKS_PER_SECOND)
}

/// The memory that a process really has, in KiB.
fn resident(child: &Child) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id()))?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse().ok())
        .ok_or_else(|| Error::other("no VmRSS"))
}

fn measure(rounds: usize, seconds: usize) -> Result<()> {
    let mut servers = Vec::new();
    for (kind, users) in [
        ("none", 1),
        ("none", 1_000_000),
        ("identity", 1),
        ("by_hand", 1),
        ("scope", 1),
        ("scope", 1_000),
        ("scope", 1_000_000),
    ] {
        servers.push(Server::start(kind, users)?);
    }
    for server in &mut servers {
        // The warm-up.
        server.load(seconds)?;
        (server.per_second, server.cpu) = (Vec::new(), Vec::new());
    }
    for round in 0..rounds {
        // Not always the same one first.
        let first = round % servers.len();
        let (before, after) = servers.split_at_mut(first);
        for server in after.iter_mut().chain(before) {
            server.load(seconds)?;
        }
    }
    println!(
        "| server | requests/s | its CPU, µs a request | requests in all | RSS before, KiB | RSS after, KiB |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    let mut memory = HashMap::new();
    for server in &servers {
        let after = resident(&server.child)?;
        println!(
            "| {} | {:.0} | {:.1} | {:.0} | {} | {after} |",
            server.name,
            median(&server.per_second),
            median(&server.cpu),
            server.requests,
            server.fresh
        );
        memory.insert(server.name.as_str(), after as f64);
    }
    println!();
    println!(
        "the servers and wrk are {}",
        if can_pin() {
            "pinned to a core each"
        } else {
            "NOT pinned"
        }
    );
    println!();
    print_instructions()?;
    let by_name: HashMap<&str, &Server> = servers
        .iter()
        .map(|server| (server.name.as_str(), server))
        .collect();
    let quotient = |figures: fn(&Server) -> &[f64], above: &str, below: &str| {
        let (above, below) = (figures(by_name.get(above)?), figures(by_name.get(below)?));
        Some(paired(above, below, |above, below| above / below))
    };
    let throughput = |above: &str, below: &str, target| Ratio {
        name: format!("requests_per_second_{above}/{below}"),
        value: quotient(|server| &server.per_second, above, below),
        target,
    };
    let cpu = |above: &str, below: &str, target| Ratio {
        name: format!("cpu_per_request_{above}/{below}"),
        value: quotient(|server| &server.cpu, above, below),
        target,
    };
    ratios::print(&[
        throughput("scope_users_1", "none_users_1", Some(Target::AtLeast(0.98))),
        throughput("scope_users_1", "identity_users_1", None),
        throughput("scope_users_1", "by_hand_users_1", None),
        throughput("identity_users_1", "none_users_1", None),
        throughput("by_hand_users_1", "none_users_1", None),
        cpu("scope_users_1", "none_users_1", Some(Target::AtMost(1.03))),
        cpu("scope_users_1", "identity_users_1", None),
        cpu("scope_users_1", "by_hand_users_1", None),
        cpu("by_hand_users_1", "none_users_1", None),
        cpu(
            "scope_users_1000",
            "scope_users_1",
            Some(Target::AtMost(1.1)),
        ),
        cpu(
            "scope_users_1000000",
            "scope_users_1",
            Some(Target::AtMost(1.1)),
        ),
        cpu("none_users_1000000", "none_users_1", None),
        Ratio {
            name: "memory_scope_users_1000000/scope_users_1".to_owned(),
            value: memory
                .get("scope_users_1000000")
                .zip(memory.get("scope_users_1"))
                .map(|(million, one)| million / one),
            target: Some(Target::AtMost(1.1)),
        },
    ]);
    Ok(())
}

/// The instructions of a request, in the server's own process.
fn print_instructions() -> Result<()> {
    if !callgrind::is_there() {
        println!("instructions are not counted: there is no valgrind");
        return Ok(());
    }
    let bench = env::current_exe()?;
    println!("| server | instructions of a request |");
    println!("| --- | ---: |");
    for kind in ["none", "identity", "by_hand", "scope"] {
        println!("| {kind} | {} |", served::instructions(&bench, kind)?);
    }
    println!();
    Ok(())
}

/// Measures and prints.
#[must_use]
pub fn run(arguments: &[String]) -> ExitCode {
    let rounds = number_after("--rounds", arguments).unwrap_or(25);
    let seconds = number_after("--seconds", arguments).unwrap_or(1);
    match measure(rounds, seconds) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
