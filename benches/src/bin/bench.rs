//! Measures; see the modules of `programs`.

use std::{env, process::ExitCode};

use tower_user_scope_benches::programs::{load, serve, threads, time};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.split_first() {
        Some((program, arguments)) if program == "time" => time::run(arguments),
        Some((program, arguments)) if program == "threads" => threads::run(arguments),
        Some((program, arguments)) if program == "load" => load::run(arguments),
        Some((program, arguments)) if program == "serve" => serve::run(arguments),
        _ => {
            eprintln!("bench time | threads | load | serve");
            ExitCode::FAILURE
        }
    }
}
