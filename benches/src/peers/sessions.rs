//! Who reads sessions, from a store in memory.

use std::{collections::HashMap, convert::Infallible, sync::Arc};

use axum::body::Body;
use axum_login::{AuthManagerLayerBuilder, AuthSession, AuthUser, AuthnBackend};
use http::{
    Request, Response, StatusCode,
    header::{COOKIE, SET_COOKIE},
};
use tower::{Service, service_fn};
use tower_layer::Layer;

use crate::{
    case::{Case, respond},
    requests,
};

const KEY: &str = "user_id";

/// tower-sessions 0.15: one value read.
#[must_use]
pub fn tower_sessions() -> Case {
    use tower_sessions::{MemoryStore, Session, SessionManagerLayer};

    let layer = SessionManagerLayer::new(MemoryStore::default());
    let mut writes = layer.layer(service_fn(|request: Request<()>| async move {
        let session = request.extensions().get::<Session>().expect("a session");
        session.insert(KEY, "alice").await.expect("a value kept");
        Ok::<_, Infallible>(Response::new(()))
    }));
    let request = with_cookie_of(&mut writes);
    let reads = layer.layer(service_fn(|request: Request<()>| async move {
        let session = request.extensions().get::<Session>().expect("a session");
        let user = session.get::<String>(KEY).await;
        Ok::<_, Infallible>(found(matches!(user, Ok(Some(user)) if user == "alice")))
    }));
    Case::new(reads, requests::same(request))
}

/// axum-login 0.18: its user loaded.
#[must_use]
pub fn axum_login() -> Case {
    use tower_sessions_014::{MemoryStore, SessionManagerLayer};

    let alice = User {
        id: "alice".to_owned(),
    };
    let users = HashMap::from([(alice.id.clone(), alice.clone())]);
    let backend = Backend(Arc::new(users));
    let sessions = SessionManagerLayer::new(MemoryStore::default());
    let layer = AuthManagerLayerBuilder::new(backend, sessions).build();
    let mut logs_in = layer.layer(service_fn(move |mut request: Request<()>| {
        let alice = alice.clone();
        async move {
            let session = request
                .extensions_mut()
                .get_mut::<AuthSession<Backend>>()
                .expect("a session");
            session.login(&alice).await.expect("a login");
            Ok::<_, Infallible>(Response::new(Body::empty()))
        }
    }));
    let request = with_cookie_of(&mut logs_in);
    let reads = layer.layer(service_fn(|request: Request<()>| async move {
        let session = request.extensions().get::<AuthSession<Backend>>();
        let user = session.and_then(|session| session.user.as_ref());
        Ok::<_, Infallible>(
            found(user.is_some_and(|user| user.id == "alice")).map(|()| Body::empty()),
        )
    }));
    Case::new(reads, requests::same(request))
}

fn found(found: bool) -> Response<()> {
    let mut response = Response::new(());
    if !found {
        *response.status_mut() = StatusCode::UNAUTHORIZED;
    }
    response
}

/// The request of a client that was given a cookie.
fn with_cookie_of<S, R>(service: &mut S) -> Request<()>
where
    S: Service<Request<()>, Response = Response<R>, Error: std::fmt::Debug>,
{
    let response = respond(service, requests::bare());
    let set = response.headers().get(SET_COOKIE).expect("a cookie");
    let set = cookie::Cookie::parse(set.to_str().expect("text")).expect("a cookie");
    requests::with_header(COOKIE, &format!("{}={}", set.name(), set.value()))
}

#[derive(Clone, Debug)]
struct User {
    id: String,
}

impl AuthUser for User {
    type Id = String;

    fn id(&self) -> String {
        self.id.clone()
    }

    fn session_auth_hash(&self) -> &[u8] {
        b"a hash of a password, as long as one is"
    }
}

#[derive(Clone)]
struct Backend(Arc<HashMap<String, User>>);

impl AuthnBackend for Backend {
    type User = User;
    type Credentials = ();
    type Error = Infallible;

    async fn authenticate(&self, (): ()) -> Result<Option<User>, Infallible> {
        Ok(None)
    }

    async fn get_user(&self, user: &String) -> Result<Option<User>, Infallible> {
        Ok(self.0.get(user).cloned())
    }
}
