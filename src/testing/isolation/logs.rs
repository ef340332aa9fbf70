//! Looks for secrets in what a service logs.

use std::{
    fmt::{self, Write as _},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tracing::{
    Event, Metadata, Subscriber,
    dispatcher::DefaultGuard,
    field::{Field, Visit},
    span,
};

use super::{marks::Marks, user::TestUser};
use crate::testing::Finding;

/// What is kept of a log at most.
const MOST_BYTES: usize = 16 << 20;

/// Collects what is logged through `tracing` on this thread, while it lives.
pub(in crate::testing) struct Logs {
    lines: Arc<Mutex<Lines>>,
    _guard: DefaultGuard,
}

#[derive(Default)]
struct Lines {
    bytes: usize,
    lines: Vec<Line>,
}

struct Line {
    target: String,
    text: String,
}

impl Logs {
    pub(in crate::testing) fn capture() -> Self {
        let lines: Arc<Mutex<Lines>> = Arc::default();
        let collector = Collector {
            lines: Arc::clone(&lines),
            spans: AtomicU64::new(1),
        };
        Self {
            lines,
            _guard: tracing::subscriber::set_default(collector),
        }
    }

    /// Returns the secrets in what was logged so far, and forgets that.
    pub(in crate::testing) fn findings(&self, users: &[TestUser]) -> Vec<Finding> {
        let lines = std::mem::take(&mut *self.lines.lock().unwrap_or_else(PoisonError::into_inner));
        let marks = Marks::of(users);
        let mut findings = Vec::new();
        for line in lines.lines {
            for seen in marks.seen_in(line.text.as_bytes()) {
                // Whose id is in a log is a setting of its own.
                let Some(owner) = seen.owner.filter(|_| seen.what != "id") else {
                    continue;
                };
                let finding = Finding::Logged {
                    owner: users[owner].id().to_owned(),
                    what: seen.what,
                    target: line.target.clone(),
                    excerpt: seen.excerpt,
                };
                if !findings.contains(&finding) {
                    findings.push(finding);
                }
            }
        }
        findings
    }
}

/// A subscriber that only collects: all events and spans, at every level.
struct Collector {
    lines: Arc<Mutex<Lines>>,
    spans: AtomicU64,
}

impl Collector {
    fn collect(&self, metadata: Option<&Metadata<'_>>, record: impl FnOnce(&mut Text)) {
        let mut text = Text(String::new());
        record(&mut text);
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.bytes < MOST_BYTES && !text.0.is_empty() {
            lines.bytes += text.0.len();
            lines.lines.push(Line {
                target: metadata
                    .map_or("a span", |metadata| metadata.target())
                    .to_owned(),
                text: text.0,
            });
        }
    }
}

impl Subscriber for Collector {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &span::Attributes<'_>) -> span::Id {
        self.collect(Some(span.metadata()), |text| span.record(text));
        span::Id::from_u64(self.spans.fetch_add(1, Ordering::Relaxed))
    }

    fn record(&self, _: &span::Id, values: &span::Record<'_>) {
        self.collect(None, |text| values.record(text));
    }

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        self.collect(Some(event.metadata()), |text| event.record(text));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// The fields of an event or a span, as `name=value`.
struct Text(String);

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        let _ = write!(self.0, "{field}={value} ");
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = write!(self.0, "{field}={value:?} ");
    }
}
