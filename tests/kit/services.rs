//! Services of notes, as they are written and as they leak.

use std::{
    collections::HashMap,
    convert::Infallible,
    hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState},
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{HeaderName, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use tower::{Service, service_fn};
use tower_layer::Layer;
use tower_user_scope::{
    ExistingContext, UserContext, UserScopeExt, UserScopeLayer,
    testing::{AsUser, Client, IsolationCheck, IsolationReport, Recorder, ScenarioCheck, TestBody},
};

use super::support::lock;

/// What a service keeps in memory.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) notes: Vec<Note>,
    /// A text that handlers leave for the next request: the bug of many.
    pub(crate) kept: String,
    pub(crate) count: usize,
    pub(crate) cache: HashMap<String, String>,
}

pub(crate) struct Note {
    pub(crate) owner: String,
    pub(crate) id: String,
    pub(crate) text: String,
}

/// A request as a handler sees it.
pub(crate) struct Ask<'a> {
    pub(crate) user: &'a str,
    pub(crate) method: &'a Method,
    pub(crate) path: &'a str,
    pub(crate) body: &'a str,
}

impl Ask<'_> {
    pub(crate) fn is(&self, method: &str, path: &str) -> bool {
        self.method == method && self.path == path
    }
}

pub(crate) type Answer = Response<Full<Bytes>>;
pub(crate) type Handle = fn(&mut World, &Ask<'_>) -> Answer;

pub(crate) fn answer(status: u16, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = StatusCode::from_u16(status).expect("a status");
    answer
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "tables of cases read better without borrows"
)]
pub(crate) fn ok(body: impl ToString) -> Answer {
    answer(200, body.to_string())
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "tables of cases read better without borrows"
)]
pub(crate) fn with_header(mut answer: Answer, name: &str, value: impl ToString) -> Answer {
    let name: HeaderName = name.parse().expect("a name");
    answer
        .headers_mut()
        .insert(name, value.to_string().parse().expect("visible"));
    answer
}

pub(crate) fn hash(of: impl Hash) -> String {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    format!("{:x}", hasher.finish())
}

pub(crate) fn random() -> String {
    format!("{:016x}", RandomState::new().hash_one(0))
}

impl World {
    pub(crate) fn of<'a>(&'a self, user: &'a str) -> impl Iterator<Item = &'a Note> {
        self.notes.iter().filter(move |note| note.owner == user)
    }

    pub(crate) fn find(&self, path: &str) -> Option<&Note> {
        let id = path.strip_prefix("/notes/")?;
        self.notes.iter().find(|note| note.id == id)
    }

    pub(crate) fn add(&mut self, ask: &Ask<'_>) -> String {
        let id = hash((ask.user, self.of(ask.user).count()));
        self.notes.push(Note {
            owner: ask.user.to_owned(),
            id: id.clone(),
            text: ask.body.to_owned(),
        });
        id
    }
}

/// The service without a leak.
pub(crate) fn honest(world: &mut World, ask: &Ask<'_>) -> Answer {
    match (ask.method.as_str(), ask.path) {
        ("POST", "/notes") => answer(201, world.add(ask)),
        ("GET", "/notes") => {
            let notes = world
                .of(ask.user)
                .map(|note| serde_json::json!({"id": note.id, "text": note.text}));
            ok(serde_json::json!({ "notes": notes.collect::<Vec<_>>() }))
        }
        ("GET", path) if path.starts_with("/notes/") => match world.find(path) {
            Some(note) if note.owner == ask.user => ok(&note.text),
            _ => answer(404, "there is no such note"),
        },
        (_, "/extra") => ok("nothing"),
        _ => answer(404, "there is no such page"),
    }
}

struct Repository {
    owner: String,
}

/// Puts a handler behind the layer, with a world of its own.
pub(crate) fn service(
    recorder: Recorder,
    handle: Handle,
) -> impl Service<Request<TestBody>, Response = Response<impl http_body::Body>, Error = Infallible> + Clone
{
    let world: Arc<Mutex<World>> = Arc::default();
    let layer = UserScopeLayer::builder()
        .strategy(ExistingContext::new())
        .factory(|user: &UserContext| Repository {
            owner: user.user_id().map_or_else(String::new, ToString::to_string),
        })
        .observer(recorder)
        .build()
        .expect("a valid configuration");
    layer.layer(service_fn(move |request: Request<TestBody>| {
        let world = Arc::clone(&world);
        let repository = request.scoped::<Repository>().expect("in scope").clone();
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.expect("infallible").to_bytes();
            let ask = Ask {
                user: &repository.owner,
                method: &head.method,
                path: head.uri.path(),
                body: std::str::from_utf8(&body).expect("text"),
            };
            tokio::task::yield_now().await;
            Ok::<_, Infallible>(handle(&mut lock(&world), &ask))
        }
    }))
}

/// What each user does.
pub(crate) async fn script(client: Client) {
    let created = client.post("/notes", client.secret("note")).await;
    if created.status().is_success() {
        client.created("note", created.text());
    }
    client.get("/notes").await;
    client.get("/extra").await;
    client.post("/extra", client.secret("extra")).await;
    client.get("/extra").await;
}

/// Plays the script with a check.
pub(crate) async fn play(check: ScenarioCheck, handle: Handle) -> IsolationReport {
    let recorder = Recorder::new();
    check
        .recorder(&recorder)
        .authenticate(|user, request| request.as_user(user.id()))
        .foreign("note", |id| {
            let request = Request::get(format!("/notes/{id}")).body(Bytes::new());
            request.expect("a path")
        })
        .run(async || service(recorder.clone(), handle), script)
        .await
}

/// Sends the requests of the script with a check that looks for ids and secrets alone.
pub(crate) async fn search(handle: Handle) -> IsolationReport {
    let number = std::cell::Cell::new(0);
    let recorder = Recorder::new();
    IsolationCheck::new()
        .users(4)
        .requests_of_each(8)
        .recorder(&recorder)
        .run(service(recorder.clone(), handle), |user| {
            number.set(number.get() + 1);
            let (method, path, body) = [
                ("POST", "/notes", user.secret("note")),
                ("GET", "/notes", String::new()),
                ("POST", "/extra", user.secret("extra")),
                ("GET", "/extra", String::new()),
            ][number.get() % 4]
                .clone();
            let request = Request::builder().method(method).uri(path);
            request
                .body(TestBody::from(body))
                .expect("a request")
                .as_user(user.id())
        })
        .await
}
