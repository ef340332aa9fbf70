//! The audit log has a line for each event, whose fields stay as they are.

use std::{
    convert::Infallible,
    env, fs,
    io::{self, Write},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
};

use http::{Request, Response, StatusCode};
use serde_json::Value;
use tower::{ServiceExt, service_fn};
use tower_layer::Layer;
use tower_user_scope::{
    CredentialSource, Identity, Outcome, Rejection, UnavailableError, UserId, UserScopeLayer,
    audit::{AuditEvent, AuditLog, Observer, UserIdKey, UserIdTelemetry},
    from_fn,
    strategy::Strategy,
    testing::Recorder,
};

use crate::support::{self, Lines};

/// The log of the service in which everything happens.
pub(crate) fn log(ids: UserIdTelemetry) -> String {
    let lines = Lines::default();
    let writer = lines.clone();
    let log = AuditLog::new(ids, move || writer.clone()).expect("a valid key");
    support::block_on(support::run(vec![Arc::new(log)]));
    lines.text()
}

fn parsed(log: &str) -> Vec<Value> {
    let lines = log.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

/// Replaces what differs in each run.
fn steady(mut line: Value) -> Value {
    let fields = line.as_object_mut().expect("an object");
    for (name, value) in fields {
        match name.as_str() {
            "time" | "request_id" | "thread_id" | "run_id" => *value = "...".into(),
            "duration_ms" => *value = 0.into(),
            "detail" => {
                let text = value.as_str().expect("text");
                // Messages name the ids of requests.
                let words = text.split(' ');
                let words = words.map(|word| if word.len() == 36 { "..." } else { word });
                *value = words.collect::<Vec<_>>().join(" ").into();
            }
            _ => {}
        }
    }
    line
}

#[test]
fn each_event_is_a_line_whose_fields_stay_as_they_are() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("audit-log.jsonl");
    let got: Vec<_> = parsed(&log(UserIdTelemetry::Plain))
        .into_iter()
        .map(steady)
        .collect();
    if env::var_os("REGENERATE").is_some() {
        let lines: Vec<_> = got.iter().map(Value::to_string).collect();
        fs::write(&path, lines.join("\n") + "\n").expect("a file");
    }
    let kept = parsed(&fs::read_to_string(&path).expect("a file"));
    for (got, kept) in got.iter().zip(&kept) {
        assert_eq!(got, kept, "a change of fields is a change of `version`");
    }
    assert_eq!(got.len(), kept.len());
}

#[test]
fn each_line_is_what_the_schema_says() {
    let schema = include_str!("../../src/audit/log/audit-log.schema.json");
    let schema: Value = serde_json::from_str(schema).expect("JSON");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let key = UserIdKey::new([7; 32]);
    for ids in [
        UserIdTelemetry::Plain,
        UserIdTelemetry::Omitted,
        UserIdTelemetry::Hashed(key),
    ] {
        let lines = parsed(&log(ids));
        assert!(lines.len() > 20);
        for line in lines {
            let problems: Vec<_> = validator
                .iter_errors(&line)
                .map(|e| e.to_string())
                .collect();
            assert!(problems.is_empty(), "{line}: {problems:?}");
        }
    }
}

#[test]
fn user_ids_are_as_the_log_was_told() {
    let key = UserIdKey::new([7; 32]);
    let alice = "alice".parse::<UserId>().expect("an id");
    let hash = key.hash(&alice);
    for (ids, has_id, has_hash) in [
        (UserIdTelemetry::Plain, true, false),
        (UserIdTelemetry::Hashed(key.clone()), false, true),
        (UserIdTelemetry::Omitted, false, false),
    ] {
        let log = log(ids);
        assert_eq!(log.contains("alice"), has_id, "{log}");
        assert_eq!(log.contains(&hash), has_hash, "{log}");
    }
    let weak = AuditLog::new(UserIdTelemetry::Hashed(UserIdKey::new("short")), io::sink);
    assert!(weak.is_err());
}

fn user_header() -> impl Strategy {
    from_fn(CredentialSource::header("x-user"), |head| {
        match head
            .headers
            .get("x-user")
            .and_then(|user| user.to_str().ok())
        {
            None => Outcome::Absent,
            Some(user) => match UserId::try_from(user) {
                Ok(id) => Identity::proved(id).into(),
                Err(error) => Outcome::Invalid(error.into()),
            },
        }
    })
}

