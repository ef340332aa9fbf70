//! A scope closes with its own user as the current one, and a hook that panics does not affect others.

use std::{
    convert::Infallible,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::Full;
use tower::{Service, service_fn};
use tower_layer::Layer;
use tower_user_scope::{
    ExistingContext, Identity, Scoped, UserContext, UserId, UserScopeExt, UserScopeLayer,
    audit::{AuditEvent, UserIdTelemetry},
};
use tracing_subscriber::{filter::LevelFilter, fmt::MakeWriter};

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn request(user: &str, method: Method) -> Request<()> {
    let id = UserId::try_from(user).expect("a valid user id");
    let mut request = Request::new(());
    *request.method_mut() = method;
    let context = UserContext::builder(Identity::proved(id)).build();
    request.extensions_mut().insert(context);
    request
}

fn name(user: &UserContext) -> String {
    user.user_id().map_or_else(String::new, ToString::to_string)
}

/// Records the user of the scope that it is dropped in.
struct Agents {
    owner: String,
    dropped: Arc<Mutex<Vec<(String, String)>>>,
}

impl Drop for Agents {
    fn drop(&mut self) {
        let current = UserContext::current().map_or_else(|| "nobody".to_owned(), |it| name(&it));
        lock(&self.dropped).push((self.owner.clone(), current));
    }
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn with(&self, words: &str) -> Vec<String> {
        let text = String::from_utf8(lock(&self.0).clone()).expect("text");
        let lines = text.lines().filter(|line| line.contains(words));
        lines.map(ToOwned::to_owned).collect()
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        lock(&self.0).extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// A request of bob drops the last handle of alice's socket.
async fn alices_socket_ends_in_bobs_handler(lines: &Lines) -> Vec<(String, String)> {
    // A subscriber for all threads: with one for this thread alone, `tracing` disables a line that
    // another thread reaches first.
    crate::audit::capture();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::DEBUG)
        .with_ansi(false)
        .with_writer(lines.clone())
        .finish();
    let _subscribed = tracing::subscriber::set_default(subscriber);
    let dropped = Arc::default();
    let drops = Arc::clone(&dropped);
    let layer = UserScopeLayer::builder()
        .strategy(ExistingContext::new())
        .factory(move |user: &UserContext| Agents {
            owner: name(user),
            dropped: Arc::clone(&drops),
        })
        .user_ids_in_telemetry(UserIdTelemetry::Plain)
        .on_close(|_| tracing::info!("hook"))
        .build()
        .expect("a valid configuration");
    let socket: Arc<Mutex<Option<Scoped<Agents>>>> = Arc::default();
    let mut service = layer.layer(service_fn(move |request: Request<()>| {
        let held = match *request.method() {
            Method::CONNECT => request.scoped::<Agents>().ok().cloned(),
            _ => None,
        };
        drop(std::mem::replace(&mut *lock(&socket), held));
        async { Ok::<_, Infallible>(Response::new(Full::new(Bytes::new()))) }
    }));
    for (user, method) in [("alice", Method::CONNECT), ("bob", Method::GET)] {
        let response = service.call(request(user, method)).await;
        drop(response.expect("infallible"));
    }
    lock(&dropped).clone()
}

#[tokio::test]

async fn b32_what_is_logged_while_a_scope_closes_is_in_the_span_of_its_own_request() {
    let lines = Lines::default();
    alices_socket_ends_in_bobs_handler(&lines).await;
    for words in ["scope closed", "hook"] {
        let lines = lines.with(words);
        assert_eq!(lines.len(), 2, "one for alice, then one for bob: {lines:?}");
        for (line, (own, other)) in lines.iter().zip([("alice", "bob"), ("bob", "alice")]) {
            assert!(
                line.contains(&format!("user.id=\"{own}\"")) && !line.contains(other),
                "a line of {own}: {line}"
            );
        }
    }
}

#[tokio::test]

async fn b31_a_factory_is_dropped_in_the_scope_of_its_own_user() {
    let dropped = alices_socket_ends_in_bobs_handler(&Lines::default()).await;
    assert_eq!(dropped.len(), 2, "alice's and bob's: {dropped:?}");
    for (owner, scope) in dropped {
        assert_eq!(
            scope, owner,
            "{owner}'s factory is dropped in {scope}'s scope"
        );
    }
}

/// While a handler unwinds, a panic of the observer would be a second one and abort the process.
#[tokio::test]

async fn b15_an_observer_that_panics_stops_no_hook() {
    let closed = Arc::new(Mutex::new(0));
    let hook = Arc::clone(&closed);
    let layer = UserScopeLayer::builder()
        .strategy(ExistingContext::new())
        .context_only()
        .observer(|event: &AuditEvent<'_>| {
            if let AuditEvent::ScopeClosed { .. } = event {
                panic!("planted in an observer");
            }
        })
        .on_close(move |_| *lock(&hook) += 1)
        .build()
        .expect("a valid configuration");
    let mut service = layer.layer(service_fn(async |_: Request<()>| {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
    }));
    let response = service.call(request("alice", Method::GET)).await;
    let response = response.expect("infallible");
    let dropped = catch_unwind(AssertUnwindSafe(|| drop(response)));
    assert_eq!(*lock(&closed), 1, "the hook of the scope ran");
    assert!(dropped.is_ok(), "and the server was not disturbed");
}
