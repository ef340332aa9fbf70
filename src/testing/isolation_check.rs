//! Many users at once, interleaved as unkindly as a seed can make it.

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

/// Somebody whom a check sends requests for.
#[derive(Clone, Debug)]
pub struct TestUser {
    id: String,
}

impl TestUser {
    /// The user's id: one that is in no response but this user's own.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }
}

/// Sends requests of many users through a service, interleaved at random, and looks for what one
/// user sees of another.
///
/// Requests are polled in an order that the seed decides, held up between polls, read slowly
/// and cancelled. Users' ids are unlike anything else, so that one in somebody else's response
/// is a leak. With a [`Recorder`] that observes the layer, factories that were used by or kept
/// for somebody else are found too.
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
    /// 16 users with 16 requests each, 32 at a time, of which one in ten is cancelled.
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

    /// How many users there are; at least two, or nobody could see anybody.
    pub fn users(mut self, count: usize) -> Self {
        self.users = count.max(2);
        self
    }

    /// How many requests each of them sends; at least one.
    pub fn requests_of_each(mut self, count: usize) -> Self {
        self.requests_of_each = count.max(1);
        self
    }

    /// How many requests are under way at once; at least two.
    pub fn in_flight(mut self, count: usize) -> Self {
        self.in_flight = count.max(2);
        self
    }

    /// How many of a hundred requests are cancelled on the way; at most 100.
    pub fn cancel_percent(mut self, percent: u8) -> Self {
        self.cancel_percent = percent.min(100);
        self
    }

    /// What decides the order of everything; a report tells its own.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Looks at what the layer's audit events say too; give the layer a clone of it. One that
    /// hears nothing is a finding.
    pub fn recorder(mut self, recorder: &Recorder) -> Self {
        self.recorder = Some(recorder.clone());
        self
    }

    /// Sends everything and tells what was found.
    ///
    /// The inner service's own errors are counted and are no finding.
    pub async fn run<S, B, R>(
        self,
        service: S,
        request: impl Fn(&TestUser) -> Request<B>,
    ) -> IsolationReport
    where
        S: Service<Request<B>, Response = Response<R>> + Clone,
        R: Body,
    {
        let heard_before = self
            .recorder
            .as_ref()
            .map_or(0, |recorder| recorder.events().len());
        let mut rng = Rng::with_seed(self.seed);
        let users: Vec<TestUser> = (0..self.users)
            .map(|number| TestUser {
                id: format!("user-{number}-{:016x}", rng.u64(..)),
            })
            .collect();
        let mut waiting: Vec<usize> = (0..self.users)
            .flat_map(|user| std::iter::repeat_n(user, self.requests_of_each))
            .collect();
        rng.shuffle(&mut waiting);

        let mut report = IsolationReport {
            seed: self.seed,
            sent: waiting.len(),
            completed: 0,
            succeeded: 0,
            cancelled: 0,
            failed: 0,
            findings: Vec::new(),
        };
        let mut under_way: Vec<Exchange<S, B, R>> = Vec::new();
        poll_fn(|cx| {
            while under_way.len() < self.in_flight {
                let Some(user) = waiting.pop() else { break };
                let patience = (rng.u8(..100) < self.cancel_percent).then(|| rng.usize(..8));
                let request = request(&users[user]);
                under_way.push(Exchange::new(user, service.clone(), request, patience));
            }
            rng.shuffle(&mut under_way);
            let mut held_up = false;
            under_way.retain_mut(|exchange| {
                if rng.u8(..4) == 0 {
                    held_up = true;
                    return true;
                }
                let Some(end) = exchange.advance(cx) else {
                    return true;
                };
                exchange.account(end, &users, &mut report);
                false
            });
            if under_way.is_empty() && waiting.is_empty() {
                return Poll::Ready(());
            }
            // Whoever was held up, and whoever takes a free place, comes with the next poll.
            if held_up || under_way.len() < self.in_flight && !waiting.is_empty() {
                cx.waker().wake_by_ref();
            }
            Poll::Pending
        })
        .await;
        if let Some(recorder) = &self.recorder {
            let events = recorder.events().split_off(heard_before);
            report.findings.extend(heard(events));
        }
        report
    }
}

impl Default for IsolationCheck {
    fn default() -> Self {
        Self::new()
    }
}

/// What the audit events say that must not have happened.
fn heard(events: Vec<AuditEvent<'static>>) -> Vec<Finding> {
    if events.is_empty() {
        return vec![Finding::NothingHeard];
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

/// One request and its response, advanced a poll at a time.
struct Exchange<S: Service<Request<B>>, B, R> {
    user: usize,
    /// How many polls until it is cancelled, where it is.
    patience: Option<usize>,
    stage: Stage<S, B, R>,
}

enum Stage<S: Service<Request<B>>, B, R> {
    Readying(S, Option<Request<B>>),
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
    fn new(user: usize, service: S, request: Request<B>, patience: Option<usize>) -> Self {
        Self {
            user,
            patience,
            stage: Stage::Readying(service, Some(request)),
        }
    }

    fn advance(&mut self, cx: &mut Context<'_>) -> Option<End> {
        if let Some(polls) = &mut self.patience {
            match polls.checked_sub(1) {
                Some(left) => *polls = left,
                None => return Some(End::Cancelled),
            }
        }
        // What panicked is dropped with its exchange and never polled again.
        let step = catch_unwind(AssertUnwindSafe(|| self.stage.advance(cx)));
        step.unwrap_or_else(|panic| Some(End::Panicked(message(&*panic))))
    }

    fn account(&self, end: End, users: &[TestUser], report: &mut IsolationReport) {
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
                        .filter(|(_, value)| holds(value.as_bytes(), owner))
                        .map(|(name, _)| name.to_string());
                    let in_body = holds(&body, owner).then(|| "body".to_owned());
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
    /// One poll of whatever is waited for.
    fn advance(&mut self, cx: &mut Context<'_>) -> Option<End> {
        match self {
            Self::Readying(service, request) => match service.poll_ready(cx) {
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
        // It went on, and nobody else will say when it may again.
        cx.waker().wake_by_ref();
        None
    }
}

fn holds(bytes: &[u8], id: &str) -> bool {
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
