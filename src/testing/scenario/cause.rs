//! Finds the fewest requests of others that change what a user sees.

use super::{
    compare::{Alone, Difference},
    plan::{Order, Plan},
    player::Player,
    state::Transcript,
};
use crate::testing::Finding;

/// How many times a scenario is played to find one cause.
const MOST_PLAYS: usize = 60;

/// The search for the cause of one difference.
pub(super) struct Search<'r, 'a> {
    player: &'r Player<'a>,
    alone: &'r [Alone],
    observer: usize,
    found: Difference,
    plays: usize,
}

impl<'r, 'a> Search<'r, 'a> {
    pub(super) fn new(
        player: &'r Player<'a>,
        alone: &'r [Alone],
        observer: usize,
        found: Difference,
    ) -> Self {
        Self {
            player,
            alone,
            observer,
            found,
            plays: 0,
        }
    }

    /// Returns the difference with its cause, as far as it can be found.
    pub(super) async fn finding(mut self, round: Plan) -> Finding {
        let mut because = Vec::new();
        let mut of_content = None;
        if let Some(plan) = self.smallest(round).await {
            let played = self.player.play(plan.clone()).await;
            because = self.requests_of_others(&plan, &played.transcripts.borrow());
            if let Some(found) = self.difference_in(&played.transcripts.borrow()) {
                self.found = found;
            }
            of_content = Some(self.changes_with_content(plan).await);
        }
        Finding::Interference {
            reader: self.player.users[self.observer].id().to_owned(),
            location: self.found.location(),
            alone: self.found.alone,
            among: self.found.among,
            because,
            of_content,
        }
    }

    /// Looks for the plan with the fewest requests in which the difference is still there.
    async fn smallest(&mut self, round: Plan) -> Option<Plan> {
        let mut plan = self.simplest(round).await?;
        for other in plan.users.clone() {
            if other == self.observer {
                continue;
            }
            // The fewest first: most causes are one of the first requests.
            let all = self.alone[other].steps();
            for steps in 0..all {
                let mut shorter = plan.clone();
                shorter.stop_after.insert(other, steps);
                if self.shows(&shorter).await {
                    plan = shorter;
                    break;
                }
            }
            let sent = plan.stop_after.get(&other).copied().unwrap_or(all);
            // The last one is needed, or it would not be there.
            for step in 0..sent.saturating_sub(1) {
                let mut without = plan.clone();
                without.left_out.insert((other, step));
                if self.shows(&without).await {
                    plan = without;
                }
            }
        }
        Some(plan)
    }

    /// Looks for an order that is easier to follow than that of the round, with as few users as
    /// possible.
    async fn simplest(&mut self, round: Plan) -> Option<Plan> {
        let observer = self.observer;
        let before = Order::Before {
            observer,
            step: self.found.step,
        };
        let others: Vec<usize> = round
            .users
            .iter()
            .copied()
            .filter(|user| *user != observer)
            .collect();
        let groups = others
            .iter()
            .map(|other| vec![*other])
            .chain([others.clone()]);
        let groups: Vec<Vec<usize>> = groups.collect();
        for order in [Order::Sequential, before, Order::InTurn] {
            for group in &groups {
                let plan = Plan::new(group.iter().copied().chain([observer]), order);
                if self.shows(&plan).await {
                    return Some(plan);
                }
            }
        }
        self.shows(&round).await.then_some(round)
    }

    fn requests_of_others(&self, plan: &Plan, transcripts: &[Transcript]) -> Vec<String> {
        let others = plan.users.iter().filter(|user| **user != self.observer);
        let requests = others.flat_map(|other| {
            let steps = (0..).zip(&transcripts[*other].steps);
            let sent = steps.filter(|(step, _)| !plan.left_out.contains(&(*other, *step)));
            let name = self.player.users[*other].id();
            sent.map(move |(_, step)| format!("{name} sent {}", step.request))
        });
        requests.collect()
    }

    /// Returns whether the user sees something else where others send other values.
    async fn changes_with_content(&mut self, mut plan: Plan) -> bool {
        plan.others_change_for = Some(self.observer);
        let played = self.player.play(plan).await;
        let difference = self.difference_in(&played.transcripts.borrow());
        difference.is_none_or(|difference| difference.among != self.found.among)
    }

    /// Returns whether the difference is there where this plan is played.
    async fn shows(&mut self, plan: &Plan) -> bool {
        self.plays += 1;
        if self.plays > MOST_PLAYS {
            return false;
        }
        let played = self.player.play(plan.clone()).await;
        let difference = self.difference_in(&played.transcripts.borrow());
        difference.is_some_and(|difference| difference.place == self.found.place)
    }

    fn difference_in(&self, transcripts: &[Transcript]) -> Option<Difference> {
        let transcript = &transcripts[self.observer];
        self.alone[self.observer].difference(self.found.step, transcript, &self.player.rules)
    }
}
