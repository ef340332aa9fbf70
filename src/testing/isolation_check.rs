//! Sends requests of many users at once, interleaved at random, and looks for leaks between them.

use std::{
    any::Any,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Buf;
use fastrand::Rng;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body;
use tower::Service;

use super::{Finding, IsolationReport, Recorder};
use crate::audit::AuditEvent;

/// A user that a check sends requests for.
#[derive(Clone, Debug)]
pub struct TestUser {
    id: String,
}

impl TestUser {
    /// Returns the user's id, which must be in no other user's response.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }
}

/// Sends requests of many users through a service, interleaved at random, and looks for what one
/// user sees of another.
///
/// Requests are polled in an order that the seed decides, held up between polls, read slowly
/// and cancelled. Users' ids are random, so that one in another user's response is a leak. With a [`Recorder`] that observes the layer, factories that were used by or kept
/// for another user are found too.
///
/// All requests run in one task, so what the check finds it finds again with the same seed, as
/// long as the service itself does nothing at random. It interleaves at awaits; a race between
/// two instructions takes a model checker.
///
/// ```
/// use http::{Request, Response};
/// use tower::service_fn;
/// use tower_layer::Layer;
/// use tower_user_scope::{
///     ExistingContext, UserScopeExt, UserScopeLayer, testing::{AsUser, IsolationCheck,
///     Recorder},
/// };
/// # use http_body_util::Full;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let recorder = Recorder::new();
/// let layer = UserScopeLayer::builder()
///     .strategy(ExistingContext::new())
///     .observer(recorder.clone())
///     .context_only()
///     .build()?;
/// let service = layer.layer(service_fn(async |request: Request<()>| {
///     let user = request.user_context()?.require_user()?.to_string();
///     Ok::<_, Box<dyn std::error::Error>>(Response::new(Full::<bytes::Bytes>::from(user)))
/// }));
///
/// IsolationCheck::new()
///     .users(20)
///     .requests_of_each(10)
///     .recorder(&recorder)
///     .run(service, |user| Request::new(()).as_user(user.id()))
///     .await
///     .assert_isolated();
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use]
pub struct IsolationCheck {
    users: usize,
    requests_of_each: usize,
    in_flight: usize,
    cancel_percent: u8,
    seed: u64,
    recorder: Option<Recorder>,
}

impl IsolationCheck {
    /// Creates a check of 16 users with 16 requests each, 32 at a time, of which 10 % are cancelled.
    pub fn new() -> Self {
        Self {
            users: 16,
            requests_of_each: 16,
            in_flight: 32,
            cancel_percent: 10,
            seed: 0,
            recorder: None,
        }
    }

    /// Sets the number of users; at least two.
    pub fn users(mut self, count: usize) -> Self {
        self.users = count.max(2);
        self
    }

    /// Sets the number of requests of each user; at least one.
    pub fn requests_of_each(mut self, count: usize) -> Self {
        self.requests_of_each = count.max(1);
        self
    }

    /// Sets the number of concurrent requests; at least two.
    pub fn in_flight(mut self, count: usize) -> Self {
        self.in_flight = count.max(2);
        self
    }

    /// Sets the percentage of requests that are cancelled; at most 100.
    pub fn cancel_percent(mut self, percent: u8) -> Self {
        self.cancel_percent = percent.min(100);
        self
    }

    /// Sets the seed of the random order. A report has the seed that it was made with.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Also checks the layer's audit events. The layer needs a clone of the recorder as its observer; a
    /// recorder without any event is a finding.
    pub fn recorder(mut self, recorder: &Recorder) -> Self {
        self.recorder = Some(recorder.clone());
        self
    }

    /// Sends all requests, and returns what was found.
    ///
    /// Errors of the inner service are counted, and are not findings.
    pub async fn run<S, B, R>(
        self,
        service: S,
        request: impl Fn(&TestUser) -> Request<B>,
    ) -> IsolationReport
    where
        S: Service<Request<B>, Response = Response<R>> + Clone,
        R: Body,
    {
        let events_before = self
            .recorder
            .as_ref()
            .map_or(0, |recorder| recorder.events().len());
        let mut rng = Rng::with_seed(self.seed);
        let users: Vec<TestUser> = (0..self.users)
            .map(|number| TestUser {
                id: format!("user-{number}-{:016x}", rng.u64(..)),
            })
            .collect();
        let mut queued: Vec<usize> = (0..self.users)
            .flat_map(|user| std::iter::repeat_n(user, self.requests_of_each))
            .collect();
        rng.shuffle(&mut queued);

        let mut report = IsolationReport {
            seed: self.seed,
            sent: queued.len(),
            completed: 0,
            succeeded: 0,
            cancelled: 0,
            failed: 0,
            findings: Vec::new(),
        };
        let mut in_progress: Vec<Exchange<S, B, R>> = Vec::new();
        poll_fn(|cx| {
            while in_progress.len() < self.in_flight {
                let Some(user) = queued.pop() else { break };
                let polls_left = (rng.u8(..100) < self.cancel_percent).then(|| rng.usize(..8));
                let request = request(&users[user]);
                in_progress.push(Exchange::new(user, service.clone(), request, polls_left));
            }
            rng.shuffle(&mut in_progress);
            let mut delayed = false;
            in_progress.retain_mut(|exchange| {
                if rng.u8(..4) == 0 {
                    delayed = true;
                    return true;
                }
                let Some(end) = exchange.advance(cx) else {
                    return true;
                };
                exchange.record(end, &users, &mut report);
                false
            });
            if in_progress.is_empty() && queued.is_empty() {
                return Poll::Ready(());
            }
            // Delayed and queued requests are polled next time.
            if delayed || in_progress.len() < self.in_flight && !queued.is_empty() {
                cx.waker().wake_by_ref();
            }
            Poll::Pending
        })
        .await;
        if let Some(recorder) = &self.recorder {
            let events = recorder.events().split_off(events_before);
            report.findings.extend(findings_in(events));
        }
        report
    }
}

