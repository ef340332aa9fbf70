//! The same small service twice, by hand and with the layer, on a page that attacks both.
//!
//! `cargo run -p demo` prints the page's address and opens it in the browser; `-- --no-browser`
//! only prints it. `-- --once` plays each scenario, prints what came of it, and ends.
//!
//! Read `agents.rs` first, which is the service, then `by_hand.rs` and `with_layer.rs` side by
//! side. The others are the demo itself: `scenarios.rs` has what is sent, `play.rs` sends it,
//! `feed.rs` and `page.rs` show it, and `demo.rs` puts it
//! together.

mod agents;
mod by_hand;
mod demo;
mod feed;
mod page;
mod play;
mod raw;
mod scenarios;
mod with_layer;

use std::{env, process::ExitCode, sync::Arc};

use self::{
    demo::{Demo, serve},
    play::BoxError,
};

#[tokio::main]
async fn main() -> Result<ExitCode, BoxError> {
    let asked_for = |flag| env::args().any(|argument| argument == flag);
    let demo = Arc::new(Demo::start().await?);
    if asked_for("--once") {
        return Ok(if demo.check().await? {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        });
    }
    let [by_hand, with_layer] = demo.addresses();
    let url = format!("http://{}/", serve(page::routes(demo)).await?);
    println!("The demo is at {url} until Ctrl-C.\n");
    println!("The two services take your own requests, too:\n");
    println!("  curl -H 'x-user-id: alice' http://{by_hand}/notes");
    println!("  curl -H 'x-user-id: alice' http://{with_layer}/notes");
    // A machine without a browser has the address above.
    if !asked_for("--no-browser") && open::that_detached(&url).is_err() {
        println!("\nOpen it in your browser.");
    }
    std::future::pending().await
}
