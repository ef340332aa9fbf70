//! What the clients of one play share: the service, and what each sent and got.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    future::{Future, pending, poll_fn},
    rc::Rc,
    task::{Poll, Waker},
};

use bytes::Bytes;
use fastrand::Rng;
use http::Request;

use super::{
    plan::{Order, Plan},
    reply::Reply,
    rules::Rules,
    session::Session,
};
use crate::testing::{
    TestUser,
    isolation::{Advance, Answer, End, SendRequest, unpacked_body},
};

/// One request of a scenario, and what came back.
pub(super) struct Step {
    pub(super) request: String,
    pub(super) answer: Answer,
    pub(super) end: End,
}

/// What one user sent and got.
#[derive(Default)]
pub(super) struct Transcript {
    pub(super) steps: Vec<Step>,
    pub(super) ended: Ended,
}

/// How a user's script ended.
#[derive(Default, PartialEq, Eq)]
pub(super) enum Ended {
    #[default]
    Running,
    Done,
    /// The plan has no more steps of this user.
    Stopped,
    Panicked(String),
}

/// A thing that a user created.
#[derive(Clone)]
pub(super) struct Thing {
    pub(super) owner: usize,
    pub(super) kind: String,
    pub(super) id: String,
}

/// What the clients of one play share.
pub(super) struct State {
    pub(super) plan: Plan,
    pub(super) users: Vec<TestUser>,
    pub(super) rules: Rc<Rules>,
    service: Box<dyn SendRequest>,
    sessions: RefCell<Vec<Session>>,
    pub(super) transcripts: RefCell<Vec<Transcript>>,
    pub(super) things: RefCell<Vec<Thing>>,
    gate: Gate,
    pub(super) rng: RefCell<Rng>,
}

/// Holds users up in the middle of their scripts.
#[derive(Default)]
struct Gate {
    is_open: Cell<bool>,
    /// Before which step users wait for their turn.
    next_step: Cell<usize>,
    held: RefCell<BTreeMap<usize, Waker>>,
}

impl State {
    pub(super) fn new(
        plan: Plan,
        users: Vec<TestUser>,
        rules: Rc<Rules>,
        service: Box<dyn SendRequest>,
    ) -> Rc<Self> {
        let seed = match plan.order {
            Order::Interleaved(seed) => seed,
            _ => 0,
        };
        Rc::new(Self {
            sessions: RefCell::new(users.iter().map(|_| Session::default()).collect()),
            transcripts: RefCell::new(users.iter().map(|_| Transcript::default()).collect()),
            things: RefCell::default(),
            gate: Gate::default(),
            rng: RefCell::new(Rng::with_seed(seed)),
            plan,
            users,
            rules,
            service,
        })
    }

    /// Lets those go on that are held up.
    pub(super) fn open_gate(&self) {
        self.gate.is_open.set(true);
        self.wake_held();
    }

    /// Lets users go on to the step before this one, where each has its [turn](Order::InTurn).
    pub(super) fn open_gate_until(&self, step: usize) {
        self.gate.next_step.set(step);
        self.wake_held();
    }

    fn wake_held(&self) {
        for waker in std::mem::take(&mut *self.gate.held.borrow_mut()).into_values() {
            waker.wake();
        }
    }

    pub(super) fn is_held(&self, seat: usize) -> bool {
        self.gate.held.borrow().contains_key(&seat)
    }

    /// Returns whether a user is to wait before this step.
    fn is_to_wait(&self, seat: usize, step: usize) -> bool {
        match self.plan.order {
            Order::Before {
                observer,
                step: held,
            } => seat == observer && step == held,
            Order::Meeting => {
                let things = self.things.borrow();
                let mut kinds = self.rules.foreign.iter();
                kinds.all(|(kind, _)| {
                    things
                        .iter()
                        .any(|thing| thing.owner == seat && thing.kind == *kind)
                })
            }
            Order::InTurn => step >= self.gate.next_step.get(),
            Order::Sequential | Order::Interleaved(_) => false,
        }
    }

