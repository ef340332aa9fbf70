//! Says of a request what each strategy finds in it, what the answer is, and what to do about a refusal.
//!
//! ```sh
//! explain-example explain.toml request.txt             # a request as HTTP/1.1 has it
//! explain-example explain.toml session.har             # each request that a browser has recorded
//! pbpaste | explain-example explain.toml --peer 10.0.0.7 -   # a line "Copy as cURL", from a proxy
//! explain-example --reason token_wrong_audience        # a word of the log
//! ```
//!
//! `--json` writes one line of JSON for each request. No output has a credential. Stores and issuers are
//! really asked, but nothing is sent to the service itself.

mod advice;
mod cases;
mod configuration;
mod output;
mod sent;

use std::{
    env,
    error::Error,
    fs,
    io::{self, IsTerminal, Read},
    net::{IpAddr, SocketAddr},
    path::Path,
};

use tower_user_scope::PeerAddr;

const USAGE: &str = "usage: explain-example CONFIGURATION [--peer ADDRESS] [--json] FILE|-
       explain-example --reason WORD
       explain-example --once";

#[derive(Default)]
struct Arguments {
    files: Vec<String>,
    peer: Option<IpAddr>,
    json: bool,
    reason: Option<String>,
    once: bool,
}

impl Arguments {
    fn read(mut arguments: impl Iterator<Item = String>) -> Result<Self, Box<dyn Error>> {
        let mut read = Self::default();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(USAGE);
            match &*argument {
                "--peer" => read.peer = Some(value()?.parse()?),
                "--reason" => read.reason = Some(value()?),
                "--json" => read.json = true,
                "--once" => read.once = true,
                unknown if unknown.starts_with("--") => return Err(USAGE.into()),
                _ => read.files.push(argument),
            }
        }
        Ok(read)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::read(env::args().skip(1))?;
    if arguments.once {
        return cases::check().await;
    }
    if let Some(word) = &arguments.reason {
        let advice = advice::of_refusal(word).ok_or("the guide has no such reason")?;
        println!("{}\n{}", advice.means, advice.what_to_do);
        return Ok(());
    }
    let [configuration, request] = &*arguments.files else {
        return Err(USAGE.into());
    };
    let folder = Path::new(configuration).parent().unwrap_or(Path::new("."));
    let layer = configuration::layer(&fs::read_to_string(configuration)?, folder)?;
    let text = if request == "-" {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text)?;
        text
    } else {
        fs::read_to_string(request)?
    };
    let coloured = io::stdout().is_terminal() && env::var_os("NO_COLOR").is_none();
    for mut head in sent::read(&text)? {
        if let Some(peer) = arguments.peer {
            let peer = PeerAddr(SocketAddr::new(peer, 0));
            head.extensions.insert(peer);
        }
        let explanation = layer.explain(&head).await;
        if arguments.json {
            println!("{}", output::json(&head, &explanation));
        } else {
            println!("{}", output::text(&head, &explanation, coloured));
        }
    }
    Ok(())
}
