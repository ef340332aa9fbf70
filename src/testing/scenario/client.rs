//! The client through which a scenario acts.

use std::{fmt, rc::Rc};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, header::CONTENT_TYPE};

use super::{reply::Reply, state::State};
use crate::testing::TestUser;

/// A client of one user: it sends requests, and keeps cookies and headers between them.
///
/// A scenario gets one, and does the same with it whoever the user is. See
/// [`ScenarioCheck`](crate::testing::ScenarioCheck).
#[derive(Clone)]
pub struct Client {
    pub(super) user: TestUser,
    /// As whom it is recorded.
    pub(super) seat: usize,
    pub(super) state: Rc<State>,
}

impl Client {
    /// Returns the user.
    #[must_use]
    pub fn user(&self) -> &TestUser {
        &self.user
    }

    /// Returns the user's id.
    #[must_use]
    pub fn id(&self) -> &str {
        self.user.id()
    }

    /// Returns a text that only this user may see; see [`TestUser::secret`].
    #[must_use]
    pub fn secret(&self, name: &str) -> String {
        self.user.secret(name)
    }

    /// Sends a `GET`.
    pub async fn get(&self, path: &str) -> Reply {
        self.ask(Method::GET, path, Bytes::new()).await
    }

    /// Sends a `POST`.
    pub async fn post(&self, path: &str, body: impl Into<Bytes>) -> Reply {
        self.ask(Method::POST, path, body.into()).await
    }

    /// Sends a `POST` with a JSON body, such as a `serde_json::json!(..)`.
    ///
    /// # Panics
    /// If the path is none.
    pub async fn post_json(&self, path: &str, body: impl fmt::Display) -> Reply {
        let request = Request::post(path).header(CONTENT_TYPE, "application/json");
        let request = request.body(body.to_string());
        self.send(request.unwrap_or_else(|error| panic!("{path} is not a path: {error}")))
            .await
    }

    /// Sends a `PUT`.
    pub async fn put(&self, path: &str, body: impl Into<Bytes>) -> Reply {
        self.ask(Method::PUT, path, body.into()).await
    }

    /// Sends a `DELETE`.
    pub async fn delete(&self, path: &str) -> Reply {
        self.ask(Method::DELETE, path, Bytes::new()).await
    }

    /// Sends a request, with the cookies and headers that the client keeps, and reads the response to
    /// its end.
    pub async fn send(&self, request: Request<impl Into<Bytes>>) -> Reply {
        let request = request.map(Into::into);
        self.state
            .clone()
            .step(self.seat, &self.user, request)
            .await
    }

    /// Sends this header with each request from now on, such as a token that a log-in returned.
    ///
    /// # Panics
    /// If the name or the value is none of HTTP.
    pub fn set_header(&self, name: &str, value: impl AsRef<str>) {
        let parsed = name
            .parse::<HeaderName>()
            .ok()
            .zip(HeaderValue::from_str(value.as_ref()).ok());
        let (name, value) = parsed.unwrap_or_else(|| panic!("not a header: {name}"));
        self.state
            .session(self.seat, |session| session.set_header(name, value));
    }

    /// Forgets all cookies and headers, as a client that was closed.
    pub fn forget(&self) {
        self.state
            .session(self.seat, super::session::Session::forget);
    }

    /// Remembers that this user created a thing of this kind, for
    /// [`ScenarioCheck::foreign`](crate::testing::ScenarioCheck::foreign).
    pub fn created(&self, kind: &str, id: impl Into<String>) {
        self.state.created(self.seat, kind, id.into());
    }

    async fn ask(&self, method: Method, path: &str, body: Bytes) -> Reply {
        let request = Request::builder().method(method).uri(path).body(body);
        self.send(request.unwrap_or_else(|error| panic!("{path} is not a path: {error}")))
            .await
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}
