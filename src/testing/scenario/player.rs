//! Plays plans, each with a service of its own.

use std::{future::Future, pin::Pin, rc::Rc, time::Instant};

use super::{
    client::Client,
    plan::Plan,
    play::{Script, play},
    rules::Rules,
    state::State,
};
use crate::testing::{Finding, TestUser, isolation::SendRequest};

pub(super) type MakeService<'a> =
    dyn Fn() -> Pin<Box<dyn Future<Output = Box<dyn SendRequest>> + 'a>> + 'a;

/// The users, the service and the scenario of a check.
pub(super) struct Player<'a> {
    pub(super) users: Vec<TestUser>,
    pub(super) rules: Rc<Rules>,
    pub(super) seed: u64,
    pub(super) deadline: Instant,
    pub(super) service: &'a MakeService<'a>,
    pub(super) scenario: &'a dyn Fn(Client) -> Script<'a>,
}

impl Player<'_> {
    /// Plays a plan, and returns what each user sent and got.
    pub(super) async fn play(&self, plan: Plan) -> Rc<State> {
        self.play_and_meet(plan).await.0
    }

    /// Plays a plan, and also returns what users found where they met.
    pub(super) async fn play_and_meet(&self, plan: Plan) -> (Rc<State>, Vec<Finding>) {
        let users = self.users.iter().enumerate().map(|(number, user)| {
            let mut others = plan.others_change_for.iter();
            let changed = others.any(|observer| *observer != number);
            user.anew(if changed { self.seed ^ 1 } else { self.seed })
        });
        let users = users.collect();
        let service = (self.service)().await;
        let state = State::new(plan, users, Rc::clone(&self.rules), service);
        let left = self.deadline.saturating_duration_since(Instant::now());
        let findings = play(&state, self.scenario, left).await;
        (state, findings)
    }
}