/// Sends requests of alice through a layer with this observer, and returns their responses.
async fn send(
    observer: impl Observer + Send + Sync + 'static,
    count: usize,
    handled: &AtomicUsize,
) -> Vec<Response<()>> {
    let recorder = Recorder::new();
    let layer = UserScopeLayer::builder()
        .strategy(user_header())
        .observer(recorder.clone())
        .observer(observer)
        .factory(|_| String::from("of this request"))
        .build()
        .expect("a valid configuration");
    let service = layer.layer(service_fn(|_: Request<()>| {
        handled.fetch_add(1, Ordering::Relaxed);
        std::future::ready(Ok::<_, Infallible>(Response::new(String::new())))
    }));
    let mut responses = Vec::new();
    for _ in 0..count {
        let request = Request::builder()
            .header("x-user", "alice")
            .body(())
            .expect("a request");
        let response = service.clone().oneshot(request).await.expect("infallible");
        responses.push(response.map(|_| ()));
    }
    responses
}

/// A writer that says when it was reached, and waits until it may go on.
struct Stuck {
    reached: mpsc::Sender<()>,
    go_on: mpsc::Receiver<()>,
    written: Lines,
}

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.reached.send(());
        // Ends when the test drops the sender.
        let _ = self.go_on.recv();
        self.written.clone().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn with_a_queue_a_disk_that_is_stuck_delays_no_request_and_lost_lines_are_counted() {
    const REQUESTS: usize = 100;
    let (reached, was_reached) = mpsc::channel();
    let (go, go_on) = mpsc::channel();
    let written = Lines::default();
    let disk = Stuck {
        reached,
        go_on,
        written: written.clone(),
    };
    let (queue, worker) = tracing_appender::non_blocking::NonBlockingBuilder::default()
        .buffered_lines_limit(10)
        .lossy(true)
        .finish(disk);
    let dropped = queue.error_counter();
    let log = AuditLog::new(UserIdTelemetry::Omitted, move || queue.clone()).expect("no key");
    let handled = AtomicUsize::new(0);
    // If a request waited for the disk, this would not end.
    let responses = support::block_on(send(log, REQUESTS, &handled));
    was_reached.recv().expect("the disk was asked");
    drop(go);
    drop(worker);
    assert!(
        responses
            .iter()
            .all(|response| response.status() == StatusCode::OK)
    );
    // A line for the acceptance of each request, and one for its end.
    let (written, dropped) = (written.text().lines().count(), dropped.dropped_lines());
    assert!(dropped > 0);
    assert_eq!(written + dropped, 2 * REQUESTS);
}

/// A disk that may be full.
#[derive(Clone, Default)]
struct Disk {
    full: Arc<AtomicBool>,
    written: Lines,
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.full.load(Ordering::Relaxed) {
            return Err(io::Error::new(
                io::ErrorKind::StorageFull,
                "the disk is full",
            ));
        }
        self.written.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_required_log_refuses_a_request_rather_than_lose_its_line() {
    let disk = Disk::default();
    let writer = disk.clone();
    let log = AuditLog::new(UserIdTelemetry::Plain, move || writer.clone())
        .expect("no key")
        .required();
    let log = Arc::new(log);
    for (full, status) in [
        (false, StatusCode::OK),
        (true, StatusCode::SERVICE_UNAVAILABLE),
        (false, StatusCode::OK),
    ] {
        disk.full.store(full, Ordering::Relaxed);
        let handled = AtomicUsize::new(0);
        let responses = support::block_on(send(Shared(log.clone()), 1, &handled));
        assert_eq!(responses[0].status(), status);
        assert_eq!(handled.load(Ordering::Relaxed), usize::from(!full));
        let reason = responses[0]
            .extensions()
            .get::<Rejection>()
            .map(Rejection::reason);
        assert_eq!(reason, full.then_some("not_audited"));
    }
    let events: Vec<_> = parsed(&disk.written.text())
        .iter()
        .map(|line| line["event"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(events, ["accepted", "closed", "accepted", "closed"]);
}

#[test]
fn a_log_that_is_not_required_loses_the_line_and_not_the_request() {
    let disk = Disk::default();
    disk.full.store(true, Ordering::Relaxed);
    let writer = disk.clone();
    let log = AuditLog::new(UserIdTelemetry::Plain, move || writer.clone()).expect("no key");
    let handled = AtomicUsize::new(0);
    let responses = support::block_on(send(log, 1, &handled));
    assert_eq!(responses[0].status(), StatusCode::OK);
    assert_eq!(disk.written.text(), "");
}

/// One log for several layers.
struct Shared<O>(Arc<O>);

impl<O: Observer> Observer for Shared<O> {
    fn observe(&self, event: &AuditEvent<'_>) {
        self.0.observe(event);
    }

    fn admit(&self, event: &AuditEvent<'_>) -> Result<(), UnavailableError> {
        self.0.admit(event)
    }
}
