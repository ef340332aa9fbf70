//! The ids of one request, each made on first use where the client sent none.

use std::sync::OnceLock;

use super::{
    ConnectionId, CorrelationError, CorrelationErrorKind, CorrelationKind, IdSource, RequestId,
    RunId, ThreadId, TraceParent, identity::Work,
};

/// The ids of one request.
#[derive(Clone, Debug)]
pub(crate) struct Correlation {
    /// There as soon as one of them was sent or is asked for: many requests need none.
    ids: OnceLock<Box<Ids>>,
    source: IdSource,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Ids {
    request: OnceLock<RequestId>,
    thread: OnceLock<ThreadId>,
    run: OnceLock<RunId>,
    connection: OnceLock<ConnectionId>,
    trace_parent: Option<TraceParent>,
    /// Why the `traceparent` that was sent is not used.
    trace_ignored: Option<CorrelationErrorKind>,
    /// A bit for each kind that the client sent.
    sent: u8,
    /// A bit for each kind that was not made here: sent, or set by hand.
    stated: u8,
}

impl Ids {
    /// What the client sent, by [`CorrelationKind`].
    pub(super) fn sent(
        found: [Option<RequestId>; 4],
        trace_parent: Option<Result<TraceParent, CorrelationErrorKind>>,
    ) -> Self {
        let (trace_parent, trace_ignored) = match trace_parent {
            None => (None, None),
            Some(Ok(parent)) => (Some(parent), None),
            Some(Err(problem)) => (None, Some(problem)),
        };
        let sent = CorrelationKind::ALL
            .into_iter()
            .filter(|kind| found[*kind as usize].is_some())
            .fold(0, |sent, kind| sent | kind.bit());
        let [request, thread, run, connection] = found;
        let request = request.or_else(|| trace_parent.as_ref().map(RequestId::of_trace));
        Self {
            request: cell(request),
            thread: cell(thread.map(ThreadId::same)),
            run: cell(run.map(RunId::same)),
            connection: cell(connection.map(ConnectionId::same)),
            trace_parent,
            trace_ignored,
            sent,
            stated: sent,
        }
    }

    /// Why the `traceparent` that was sent is not used.
    pub(crate) fn trace_ignored(&self) -> Option<CorrelationErrorKind> {
        self.trace_ignored
    }

    /// Takes what the credential was given out for, which the request may repeat and not change.
    pub(crate) fn bind(&mut self, work: &Work) -> Result<(), CorrelationError> {
        let thread = self.stated & CorrelationKind::Thread.bit() != 0;
        let run = self.stated & CorrelationKind::Run.bit() != 0;
        bind(&mut self.thread, thread, &work.threads, ThreadId::FIELD)?;
        bind(&mut self.run, run, &work.runs, RunId::FIELD)
    }
}

fn cell<T>(value: Option<T>) -> OnceLock<T> {
    value.map_or_else(OnceLock::new, OnceLock::from)
}

/// Takes what the credentials say, which what was stated before may repeat and not contradict.
fn bind<T: Clone + PartialEq>(
    place: &mut OnceLock<T>,
    was_stated: bool,
    ids: &[T],
    field: &'static str,
) -> Result<(), CorrelationError> {
    let Some(first) = ids.first() else {
        return Ok(());
    };
    let contradicted = was_stated && place.get() != Some(first);
    if contradicted || ids.iter().any(|id| id != first) {
        return Err(CorrelationError::not_of_credential(field));
    }
    *place = OnceLock::from(first.clone());
    Ok(())
}

impl Correlation {
    #[inline]
    pub(crate) fn made_by(source: IdSource) -> Self {
        Self {
            ids: OnceLock::new(),
            source,
        }
    }

    /// The ids of a request of which these are known.
    pub(super) fn of_request(ids: Option<Box<Ids>>, source: IdSource) -> Self {
        Self {
            ids: ids.map_or_else(OnceLock::new, OnceLock::from),
            source,
        }
    }

    pub(super) fn with_source(mut self, source: IdSource) -> Self {
        self.source = source;
        self
    }

    fn ids(&self) -> &Ids {
        self.ids.get_or_init(Box::default)
    }

    fn make(&self) -> RequestId {
        self.source.make()
    }

    fn changed<R>(&mut self, change: impl FnOnce(&mut Ids) -> R) -> R {
        let mut ids = self.ids.take().unwrap_or_default();
        let result = change(&mut ids);
        self.ids = OnceLock::from(ids);
        result
    }

    /// As [`Ids::bind`].
    pub(crate) fn bound_to(mut self, work: &Work) -> Result<Self, CorrelationError> {
        self.changed(|ids| ids.bind(work))?;
        Ok(self)
    }

    pub(crate) fn request_id(&self) -> &RequestId {
        self.ids().request.get_or_init(|| self.make())
    }

    pub(crate) fn thread_id(&self) -> &ThreadId {
        let make = || ThreadId::same(self.make());
        self.ids().thread.get_or_init(make)
    }

    pub(crate) fn run_id(&self) -> &RunId {
        let make = || RunId::same(self.make());
        self.ids().run.get_or_init(make)
    }

    pub(crate) fn connection_id(&self) -> &ConnectionId {
        let make = || ConnectionId::same(self.make());
        self.ids().connection.get_or_init(make)
    }

    pub(crate) fn trace_parent(&self) -> Option<&TraceParent> {
        self.ids.get()?.trace_parent.as_ref()
    }

    pub(crate) fn was_sent(&self, kind: CorrelationKind) -> bool {
        self.ids.get().is_some_and(|ids| ids.sent & kind.bit() != 0)
    }

    pub(crate) fn with_request_id(mut self, id: RequestId) -> Self {
        self.changed(|ids| ids.request = OnceLock::from(id));
        self
    }

    pub(crate) fn with_thread_id(mut self, id: ThreadId) -> Self {
        self.changed(|ids| {
            ids.thread = OnceLock::from(id);
            ids.stated |= CorrelationKind::Thread.bit();
        });
        self
    }

    pub(crate) fn with_run_id(mut self, id: RunId) -> Self {
        self.changed(|ids| {
            ids.run = OnceLock::from(id);
            ids.stated |= CorrelationKind::Run.bit();
        });
        self
    }

    pub(crate) fn with_connection_id(mut self, id: ConnectionId) -> Self {
        self.changed(|ids| ids.connection = OnceLock::from(id));
        self
    }

    /// A copy that agrees with this one about every id, made by then or not.
    pub(crate) fn settled(&self) -> Self {
        self.request_id();
        self.thread_id();
        self.run_id();
        self.connection_id();
        self.clone()
    }

    /// The same work, another request: thread, run and connection stay.
    pub(crate) fn for_child(&self) -> Self {
        let mut child = self.settled();
        child.changed(|ids| {
            ids.request = OnceLock::new();
            ids.sent &= !CorrelationKind::Request.bit();
        });
        child
    }
}
