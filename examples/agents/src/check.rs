//! `--once`: two users on the running program, from log-in to log-out.

use std::net::SocketAddr;

use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, header};
use serde_json::{Value, json};

use crate::BoxError;

/// A user with a browser, or a program of the user's.
struct User {
    client: Client,
    base: String,
    /// A header, and its value.
    credential: (&'static str, String),
}

impl User {
    async fn sign_up(address: SocketAddr, name: &str) -> Result<Self, BoxError> {
        let base = format!("http://{address}");
        let client = Client::new();
        let account = json!({ "name": name, "password": "correct horse" });
        let request = client.post(format!("{base}/sign-up")).json(&account);
        let response = expected(request, StatusCode::CREATED).await?;
        let cookie = response
            .headers()
            .get(header::SET_COOKIE)
            .ok_or("no cookie")?;
        let cookie = cookie
            .to_str()?
            .split(';')
            .next()
            .unwrap_or_default()
            .to_owned();
        let credential = ("cookie", cookie);
        Ok(Self {
            client,
            base,
            credential,
        })
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let (name, value) = &self.credential;
        let request = self.client.request(method, format!("{}{path}", self.base));
        request.header(*name, value)
    }

    async fn ask(&self, method: Method, path: &str, status: u16) -> Result<String, BoxError> {
        let expected = expected(self.request(method, path), StatusCode::from_u16(status)?);
        Ok(expected.await?.text().await?)
    }

    async fn post(&self, path: &str, body: Value) -> Result<Value, BoxError> {
        let request = self.request(Method::POST, path).json(&body);
        let response = request.send().await?.error_for_status()?;
        Ok(response.json().await?)
    }

    /// Starts a run, and returns its events up to its end.
    async fn run(&self, thread: &str, agent: &str, input: &str) -> Result<String, BoxError> {
        let request = self
            .request(Method::POST, &format!("/api/threads/{thread}/runs"))
            .header(header::ACCEPT, "text/event-stream")
            .json(&json!({ "agent": agent, "input": input }));
        Ok(expected(request, StatusCode::OK).await?.text().await?)
    }
}

async fn expected(request: RequestBuilder, status: StatusCode) -> Result<Response, BoxError> {
    let response = request.send().await?;
    if response.status() != status {
        let url = response.url().path().to_owned();
        return Err(format!("{url} is {}, and not {status}", response.status()).into());
    }
    Ok(response)
}

fn shows(text: &str, wanted: &str, unwanted: &str) -> Result<(), BoxError> {
    if !text.contains(wanted) || text.contains(unwanted) {
        return Err(format!("expected {wanted:?} and not {unwanted:?} in {text}").into());
    }
    Ok(())
}

fn done(what: &str) {
    println!("ok: {what}");
}

pub(crate) async fn check(address: SocketAddr, operators: SocketAddr) -> Result<(), BoxError> {
    let alice = User::sign_up(address, "alice").await?;
    let bob = User::sign_up(address, "bob").await?;
    shows(
        &alice.ask(Method::GET, "/api/me", 200).await?,
        "alice",
        "bob",
    )?;
    done("two users sign up");

    let thread = alice
        .post("/api/threads", json!({ "title": "the harbour" }))
        .await?;
    let thread = thread["id"].as_str().ok_or("a thread without an id")?;
    let of_bob = bob
        .post("/api/threads", json!({ "title": "the airport" }))
        .await?;
    let of_bob = of_bob["id"].as_str().ok_or("a thread without an id")?;
    let path = format!("/api/threads/{thread}");
    bob.ask(Method::GET, &path, 404).await?;
    shows(
        &bob.ask(Method::GET, "/api/threads", 200).await?,
        "airport",
        "harbour",
    )?;
    done("neither has the other's thread");

    let mut listens = expected(bob.request(Method::GET, "/api/events"), StatusCode::OK).await?;
    let (ran, of_others) = tokio::join!(
        alice.run(thread, "outline", "ships at night"),
        bob.run(of_bob, "answer", "planes by day"),
    );
    shows(&ran?, "ships", "planes")?;
    shows(&of_others?, "planes", "ships")?;
    shows(
        &alice.ask(Method::GET, &path, 200).await?,
        "Review of ships",
        "planes",
    )?;
    done("runs are their user's, and so are their events");

    let key = alice.post("/api/keys", json!({})).await?;
    let key = key["key"].as_str().ok_or("a key without a secret")?;
    let program = User {
        client: Client::new(),
        base: alice.base.clone(),
        credential: ("authorization", format!("Bearer {key}")),
    };
    shows(
        &program.ask(Method::GET, &path, 200).await?,
        "harbour",
        "airport",
    )?;
    let both = bob.request(Method::GET, "/api/me");
    let both = both.header("authorization", format!("Bearer {key}"));
    expected(both, StatusCode::UNAUTHORIZED).await?;
    done("an API key is its user's, and no other credential may come with it");

    let other_site = alice
        .request(Method::GET, "/api/me")
        .header("origin", "http://other.example");
    expected(other_site, StatusCode::FORBIDDEN).await?;
    done("another site can't use a session");

    bob.ask(Method::POST, "/log-out", 204).await?;
    let mut rest = Vec::new();
    while let Some(chunk) = listens.chunk().await? {
        rest.extend_from_slice(&chunk);
    }
    let rest = String::from_utf8_lossy(&rest);
    shows(&rest, "planes", "ships")?;
    shows(&rest, "scope-ended", "ships")?;
    bob.ask(Method::GET, "/api/me", 401).await?;
    alice.ask(Method::GET, "/api/me", 200).await?;
    done("a log-out ends the session's streams, and nobody else's");

    let metrics = reqwest::get(format!("http://{operators}/metrics")).await?;
    shows(&metrics.text().await?, "user_scope", "alice")?;
    done("metrics count, and name nobody");
    Ok(())
}
