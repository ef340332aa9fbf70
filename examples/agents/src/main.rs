//! A backend for the agents of many users, on one machine and with one command:
//!
//! ```sh
//! cargo run -p agents
//! ```
//!
//! Open the page in two browser profiles, sign up in both, and let agents run. `-- --help` shows the
//! options, `-- --once` checks the program and ends.
//!
//! Read `factory.rs` first, which is what each request gets, and `users.rs`, which is the layer. Then
//! `api.rs` and `streams.rs` have the handlers, `jobs.rs` the runs, `work.rs` the transaction, `log_in.rs`
//! the sessions. `app.rs` puts them together.

mod api;
mod app;
mod check;
mod database;
mod factory;
mod failed;
mod hub;
mod jobs;
mod keys;
mod log_in;
mod model;
mod operators;
mod options;
mod origin;
mod page;
mod plant;
mod registry;
mod sessions;
mod shutdown;
mod streams;
mod users;
mod work;

use std::process::ExitCode;

use self::{app::App, options::Options, plant::Plant, shutdown::Shutdown};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<ExitCode, BoxError> {
    let options = match Options::from_command_line() {
        Ok(options) => options,
        Err(wrong) => {
            let plants = Plant::ALL.map(|(name, _)| name).join(", ");
            eprintln!("{wrong}\n\n{}{plants}", options::USAGE);
            return Ok(ExitCode::FAILURE);
        }
    };
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_writer(std::io::stderr)
        .init();
    let shutdown = Shutdown::by_signals()?;
    let app = App::start(&options, shutdown.clone()).await?;
    if options.once {
        let checked = check::check(app.address, app.operators).await;
        shutdown.begin();
        app.until_shutdown().await;
        return checked.map(|()| ExitCode::SUCCESS);
    }
    println!("Agents are at http://{}/ until Ctrl-C.", app.address);
    println!("Metrics are at http://{}/metrics.", app.operators);
    println!("Files are in {}.", app.directory.path.display());
    println!("\nSign up in two browser profiles, and let agents run in both.");
    app.until_shutdown().await;
    Ok(ExitCode::SUCCESS)
}
