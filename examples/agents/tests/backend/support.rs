//! The program, as a process, and users of it.

use std::{
    env,
    future::Future,
    io::{self, Write},
    process::Stdio,
    time::Duration,
};

use reqwest::{Client, Method, RequestBuilder, Response, header};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

/// Nothing here takes longer, unless it hangs.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// Says that a test is skipped, where that is allowed.
pub(crate) fn skip(test: &str, missing: &str, required: &str) {
    let line = format!("SKIPPED {test}: {missing} is not installed");
    assert!(env::var_os(required).is_none(), "{line}");
    // Past the capture of the test harness, which hides what passing tests print.
    let _ = writeln!(io::stderr(), "{line}");
}

/// Waits until the condition holds. A test that would hang fails.
pub(crate) async fn soon<T>(what: &str, happens: impl Future<Output = T>) -> T {
    timeout(LIMIT, happens)
        .await
        .unwrap_or_else(|_| panic!("never happened: {what}"))
}

/// Starts a program that prints where it is, and returns the words between these texts.
pub(crate) async fn start(mut program: Command, around: &[(&str, char)]) -> (Child, Vec<String>) {
    let mut child = program
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the program starts");
    let mut lines = BufReader::new(child.stdout.take().expect("it has a pipe")).lines();
    let mut words = Vec::new();
    let found = async {
        for (before, after) in around {
            loop {
                let line = lines.next_line().await.expect("it prints text");
                let line = line.expect("it listens before it ends");
                if let Some((_, rest)) = line.split_once(before) {
                    words.push(rest.split(*after).next().unwrap_or_default().to_owned());
                    break;
                }
            }
        }
    };
    soon("the program listens", found).await;
    // The pipe stays open, or the program would fail with its next line.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    (child, words)
}

/// The backend, until it is dropped.
#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) child: Child,
    /// `http://` and the address.
    pub(crate) url: String,
    /// Of its files: it is killed, and can't remove them itself.
    _files: TempDir,
}

impl Backend {
    pub(crate) async fn start(arguments: &[&str]) -> Self {
        let mut program = Command::new(env!("CARGO_BIN_EXE_agents"));
        program.args(["--listen", "127.0.0.1:0"]).args(arguments);
        let files = TempDir::new().expect("a directory");
        program.env("TMPDIR", files.path());
        program.stderr(Stdio::null());
        let around = [("Agents are at ", ' ')];
        let (child, words) = start(program, &around).await;
        Self {
            child,
            url: words[0].trim_end_matches('/').to_owned(),
            _files: files,
        }
    }

    pub(crate) async fn sign_up(&self, name: &str) -> User {
        User::enter(&self.url, "/sign-up", name).await
    }
}

/// A user with a session.
#[derive(Clone, Debug)]
pub(crate) struct User {
    client: Client,
    url: String,
    pub(crate) name: String,
    pub(crate) cookie: String,
}

impl User {
    async fn enter(url: &str, path: &str, name: &str) -> Self {
        let client = Client::new();
        let account = json!({ "name": name, "password": "correct horse" });
        let response = client
            .post(format!("{url}{path}"))
            .json(&account)
            .send()
            .await
            .expect("an answer");
        assert!(response.status().is_success(), "{response:?}");
        let cookie = response.headers()[header::SET_COOKIE]
            .to_str()
            .expect("text");
        Self {
            client,
            url: url.to_owned(),
            name: name.to_owned(),
            cookie: cookie.split(';').next().unwrap_or_default().to_owned(),
        }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.url));
        request.header(header::COOKIE, &self.cookie)
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path)
            .send()
            .await
            .expect("an answer")
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Response {
        let request = self.request(Method::POST, path).json(body);
        request.send().await.expect("an answer")
    }

    /// Adds a thread, and returns its id.
    pub(crate) async fn add_thread(&self, title: &str) -> String {
        let thread = self.post("/api/threads", &json!({ "title": title })).await;
        let thread: Value = thread.json().await.expect("a thread");
        thread["id"].as_str().expect("an id").to_owned()
    }

    /// Starts a run, and returns the user's events up to its end.
    pub(crate) async fn run(&self, thread: &str, agent: &str, input: &str) -> String {
        let run = self
            .request(Method::POST, &format!("/api/threads/{thread}/runs"))
            .header(header::ACCEPT, "text/event-stream")
            .json(&json!({ "agent": agent, "input": input }));
        let response = run.send().await.expect("an answer");
        assert!(response.status().is_success(), "{response:?}");
        response.text().await.expect("events")
    }
}