impl Default for IsolationCheck {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns the findings in the audit events.
fn findings_in(events: Vec<AuditEvent<'static>>) -> Vec<Finding> {
    if events.is_empty() {
        return vec![Finding::NoEvents];
    }
    let mut open = 0_usize;
    let mut findings = Vec::new();
    for event in events {
        match event {
            AuditEvent::Accepted { .. } => open += 1,
            AuditEvent::ScopeClosed { .. } => open = open.saturating_sub(1),
            AuditEvent::CrossUserAccess { violation } => {
                findings.push(Finding::CrossUserAccess(violation.into_owned()));
            }
            AuditEvent::FactoryRetained {
                context, factory, ..
            } => {
                let owner = context.user_id();
                findings.push(Finding::FactoryRetained {
                    owner: owner.map_or_else(|| "nobody".to_owned(), ToString::to_string),
                    factory,
                });
            }
            _ => {}
        }
    }
    if open > 0 {
        findings.push(Finding::ScopesLeftOpen { count: open });
    }
    findings
}

/// One request and its response.
struct Exchange<S: Service<Request<B>>, B, R> {
    user: usize,
    /// The number of polls before it is cancelled; `None` if it is not.
    polls_left: Option<usize>,
    stage: Stage<S, B, R>,
}

enum Stage<S: Service<Request<B>>, B, R> {
    Preparing(S, Option<Request<B>>),
    Calling(Pin<Box<S::Future>>),
    Reading(StatusCode, HeaderMap, Pin<Box<R>>, Vec<u8>),
}

enum End {
    Cancelled,
    Failed,
    Panicked(String),
    Completed {
        headers: HeaderMap,
        body: Vec<u8>,
        succeeded: bool,
    },
}

impl<S, B, R> Exchange<S, B, R>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Body,
{
    fn new(user: usize, service: S, request: Request<B>, polls_left: Option<usize>) -> Self {
        Self {
            user,
            polls_left,
            stage: Stage::Preparing(service, Some(request)),
        }
    }

    fn advance(&mut self, cx: &mut Context<'_>) -> Option<End> {
        if let Some(polls) = &mut self.polls_left {
            match polls.checked_sub(1) {
                Some(left) => *polls = left,
                None => return Some(End::Cancelled),
            }
        }
        // After a panic the exchange is dropped, and not polled again.
        let step = catch_unwind(AssertUnwindSafe(|| self.stage.advance(cx)));
        step.unwrap_or_else(|panic| Some(End::Panicked(message(&*panic))))
    }

    fn record(&self, end: End, users: &[TestUser], report: &mut IsolationReport) {
        let reader = &users[self.user].id;
        match end {
            End::Cancelled => report.cancelled += 1,
            End::Failed => report.failed += 1,
            End::Panicked(message) => {
                report.failed += 1;
                report.findings.push(Finding::Panicked {
                    reader: reader.clone(),
                    message,
                });
            }
            End::Completed {
                headers,
                body,
                succeeded,
            } => {
                report.completed += 1;
                report.succeeded += usize::from(succeeded);
                let others = users.iter().map(|user| &user.id).filter(|id| *id != reader);
                for owner in others {
                    let in_headers = headers
                        .iter()
                        .filter(|(_, value)| contains(value.as_bytes(), owner))
                        .map(|(name, _)| name.to_string());
                    let in_body = contains(&body, owner).then(|| "body".to_owned());
                    for place in in_headers.chain(in_body) {
                        report.findings.push(Finding::ForeignBytes {
                            reader: reader.clone(),
                            owner: owner.clone(),
                            place,
                        });
                    }
                }
            }
        }
    }
}

impl<S, B, R> Stage<S, B, R>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Body,
{
    /// Polls once.
    fn advance(&mut self, cx: &mut Context<'_>) -> Option<End> {
        match self {
            Self::Preparing(service, request) => match service.poll_ready(cx) {
                Poll::Pending => return None,
                Poll::Ready(Err(_)) => return Some(End::Failed),
                Poll::Ready(Ok(())) => {
                    let request = request.take()?;
                    *self = Self::Calling(Box::pin(service.call(request)));
                }
            },
            Self::Calling(future) => match future.as_mut().poll(cx) {
                Poll::Pending => return None,
                Poll::Ready(Err(_)) => return Some(End::Failed),
                Poll::Ready(Ok(response)) => {
                    let (head, body) = response.into_parts();
                    *self = Self::Reading(head.status, head.headers, Box::pin(body), Vec::new());
                }
            },
            Self::Reading(status, headers, body, read) => match body.as_mut().poll_frame(cx) {
                Poll::Pending => return None,
                Poll::Ready(Some(Err(_))) => return Some(End::Failed),
                Poll::Ready(None) => {
                    let headers = std::mem::take(headers);
                    let refused = headers.get("grpc-status").is_some_and(|code| code != "0");
                    return Some(End::Completed {
                        succeeded: status.is_success() && !refused,
                        headers,
                        body: std::mem::take(read),
                    });
                }
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(mut data) => {
                        let len = data.remaining();
                        read.extend_from_slice(&data.copy_to_bytes(len));
                    }
                    Err(frame) => headers.extend(frame.into_trailers().unwrap_or_default()),
                },
            },
        }
        // The next stage was not polled, so no waker is registered for it.
        cx.waker().wake_by_ref();
        None
    }
}

fn contains(bytes: &[u8], id: &str) -> bool {
    bytes
        .windows(id.len())
        .any(|window| window == id.as_bytes())
}

fn message(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "without a message".to_owned())
}
