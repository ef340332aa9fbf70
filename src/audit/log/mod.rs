//! Audit events as JSON lines.

mod record;

use std::{
    fmt,
    io::{self, Write},
    sync::atomic::{AtomicU64, Ordering},
};

use self::record::Record;
use super::{AuditEvent, Observer, UserIdTelemetry};
use crate::{
    clock::{Clock, SystemClock},
    config_error::ConfigError,
    outcome::UnavailableError,
};

/// An [`Observer`] that writes each event as one line of JSON, for an audit log.
///
/// Its lines have what an auditor asks for: who acted as whom, on what evidence, when, from where, and
/// with what result. The fields and their meaning are those of `audit-log.schema.json`, a JSON Schema
/// beside this module's source; `version` is 1 and increases when a field changes its meaning or
/// disappears. New fields and events may be added. Unlike the lines of `tracing`, no filter of levels
/// can leave one out. [`Consulted`](AuditEvent::Consulted) and [`Waited`](AuditEvent::Waited) are not
/// written.
///
/// The writer is made anew for each line and gets the whole line in one call. With
/// [`tracing-appender`](https://docs.rs/tracing-appender), a request never waits for the disk, and lines
/// that don't fit into the queue are counted and dropped:
///
/// ```
/// use std::fs::OpenOptions;
/// use tower_user_scope::{ExistingContext, UserScopeLayer, audit::{AuditLog, UserIdTelemetry}};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = std::env::temp_dir().join(format!("audit-{}", std::process::id()));
/// # std::fs::create_dir_all(&directory)?;
/// # let path = directory.join("audit.log");
/// let file = OpenOptions::new().create(true).append(true).open(path)?;
/// let (queue, worker) = tracing_appender::non_blocking(file);
/// let dropped = queue.error_counter();
///
/// let log = AuditLog::new(UserIdTelemetry::Plain, move || queue.clone())?;
/// let layer = UserScopeLayer::builder()
///     .strategy(ExistingContext::new())
///     .observer(log)
///     .context_only()
///     .build()?;
/// # drop(layer);
/// // Until the program ends: dropping the worker writes what is in the queue.
/// drop(worker);
/// assert_eq!(dropped.dropped_lines(), 0);
/// # std::fs::remove_dir_all(directory)?;
/// # Ok(())
/// # }
/// ```
///
/// For a log in which nothing may be missing, see [`required`](Self::required).
pub struct AuditLog<F> {
    user_ids: UserIdTelemetry,
    writer: F,
    required: bool,
    lost: AtomicU64,
}

impl<F, W> AuditLog<F>
where
    F: Fn() -> W,
    W: Write,
{
    /// Creates a log that has user ids in this form, and writes to what the closure returns.
    ///
    /// The choice is this log's own, because auditors have to know users whom operators need not know: it
    /// is of the type that
    /// [`user_ids_in_telemetry`](crate::middleware::LayerBuilder::user_ids_in_telemetry) takes, which sets
    /// it for log lines and spans. The guide lists
    /// [which output uses which](crate::guide::operating#user-ids).
    ///
    /// # Errors
    /// [`ConfigError::WeakSecret`] if the key of [`UserIdTelemetry::Hashed`] is too short.
    pub fn new(user_ids: UserIdTelemetry, writer: F) -> Result<Self, ConfigError> {
        user_ids.validate()?;
        Ok(Self {
            user_ids,
            writer,
            required: false,
            lost: AtomicU64::new(0),
        })
    }

    /// Refuses requests whose acceptance can't be written, with 503, instead of losing the line.
    ///
    /// The request waits for the writer, so this needs one that reports errors, and that is fast: a
    /// local file rather than a connection, and not a queue that drops lines.
    ///
    /// ```
    /// use std::{fs::OpenOptions, sync::Arc};
    /// use tower_user_scope::audit::{AuditLog, UserIdTelemetry};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let path = std::env::temp_dir().join(format!("required-{}.log", std::process::id()));
    /// let file = Arc::new(OpenOptions::new().create(true).append(true).open(&path)?);
    /// let log = AuditLog::new(UserIdTelemetry::Plain, move || Arc::clone(&file))?.required();
    /// # drop(log);
    /// # std::fs::remove_file(path)?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }

    fn write(&self, event: &AuditEvent<'_>) -> io::Result<()> {
        let Some(record) = Record::of(event, &self.user_ids, SystemClock.now()) else {
            return Ok(());
        };
        let mut line = serde_json::to_vec(&record)?;
        line.push(b'\n');
        (self.writer)().write_all(&line)
    }

    /// Counts a line that is lost, and reports the first, the second, the fourth and so on.
    fn lose(&self, error: &io::Error) {
        let lost = self.lost.fetch_add(1, Ordering::Relaxed) + 1;
        if lost.is_power_of_two() {
            tracing::error!(
                target: "tower_user_scope::audit",
                %error,
                lost,
                "a line of the audit log could not be written"
            );
        }
    }
}

impl<F, W> Observer for AuditLog<F>
where
    F: Fn() -> W,
    W: Write,
{
    fn observe(&self, event: &AuditEvent<'_>) {
        if self.required && matches!(event, AuditEvent::Accepted { .. }) {
            return;
        }
        if let Err(error) = self.write(event) {
            self.lose(&error);
        }
    }

    fn admit(&self, event: &AuditEvent<'_>) -> Result<(), UnavailableError> {
        if !self.required {
            return Ok(());
        }
        self.write(event).map_err(|error| {
            self.lose(&error);
            UnavailableError::new(error)
        })
    }
}

impl<F> fmt::Debug for AuditLog<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditLog")
            .field("user_ids", &self.user_ids)
            .field("required", &self.required)
            .field("lost", &self.lost)
            .finish_non_exhaustive()
    }
}
