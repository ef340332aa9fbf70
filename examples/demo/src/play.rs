//! Plays a scenario against one of the services, over TCP.

use std::{collections::VecDeque, error::Error, net::SocketAddr, sync::Arc, time::Duration};

use axum::http::{Request, StatusCode};
use http_body_util::BodyExt;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::{net::TcpStream, sync::broadcast, task::JoinHandle, time::timeout};

use crate::{
    agents::{Database, Model},
    feed::{Feed, Kind, Line},
    raw,
    scenarios::{Action, Scenario, Step, Who},
};

pub(crate) type BoxError = Box<dyn Error + Send + Sync>;

/// No step takes longer, or the demo is broken.
const LIMIT: Duration = Duration::from_secs(20);

/// A service that runs.
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    pub(crate) database: Arc<Database>,
    pub(crate) model: Arc<Model>,
    /// Of the layer. By hand nobody reports anything.
    pub(crate) feed: Option<Feed>,
    /// Forgets what the service has in memory.
    pub(crate) forget: Box<dyn Fn() + Send + Sync>,
}

/// What came of a scenario in one service.
#[derive(Debug, Serialize)]
pub(crate) struct Played {
    pub(crate) leaked: bool,
    pub(crate) refused: bool,
    pub(crate) steps: Vec<Seen>,
}

/// What came of a step.
#[derive(Debug, Serialize)]
pub(crate) struct Seen {
    pub(crate) who: Who,
    says: &'static str,
    /// The request as text, where the step sent one.
    request: Option<&'static str>,
    pub(crate) status: Option<u16>,
    pub(crate) answer: Option<String>,
    /// Whether the answer has what belongs to the other user.
    pub(crate) leaked: bool,
    /// What the audit log says of it.
    reason: Option<String>,
}

type Response = (StatusCode, String);
type Begun = JoinHandle<Result<Response, BoxError>>;

impl Service {
    /// Plays the scenario from its beginning, in a service that has forgotten the one before.
    pub(crate) async fn play(&self, scenario: &Scenario) -> Result<Played, BoxError> {
        self.database.clear();
        for who in [Who::Alice, Who::Bob] {
            self.database.add(who.id(), who.note());
        }
        self.model.forget();
        (self.forget)();
        let mut begun = VecDeque::new();
        let mut steps = Vec::new();
        for step in scenario.steps {
            let seen = timeout(LIMIT, self.take(step, &mut begun)).await;
            steps.push(seen.map_err(|_| format!("too slow: {}", step.says))??);
        }
        Ok(Played {
            leaked: steps.iter().any(|seen| seen.leaked),
            refused: steps
                .iter()
                .any(|seen| seen.status.is_some_and(|status| status >= 400)),
            steps,
        })
    }

    async fn take(&self, step: &Step, begun: &mut VecDeque<Begun>) -> Result<Seen, BoxError> {
        let mut lines = self.feed.as_ref().map(Feed::subscribe);
        let mut request = None;
        let mut response = None;
        let mut reason = None;
        match step.action {
            Action::Send(text) => {
                request = Some(text);
                response = Some(send(self.address, raw::parse(text)?).await?);
                reason = lines.as_mut().and_then(why);
            }
            Action::Begin(text) => {
                request = Some(text);
                begun.push_back(tokio::spawn(send(self.address, raw::parse(text)?)));
                self.model.until_waiting(begun.len()).await;
            }
            Action::Cancel => {
                let first = begun.pop_front().ok_or("nothing was begun")?;
                // The task has the connection, which closes with it.
                first.abort();
                self.model.until_waiting(begun.len()).await;
                if let Some(lines) = &mut lines {
                    reason = Some(closed(lines).await?);
                }
            }
            Action::Finish => {
                let first = begun.pop_front().ok_or("nothing was begun")?;
                self.model.answer_one();
                response = Some(first.await??);
            }
        }
        let (status, answer) = response.unzip();
        Ok(Seen {
            who: step.who,
            says: step.says,
            request,
            status: status.map(|status| status.as_u16()),
            leaked: answer
                .as_ref()
                .is_some_and(|answer| step.who.must_not_see(answer)),
            answer,
            reason,
        })
    }
}

/// Returns why the request was refused, by the lines so far. An event is there before the response.
fn why(lines: &mut broadcast::Receiver<Line>) -> Option<String> {
    let mut reason = None;
    while let Ok(line) = lines.try_recv() {
        if matches!(line.kind, Kind::Refused | Kind::Isolation) {
            reason = Some(line.text);
        }
    }
    reason
}

/// Waits until a scope has closed.
async fn closed(lines: &mut broadcast::Receiver<Line>) -> Result<String, BoxError> {
    loop {
        let line = lines.recv().await?;
        if line.kind == Kind::Closed {
            return Ok(line.text);
        }
    }
}

/// Sends one request on a connection of its own. Dropped, it closes the connection.
async fn send(address: SocketAddr, mut request: Request<String>) -> Result<Response, BoxError> {
    let host = address.to_string().parse()?;
    request.headers_mut().insert("host", host);
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let exchange = async move {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    };
    // Both at once: the connection ends when the exchange has dropped its sender.
    let (response, _) = tokio::join!(exchange, connection);
    response
}