    /// Sends a request as the next step of this seat.
    pub(super) async fn step(
        &self,
        seat: usize,
        user: &TestUser,
        request: Request<Bytes>,
    ) -> Reply {
        let label = format!("{} {}", request.method(), request.uri().path());
        self.record(seat, label, "the response", |cancel| {
            self.exchange(seat, user, request, cancel)
        })
        .await
    }

    /// Does something as the next step of this seat. The work gets the share of its way after which
    /// the client goes away, if it does.
    pub(super) async fn record<F>(
        &self,
        seat: usize,
        label: String,
        waits_for: &'static str,
        work: impl FnOnce(Option<usize>) -> F,
    ) -> Reply
    where
        F: Future<Output = (Answer, End)>,
    {
        let Some(step) = self.begin(seat, label, waits_for) else {
            return pending().await;
        };
        if self.plan.left_out.contains(&(seat, step)) {
            return Reply::none("left out");
        }
        self.pass_gate(seat, step).await;
        let (mut answer, end) = work(self.plan.cancels(seat, step)).await;
        let reply = reply(&mut answer, &end);
        let is_cancelled = end == End::Cancelled;
        {
            let transcript = &mut self.transcripts.borrow_mut()[seat];
            transcript.steps[step].answer = answer;
            transcript.steps[step].end = end;
            if is_cancelled {
                transcript.ended = Ended::Stopped;
            }
        }
        if is_cancelled {
            // The client has gone away.
            return pending().await;
        }
        reply
    }

    /// Begins a step, unless the plan has no more of them.
    fn begin(&self, seat: usize, label: String, waits_for: &'static str) -> Option<usize> {
        let transcript = &mut self.transcripts.borrow_mut()[seat];
        let step = transcript.steps.len();
        if self
            .plan
            .stop_after
            .get(&seat)
            .is_some_and(|most| step >= *most)
        {
            transcript.ended = Ended::Stopped;
            return None;
        }
        transcript.steps.push(Step {
            request: label,
            answer: Answer::default(),
            end: End::TimedOut(waits_for),
        });
        Some(step)
    }

    /// Begins an exchange with what the client keeps.
    pub(super) fn open(
        &self,
        seat: usize,
        user: &TestUser,
        mut request: Request<Bytes>,
    ) -> Box<dyn Advance> {
        self.sessions.borrow()[seat].apply(&mut request);
        self.service.begin(self.rules.authenticated(user, request))
    }

    /// Sends a request with what the client keeps.
    pub(super) async fn exchange(
        &self,
        seat: usize,
        user: &TestUser,
        mut request: Request<Bytes>,
        cancel: Option<usize>,
    ) -> (Answer, End) {
        self.sessions.borrow()[seat].apply(&mut request);
        let request = self.rules.authenticated(user, request);
        let (answer, end) = self.service.send(request, cancel).await;
        self.session(seat, |session| session.remember(&answer.headers));
        (answer, end)
    }

    pub(super) fn session(&self, seat: usize, change: impl FnOnce(&mut Session)) {
        change(&mut self.sessions.borrow_mut()[seat]);
    }

    pub(super) fn created(&self, owner: usize, kind: &str, id: String) {
        let kind = kind.to_owned();
        self.things.borrow_mut().push(Thing { owner, kind, id });
    }

    async fn pass_gate(&self, seat: usize, step: usize) {
        poll_fn(|cx| {
            if self.gate.is_open.get() || !self.is_to_wait(seat, step) {
                return Poll::Ready(());
            }
            self.gate.held.borrow_mut().insert(seat, cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

fn reply(answer: &mut Answer, end: &End) -> Reply {
    let extensions = std::mem::take(&mut answer.extensions);
    match (end, answer.status) {
        (End::Completed | End::Endless, Some(status)) => Reply {
            status,
            headers: answer.headers.clone(),
            body: unpacked_body(answer).into_owned().into(),
            trailers: answer.trailers.clone(),
            extensions,
        },
        _ => Reply::none("the service failed"),
    }
}
