//! A scenario from a file.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, header::CONTENT_TYPE};
use serde::Deserialize;
use tower_user_scope::testing::{Client, ScenarioCheck, TestUser};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    users: Vec<User>,
    /// A path with `{id}` for each kind of thing.
    #[serde(default)]
    foreign: BTreeMap<String, String>,
    requests: Vec<Step>,
    #[serde(default)]
    may_differ: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct User {
    id: String,
    headers: BTreeMap<String, String>,
    #[serde(default)]
    secrets: BTreeMap<String, String>,
    #[serde(default)]
    things: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    #[serde(default = "get")]
    method: String,
    path: String,
    #[serde(default)]
    content_type: Option<String>,
    #[serde(default)]
    body: String,
}

fn get() -> String {
    "GET".to_owned()
}

impl Scenario {
    pub(crate) fn parse(text: &str) -> Result<Self, Box<dyn std::error::Error>> {
        let scenario: Self = toml::from_str(text)?;
        if scenario.users.len() < 2 {
            return Err("isolation takes two users".into());
        }
        Ok(scenario)
    }

    /// Returns a check with the users and rules of the file.
    pub(crate) fn check(&self) -> ScenarioCheck {
        let users = self.users.iter().map(|user| {
            let known = TestUser::new(&user.id);
            let secrets = user.secrets.iter();
            secrets.fold(known, |known, (name, secret)| {
                known.with_secret(name, secret)
            })
        });
        let headers: Vec<_> = self.users.iter().map(|user| user.headers.clone()).collect();
        let mut check =
            ScenarioCheck::new()
                .known_users(users)
                .authenticate(move |user, mut request| {
                    for (name, value) in &headers[user.number()] {
                        if let (Ok(name), Ok(value)) =
                            (name.parse::<HeaderName>(), HeaderValue::from_str(value))
                        {
                            request.headers_mut().insert(name, value);
                        }
                    }
                    request
                });
        for (kind, path) in self.foreign.clone() {
            check = check.foreign(kind, move |id| {
                let request = Request::get(path.replace("{id}", id)).body(Bytes::new());
                request.unwrap_or_default()
            });
        }
        for place in &self.may_differ {
            check = check.may_differ(place);
        }
        check
    }

    /// Does what one user does.
    pub(crate) async fn play(&self, client: &Client) {
        for (kind, id) in &self.users[client.user().number()].things {
            client.created(kind, id);
        }
        for step in &self.requests {
            let mut request = Request::builder()
                .method(step.method.as_str())
                .uri(&step.path);
            if let Some(content_type) = &step.content_type {
                request = request.header(CONTENT_TYPE, content_type);
            }
            match request.body(step.body.clone()) {
                Ok(request) => drop(client.send(request).await),
                Err(error) => panic!("{} {}: {error}", step.method, step.path),
            }
        }
    }
}
