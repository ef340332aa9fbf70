//! Sends requests of many users at once, interleaved at random, and looks for leaks between them.

use std::{
    error::Error,
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::Duration,
};

use fastrand::Rng;
use http::{Request, Response};
use http_body::Body;
use tower::{BoxError, Service};

use super::{
    depth::{Depths, WHOLE},
    events::Events,
    exchange::{End, Exchange},
    logs::Logs,
    observe::{Observed, Seen},
    options::{CheckOptions, check_options},
    schedule::Schedule,
    shared::SharedPaths,
    timer::Timer,
    user::TestUser,
    users::Users,
};
use crate::testing::{Finding, IsolationReport, Recorder, report::route};

/// Sends requests of many users through a service, interleaved at random, and looks for what one
/// user sees of another.
///
/// Requests are polled in an order that the seed decides, held up between polls, read slowly
/// and cancelled, after any await and any frame. Users' ids are random, so that one in another
/// user's response is a leak: in a header, in the body or in a trailer, plain or encoded (base64,
/// hexadecimal, UTF-16, with escapes of URLs, JSON or HTML, in gzip or deflate). So is a
/// [secret](TestUser::secret) of a user. With a [`Recorder`] that observes the layer, factories that
/// were used by or kept for another user are found too.
///
/// All requests run in one task, so what the check finds it finds again with the same seed, as
/// long as the service itself does nothing at random. It interleaves at awaits; a race between
/// two instructions takes a model checker. What has no id in it, such as a count, is found by a
/// [`ScenarioCheck`](crate::testing::ScenarioCheck).
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
///     Ok::<_, Box<dyn std::error::Error + Send + Sync>>(Response::new(Full::<bytes::Bytes>::from(user)))
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
    options: CheckOptions,
    requests_of_each: usize,
    in_flight: usize,
    cancel_percent: u8,
    shared: SharedPaths,
}

impl IsolationCheck {
    /// Creates a check of 16 users with 16 requests each, 32 at a time, of which 10 % are cancelled.
    pub fn new() -> Self {
        Self {
            options: CheckOptions::of_users(16),
            requests_of_each: 16,
            in_flight: 32,
            cancel_percent: 10,
            shared: SharedPaths::default(),
        }
    }

    check_options!();

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
    ///
    /// A request is cancelled once one like it has been completed, which tells after how many
    /// awaits and frames it can be cancelled.
    pub fn cancel_percent(mut self, percent: u8) -> Self {
        self.cancel_percent = percent.min(100);
        self
    }

    /// Also checks the layer's audit events. The layer needs a clone of the recorder as its observer; a
    /// recorder without any event is a finding.
    pub fn recorder(mut self, recorder: &Recorder) -> Self {
        self.options.recorder = Some(recorder.clone());
        self
    }

    /// Allows users to see each other's ids in the responses of a path, such as a feed.
    pub fn shared_path(mut self, path: impl Into<String>) -> Self {
        self.shared.add(path);
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
        S: Service<Request<B>, Response = Response<R>, Error: Into<Box<dyn Error + Send + Sync>>>
            + Clone,
        R: Body,
    {
        let options = self.options;
        let (seed, users) = (options.seed(), options.users());
        let events = options.recorder.as_ref().map(Events::from_now);
        let logs = options.looks_at_logs.then(Logs::capture);
        let mut rng = Rng::with_seed(seed);
        let mut observed = Observed::new(options.ids_are_public, options.decoders);
        let mut queued: Vec<usize> = (0..users.len())
            .flat_map(|user| std::iter::repeat_n(user, self.requests_of_each))
            .collect();
        rng.shuffle(&mut queued);

        let mut report = IsolationReport::new(seed);
        let mut steps = vec![0; users.len()];
        let mut depths = Depths::default();
        let mut in_progress: Schedule<InProgress<S, B, R>> = Schedule::new();
        let mut time = pin!(Timer::new(options.time_limit));
        poll_fn(|cx| {
            while in_progress.len() < self.in_flight {
                let Some(user) = queued.pop() else { break };
                steps[user] += 1;
                report.sent += 1;
                let exchange =
                    Exchange::new(service.clone(), request(&users[user]), options.reading);
                in_progress.push(InProgress {
                    user,
                    step: steps[user],
                    cancel: (rng.u8(..100) < self.cancel_percent).then(|| rng.usize(..WHOLE)),
                    route: route(&exchange.request),
                    exchange,
                });
            }
            let mut over = Vec::new();
            in_progress.turn(cx, &mut rng, |work, cx| {
                let Some(end) = work.advance(&mut depths, cx) else {
                    return false;
                };
                over.push(work.user);
                report.count(&end, work.exchange.answer.is_success());
                report.add(observed.look_at(
                    &users,
                    (work.user, work.step),
                    self.shared.have(&work.exchange.request),
                    work.seen(&end),
                ));
                true
            });
            if in_progress.len() == 0 && queued.is_empty() {
                return Poll::Ready(());
            }
            if time.as_mut().poll(cx).is_ready() {
                for work in in_progress.drain() {
                    let end = End::TimedOut(work.exchange.waits_for());
                    report.count(&end, false);
                    report.add(observed.look_at(
                        &users,
                        (work.user, work.step),
                        self.shared.have(&work.exchange.request),
                        work.seen(&end),
                    ));
                }
                return Poll::Ready(());
            }
            if !over.is_empty() && !queued.is_empty() {
                // There is room for queued requests.
                cx.waker().wake_by_ref();
            }
            Poll::Pending
        })
        .await;
        if let Some(events) = &events {
            events.settle().await;
            report.findings.extend(events.findings());
        }
        if let Some(logs) = &logs {
            report.findings.extend(logs.findings(&users));
        }
        // What captures a factory may live in the service, so the service lives until here.
        drop(service);
        if report.findings.is_empty() {
            let nothing = observed
                .no_success(report.succeeded)
                .or_else(|| observed.nothing_of_own(&users, events.is_some()));
            report
                .findings
                .extend(nothing.map(|reason| Finding::ShowsNothing { reason }));
        }
        report.sort();
        report
    }
}

impl Default for IsolationCheck {
    fn default() -> Self {
        Self::new()
    }
}

struct InProgress<S: Service<Request<B>>, B, R> {
    user: usize,
    step: usize,
    route: String,
    /// After which share of its way it is cancelled; `None` if it is not.
    cancel: Option<usize>,
    exchange: Exchange<S, B, R>,
}

impl<S, B, R> InProgress<S, B, R>
where
    S: Service<Request<B>, Response = Response<R>, Error: Into<BoxError>>,
    R: Body,
{
    fn seen<'a>(&'a self, end: &'a End) -> Seen<'a> {
        (&self.exchange.request, &self.exchange.answer, end)
    }

    /// Polls once, unless it is to be cancelled before that. A cancelled exchange is dropped while
    /// it waits, as servers do when the client goes away.
    fn advance(&mut self, depths: &mut Depths, cx: &mut std::task::Context<'_>) -> Option<End> {
        let is_cancelled = |polls| {
            self.cancel
                .is_some_and(|share| depths.is_reached(&self.route, share, polls))
        };
        if is_cancelled(self.exchange.polls) {
            return Some(End::Cancelled);
        }
        let end = self.exchange.advance(cx);
        match end {
            Some(End::Completed) => depths.completed(&self.route, self.exchange.polls),
            None if is_cancelled(self.exchange.polls) => return Some(End::Cancelled),
            _ => {}
        }
        end
    }
}
