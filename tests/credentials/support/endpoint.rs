//! An introspection endpoint on a socket: it answers as it is told to, and remembers its calls.

use std::{
    collections::HashMap,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use serde_json::Value;

/// A call of the endpoint.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) head: String,
    pub(crate) form: HashMap<String, String>,
}

impl Call {
    /// The path of the request line.
    pub(crate) fn path(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    pub(crate) fn token(&self) -> &str {
        self.form.get("token").map_or("", |token| token)
    }
}

/// What the endpoint sends.
pub(crate) enum Reply {
    Json(Value),
    /// A status line with headers, and a body.
    Http(String, Vec<u8>),
    /// Bytes, after which the connection is closed.
    Bytes(Vec<u8>),
    /// Nothing, until the client has gone.
    Hang,
    /// Bytes without an end, until the client has gone.
    Endless(Vec<u8>),
}

/// An endpoint on a thread of its own, so that it runs while a test's clock is paused.
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    state: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    calls: Vec<Call>,
    under_way: usize,
    most_under_way: usize,
    is_held: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Endpoint {
    pub(crate) fn start(answer: impl Fn(&Call) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let (address, state) = (
            listener.local_addr().expect("bound"),
            Arc::<Shared>::default(),
        );
        let (answer, shared) = (Arc::new(answer), Arc::clone(&state));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (answer, shared) = (Arc::clone(&answer), Arc::clone(&shared));
                thread::spawn(move || serve(stream, &*answer, &shared));
            }
        });
        Self { address, state }
    }

    /// An endpoint that answers each call with this object.
    pub(crate) fn always(answer: Value) -> Self {
        Self::start(move |_| Reply::Json(answer.clone()))
    }

    pub(crate) fn url(&self) -> String {
        format!("{}/introspect", self.origin())
    }

    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.state.lock().calls.clone()
    }

    /// The number of calls so far.
    pub(crate) fn asked(&self) -> usize {
        self.state.lock().calls.len()
    }

    /// The largest number of calls that were under way at once.
    pub(crate) fn most_at_once(&self) -> usize {
        self.state.lock().most_under_way
    }

    /// Lets calls wait for their answer until [`release`](Self::release).
    pub(crate) fn hold(&self) {
        self.state.lock().is_held = true;
    }

    pub(crate) fn release(&self) {
        self.state.lock().is_held = false;
        self.state.changed.notify_all();
    }

    /// Waits until it was asked this many times.
    pub(crate) fn is_asked(&self, times: usize) {
        let state = self.state.lock();
        let wait = self
            .state
            .changed
            .wait_while(state, |state| state.calls.len() < times);
        drop(wait.unwrap_or_else(PoisonError::into_inner));
    }
}

fn serve(mut stream: TcpStream, answer: &dyn Fn(&Call) -> Reply, shared: &Shared) {
    let Some(call) = read(&mut stream) else {
        return;
    };
    {
        let mut state = shared.lock();
        state.calls.push(call.clone());
        state.under_way += 1;
        state.most_under_way = state.most_under_way.max(state.under_way);
        shared.changed.notify_all();
        let wait = shared.changed.wait_while(state, |state| state.is_held);
        drop(wait.unwrap_or_else(PoisonError::into_inner));
    }
    let reply = answer(&call);
    shared.lock().under_way -= 1;
    let close = "connection: close\r\ncontent-length";
    let _ = match reply {
        Reply::Json(value) => {
            let body = value.to_string();
            let len = body.len();
            stream.write_all(format!("HTTP/1.1 200 OK\r\n{close}: {len}\r\n\r\n{body}").as_bytes())
        }
        Reply::Http(status, body) => {
            let head = format!("HTTP/1.1 {status}\r\n{close}: {}\r\n\r\n", body.len());
            stream.write_all(&[head.as_bytes(), &body].concat())
        }
        Reply::Bytes(bytes) => stream.write_all(&bytes),
        Reply::Hang => {
            let _ = stream.read(&mut [0; 64]);
            Ok(())
        }
        Reply::Endless(bytes) => {
            let mut written = stream.write_all(&bytes);
            while written.is_ok() {
                written = stream.write_all(&[b' '; 1_024]);
            }
            written
        }
    };
}

fn read(stream: &mut TcpStream) -> Option<Call> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).ok()?;
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    // A `GET` has no body.
    let mut body = vec![0; length.unwrap_or("0").parse().ok()?];
    stream.read_exact(&mut body).ok()?;
    let pairs = form_urlencoded::parse(&body);
    let form = pairs.map(|(name, value)| (name.into_owned(), value.into_owned()));
    Some(Call {
        head,
        form: form.collect(),
    })
}
