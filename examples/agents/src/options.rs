//! The command line.

use std::{env, net::SocketAddr, path::PathBuf, time::Duration};

use crate::plant::Plant;

pub(crate) const USAGE: &str = "\
usage: agents [OPTIONS]

  --listen ADDRESS         where users come in; 127.0.0.1:3000 by default
  --operators ADDRESS      where metrics and health are; a free port of 127.0.0.1 by default
  --https                  for use behind a proxy with TLS: cookies that other hosts can't set
  --data DIRECTORY         keeps the databases and the audit log here, not in a temporary directory
  --redis URL              keeps sessions in Redis, not in SQLite
  --postgres URL           keeps everything else in PostgreSQL; its role is neither owner nor superuser
  --postgres-owner URL     makes the tables and the role `agents` first
  --model-delay MS         how long the model takes for a word; 60 by default
  --once                   checks itself on free ports, and ends
  --plant BUG              runs with a bug, to show that it is found: ";

/// How the program was started.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) listen: SocketAddr,
    pub(crate) operators: SocketAddr,
    pub(crate) https: bool,
    pub(crate) data: Option<PathBuf>,
    pub(crate) redis: Option<String>,
    pub(crate) postgres: Option<String>,
    pub(crate) postgres_owner: Option<String>,
    pub(crate) model_delay: Duration,
    pub(crate) once: bool,
    pub(crate) plant: Option<Plant>,
}

impl Options {
    pub(crate) fn from_command_line() -> Result<Self, String> {
        let loopback = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let mut options = Self {
            listen: loopback(3000),
            operators: loopback(0),
            https: false,
            data: None,
            redis: None,
            postgres: None,
            postgres_owner: None,
            model_delay: Duration::from_millis(60),
            once: false,
            plant: None,
        };
        let mut arguments = env::args().skip(1);
        while let Some(name) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{name} needs a value"));
            match name.as_str() {
                "--listen" => options.listen = parsed(&name, &value()?)?,
                "--operators" => options.operators = parsed(&name, &value()?)?,
                "--https" => options.https = true,
                "--data" => options.data = Some(value()?.into()),
                "--redis" => options.redis = Some(value()?),
                "--postgres" => options.postgres = Some(value()?),
                "--postgres-owner" => options.postgres_owner = Some(value()?),
                "--model-delay" => {
                    options.model_delay = Duration::from_millis(parsed(&name, &value()?)?);
                }
                "--once" => {
                    options.once = true;
                    options.listen = loopback(0);
                    options.model_delay = Duration::from_millis(1);
                }
                "--plant" => options.plant = Some(parsed(&name, &value()?)?),
                _ => return Err(format!("{name} is not an option")),
            }
        }
        if options.postgres_owner.is_some() && options.postgres.is_none() {
            return Err("--postgres-owner needs --postgres".to_owned());
        }
        Ok(options)
    }
}

fn parsed<T: std::str::FromStr>(name: &str, value: &str) -> Result<T, String> {
    let wrong = |_| format!("{name} can't be {value:?}");
    value.parse().map_err(wrong)
}
