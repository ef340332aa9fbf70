//! An issuer on a socket for tests: its keys can change, it can be killed, and it counts requests.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::{
    collections::HashMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::watch,
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::{TlsAcceptor, rustls};

pub(crate) use crate::tokens::jwk::jwk;

type Documents = HashMap<String, (StatusCode, Bytes)>;

const TO_KEYS: &str = "/keys";

pub(crate) struct IssuerServer {
    address: SocketAddr,
    published: Arc<Published>,
    tls: Option<TlsAcceptor>,
    task: Option<JoinHandle<()>>,
}

struct Published {
    documents: Mutex<Documents>,
    asked: AtomicUsize,
    open: watch::Sender<bool>,
    location: Mutex<String>,
}

impl Published {
    fn documents(&self) -> MutexGuard<'_, Documents> {
        self.documents
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl IssuerServer {
    pub(crate) async fn start() -> Self {
        Self::start_with(None).await
    }

    /// Starts a server with TLS and this certificate.
    pub(crate) async fn start_with_tls(config: rustls::ServerConfig) -> Self {
        Self::start_with(Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn start_with(tls: Option<TlsAcceptor>) -> Self {
        let mut server = Self {
            address: ([127, 0, 0, 1], 0).into(),
            published: Arc::new(Published {
                documents: Mutex::default(),
                asked: AtomicUsize::new(0),
                open: watch::Sender::new(true),
                location: Mutex::new(TO_KEYS.to_owned()),
            }),
            tls,
            task: None,
        };
        server.restart().await;
        server
    }

    pub(crate) fn url(&self, path: &str) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://localhost:{}{path}", self.address.port())
    }

    /// Responds with this JWK set from now on.
    pub(crate) fn publish(&self, keys: impl IntoIterator<Item = Value>) {
        let set = json!({"keys": keys.into_iter().collect::<Vec<_>>()});
        self.answer("/keys", StatusCode::OK, set.to_string());
    }

    pub(crate) fn answer(&self, path: &str, status: StatusCode, body: impl Into<Bytes>) {
        let answer = (status, body.into());
        self.published.documents().insert(path.to_owned(), answer);
    }

    /// Sets the target of redirects, instead of `/keys`.
    pub(crate) fn redirect_to(&self, location: String) {
        let place = self.published.location.lock();
        *place.unwrap_or_else(PoisonError::into_inner) = location;
    }

    /// Returns the number of requests so far.
    pub(crate) fn asked(&self) -> usize {
        self.published.asked.load(Ordering::SeqCst)
    }

    /// Waits until it has got this many requests.
    pub(crate) async fn is_asked(&self, times: usize) {
        eventually(&format!("{times} requests"), async || self.asked() >= times).await;
    }

    /// Makes requests wait until [`open`](Self::open).
    pub(crate) fn hold(&self) {
        self.published.open.send_replace(false);
    }

    pub(crate) fn open(&self) {
        self.published.open.send_replace(true);
    }

    /// Closes its socket and every connection.
    pub(crate) async fn kill(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            let _ = task.await;
        }
    }

    /// Listens again, on the same port.
    pub(crate) async fn restart(&mut self) {
        let listener = TcpListener::bind(self.address)
            .await
            .expect("the port is free");
        self.address = listener.local_addr().expect("a bound socket");
        let (published, tls) = (Arc::clone(&self.published), self.tls.clone());
        self.task = Some(tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    continue;
                };
                let (published, tls) = (Arc::clone(&published), tls.clone());
                connections.spawn(async move {
                    match tls {
                        None => serve(stream, published).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, published).await;
                            }
                        }
                    }
                });
            }
        }));
    }
}

/// Waits until the condition holds. A test that would hang fails.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let limit = tokio::time::timeout(Duration::from_secs(20), wait);
    assert!(limit.await.is_ok(), "never: {what}");
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, published: Arc<Published>) {
    let answer = service_fn(move |request: Request<Incoming>| {
        let published = Arc::clone(&published);
        async move {
            published.asked.fetch_add(1, Ordering::SeqCst);
            let mut open = published.open.subscribe();
            let _ = open.wait_for(|open| *open).await;
            let known = published.documents().get(request.uri().path()).cloned();
            let location = published.location.lock();
            let location = location.unwrap_or_else(PoisonError::into_inner).clone();
            let (status, body) = known.unwrap_or((StatusCode::NOT_FOUND, Bytes::new()));
            let response = Response::builder()
                .status(status)
                .header(header::LOCATION, location)
                .body(Full::new(body));
            Ok::<_, Infallible>(response.expect("a response"))
        }
    });
    let _ = http1::Builder::new()
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), answer)
        .await;
}
