//! The client through which a scenario acts.

use std::{
    convert::Infallible,
    fmt,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use http::{
    HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{ACCEPT, CONTENT_TYPE},
};
use http_body::Body;
use tower::Service;

use super::{events::EventStream, reply::Reply, state::State};
use crate::testing::{
    TestBody, TestUser,
    isolation::{Answer, End},
};

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

    /// Opens an event stream with a `GET`, which stays open while the scenario goes on.
    ///
    /// ```
    /// # use tower_user_scope::testing::Client;
    /// async fn scenario(client: Client) {
    ///     let mut notes = client.events("/notes/events").await;
    ///     client.post("/notes", client.secret("note")).await;
    ///     let event = notes.next().await.expect("an event");
    ///     assert_eq!(event.text(), client.secret("note"));
    /// }
    /// # let _ = scenario;
    /// ```
    ///
    /// # Panics
    /// If the path is none.
    pub async fn events(&self, path: &str) -> EventStream {
        let request = Request::get(path).header(ACCEPT, "text/event-stream");
        let request = request
            .body(Bytes::new())
            .unwrap_or_else(|error| panic!("{path} is not a path: {error}"));
        let label = format!("GET {}", request.uri().path());
        let mut events = EventStream::new(self.state.clone(), self.seat, request.uri().path());
        let exchange = &mut events.exchange;
        let opened = self
            .state
            .record(self.seat, label, "the response", |cancel| async move {
                if cancel.is_some() {
                    return (Answer::default(), End::Cancelled);
                }
                *exchange = Some(self.state.open(self.seat, &self.user, request));
                let (answer, end) = super::events::open(exchange).await;
                self.state
                    .session(self.seat, |session| session.remember(&answer.headers));
                (answer, end)
            })
            .await;
        events.status = opened.status();
        events
    }

    /// Does something that is not a request to the service as a step of the scenario: a message of a
    /// WebSocket, a call through a client of the application's own.
    ///
    /// `what` stands in reports where a request has its method and path. What comes back is looked at
    /// and compared as a response's body is; an error is one of the service.
    ///
    /// ```
    /// # use std::io::Error;
    /// # use tower_user_scope::testing::Client;
    /// # async fn receive() -> Result<String, Error> { Ok(String::new()) }
    /// async fn scenario(client: Client) {
    ///     let message = client.step("RECEIVE /chat", receive()).await;
    ///     assert_eq!(message.text(), client.secret("note"));
    /// }
    /// # let _ = scenario;
    /// ```
    pub async fn step<T: Into<Bytes>, E: fmt::Display>(
        &self,
        what: &str,
        work: impl Future<Output = Result<T, E>>,
    ) -> Reply {
        let record = |cancel: Option<usize>| async move {
            let mut work = pin!(work);
            let done = poll_fn(|cx| match work.as_mut().poll(cx) {
                Poll::Ready(done) => Poll::Ready(Some(done)),
                Poll::Pending if cancel.is_some() => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            });
            let mut answer = Answer::default();
            match done.await {
                None => (answer, End::Cancelled),
                Some(Err(error)) => (answer, End::Failed(error.to_string())),
                Some(Ok(bytes)) => {
                    answer.status = Some(StatusCode::OK);
                    answer.body = bytes.into().into();
                    (answer, End::Completed)
                }
            }
        };
        self.state
            .record(self.seat, what.to_owned(), "its end", record)
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

/// Other clients work on top of this one, such as those that tonic generates:
/// `GreeterClient::new(client.clone())`. Each call is a step of the scenario, and its response is
/// read to its end before it is returned.
impl<B> Service<Request<B>> for Client
where
    B: Body<Error: fmt::Display> + 'static,
{
    type Response = Response<TestBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<TestBody>, Infallible>>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let client = self.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = collected(body).await;
            let reply = client.send(Request::from_parts(head, body)).await;
            let mut response = Response::new(TestBody::with_trailers(reply.body, &reply.trailers));
            *response.status_mut() = reply.status;
            *response.headers_mut() = reply.headers;
            *response.extensions_mut() = reply.extensions;
            Ok(response)
        })
    }
}

/// Reads a request's body. One that breaks ends the user's script.
async fn collected<B: Body<Error: fmt::Display>>(body: B) -> Bytes {
    let mut body = pin!(body);
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let frame = frame.unwrap_or_else(|error| panic!("the request's body broke: {error}"));
        if let Ok(mut data) = frame.into_data() {
            bytes.extend_from_slice(&data.copy_to_bytes(data.remaining()));
        }
    }
    bytes.into()
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}
