//! A server that sends arbitrary bytes, and the log lines of the crate about them.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::{
    fmt::Write as _,
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, Once, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use tower_user_scope::jwt::RemoteKeys;
use tracing::{Event, Level, Subscriber, field::Visit};
use tracing_subscriber::{Layer, layer::Context, layer::SubscriberExt};

/// How a connection is served after a request was read. Bytes that can't be written because the peer
/// has disconnected are not counted.
pub(crate) type Serve = fn(&mut Connection);

pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    /// The index of the request on this server.
    pub(crate) index: usize,
    pub(crate) port: u16,
    /// The request, up to its body.
    pub(crate) head: String,
    sent: Arc<AtomicUsize>,
}

impl Connection {
    /// Sends as many bytes as the peer takes. Returns `false` if the peer takes none any more.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let mut bytes = bytes.as_ref();
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(0) => return false,
                Ok(sent) => {
                    self.sent.fetch_add(sent, Ordering::SeqCst);
                    bytes = &bytes[sent..];
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        true
    }

    /// Sends nothing until the peer has disconnected.
    pub(crate) fn hang(&mut self) {
        let mut rest = [0; 1_024];
        while self.stream.read(&mut rest).is_ok_and(|read| read > 0) {}
    }

    pub(crate) fn answer(&mut self, head: &str, body: impl AsRef<[u8]>) {
        let body = body.as_ref();
        let len = body.len();
        self.send(format!(
            "HTTP/1.1 {head}\r\nconnection: close\r\ncontent-length: {len}\r\n\r\n"
        ));
        self.send(body);
    }
}

/// A server on its own thread, so that it runs while a test's clock is paused.
pub(crate) struct RawServer {
    pub(crate) address: SocketAddr,
    requests: Arc<AtomicUsize>,
    sent: Arc<AtomicUsize>,
}

impl RawServer {
    pub(crate) fn start(serve: impl Fn(&mut Connection) + Send + Sync + 'static) -> Self {
        let serve = Arc::new(serve);
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let server = Self {
            address: listener.local_addr().expect("bound"),
            requests: Arc::default(),
            sent: Arc::default(),
        };
        let (requests, sent) = (Arc::clone(&server.requests), Arc::clone(&server.sent));
        let port = server.address.port();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (requests, sent) = (Arc::clone(&requests), Arc::clone(&sent));
                let serve = Arc::clone(&serve);
                thread::spawn(move || {
                    let mut connection = Connection {
                        stream,
                        index: 0,
                        port,
                        head: String::new(),
                        sent,
                    };
                    if let Some(head) = read_head(&mut connection.stream) {
                        connection.head = head;
                        connection.index = requests.fetch_add(1, Ordering::SeqCst);
                        serve(&mut connection);
                    }
                });
            }
        });
        server
    }

    pub(crate) fn keys(&self) -> RemoteKeys {
        RemoteKeys::from_url(format!("http://{}/keys", self.address))
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    pub(crate) fn sent(&self) -> usize {
        self.sent.load(Ordering::SeqCst)
    }
}

fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}

/// The log lines of the crate.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<(Level, String)>>>);

impl Lines {
    /// The lines that an operator sees. No line is there twice.
    pub(crate) fn take(&self) -> Vec<String> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = std::mem::take(&mut *lines);
        let seen = lines.into_iter().filter(|(level, _)| *level <= Level::INFO);
        seen.map(|(_, text)| text).collect()
    }
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        struct Text(String);

        impl Visit for Text {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                write!(self.0, "{field}={value:?} ").expect("a string");
            }
        }

        let metadata = event.metadata();
        // Refusals have their own lines.
        if metadata.target().starts_with("tower_user_scope::jwt") {
            let mut text = Text(String::new());
            event.record(&mut text);
            let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            lines.push((*metadata.level(), text.0));
        }
    }
}

pub(crate) fn hears() -> (Lines, tracing::subscriber::DefaultGuard) {
    // With a subscriber for this thread alone, `tracing` disables a line for good that another thread
    // reaches first, so every thread has one.
    static ALL_THREADS: Once = Once::new();
    ALL_THREADS.call_once(|| {
        tracing::subscriber::set_global_default(tracing_subscriber::registry())
            .expect("no other test sets one");
        tracing::callsite::rebuild_interest_cache();
    });
    let lines = Lines::default();
    let subscriber = tracing_subscriber::registry().with(lines.clone());
    (lines, tracing::subscriber::set_default(subscriber))
}
