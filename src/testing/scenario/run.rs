//! Plays a scenario in all rounds, and collects what is found.

use std::rc::Rc;

use super::{
    cause::Search,
    compare::{Alone, Difference},
    plan::{Order, Plan},
    player::Player,
    state::{Ended, State},
};
use crate::testing::{
    Finding, IsolationReport, Recorder,
    isolation::{Events, Logs, Observed},
    report::route,
};

/// How often a user plays alone before others join, and how often again where a difference was
/// seen. A value that happens to be the same in all of these is not noise: one of three that are drawn
/// by chance is so once in 200,000 checks.
const ALONE: usize = 2;
const ALONE_AGAIN: usize = 10;
/// For how many differences a cause is looked for.
const MOST_CAUSES: usize = 8;

/// One run of a check.
pub(super) struct Runner<'a> {
    pub(super) player: Player<'a>,
    pub(super) interleaved: usize,
    pub(super) recorder: Option<Recorder>,
    pub(super) looks_at_logs: bool,
    pub(super) observed: Observed,
    pub(super) report: IsolationReport,
}

impl Runner<'_> {
    /// Plays everything.
    pub(super) async fn run(&mut self) {
        let mut alone = Vec::new();
        for user in 0..self.player.users.len() {
            match self.play_alone(user).await {
                Some(seen) => alone.push(seen),
                // Without it there is nothing to compare with.
                None => return,
            }
        }
        if self.report.succeeded == 0 {
            // All were refused.
            return;
        }
        if !self.player.rules.foreign.is_empty() {
            let meeting = Plan::new(0..self.player.users.len(), Order::Meeting);
            if self.watched(meeting).await.is_none() {
                return;
            }
        }
        let mut found: Vec<(usize, Plan, Difference)> = Vec::new();
        let steps: Vec<usize> = alone.iter().map(Alone::steps).collect();
        for round in Plan::rounds(&steps, self.interleaved, self.player.seed) {
            let Some(played) = self.watched(round.clone()).await else {
                return;
            };
            let transcripts = played.transcripts.borrow();
            for (user, alone) in alone
                .iter()
                .enumerate()
                .filter(|(user, _)| round.is_undisturbed(*user))
            {
                let differences = alone.differences(&transcripts[user], &self.player.rules);
                found.extend(
                    differences
                        .into_iter()
                        .map(|difference| (user, round.clone(), difference)),
                );
            }
        }
        self.confirm(&mut alone, &mut found).await;
        self.explain(&alone, found).await;
        for (user, alone) in self.player.users.iter().zip(&alone) {
            let (differing, places) = alone.noise();
            if differing * 2 > places {
                let reader = user.id().to_owned();
                self.report.findings.push(Finding::TooMuchNoise {
                    reader,
                    differing,
                    places,
                });
            }
        }
        if self.report.findings.is_empty() && self.report.succeeded > 0 {
            self.plant(&alone).await;
        }
    }

    async fn play_alone(&mut self, user: usize) -> Option<Alone> {
        let mut alone: Option<Alone> = None;
        for _ in 0..ALONE {
            let played = self.watched(Plan::alone(user)).await?;
            let transcript = &played.transcripts.borrow()[user];
            if let Ended::Panicked(message) = &transcript.ended {
                let user = self.player.users[user].id().to_owned();
                let message = message.clone();
                self.report
                    .findings
                    .push(Finding::ScenarioFailed { user, message });
                return None;
            }
            match &mut alone {
                None => alone = Some(Alone::new(transcript)),
                Some(alone) => alone.learn(transcript),
            }
        }
        alone
    }

    /// Drops the differences that are also there between runs of the same user alone. Those are made
    /// now, after the rounds, so that a clock that went on in between is noticed.
    async fn confirm(&mut self, alone: &mut [Alone], found: &mut Vec<(usize, Plan, Difference)>) {
        for (user, alone) in alone.iter_mut().enumerate() {
            if found.iter().all(|(observer, ..)| *observer != user) {
                continue;
            }
            for _ in 0..ALONE_AGAIN {
                let played = self.player.play(Plan::alone(user)).await;
                alone.learn(&played.transcripts.borrow()[user]);
                found.retain(|(observer, _, difference)| {
                    *observer != user || !alone.is_noise(difference.step, &difference.place)
                });
                if found.iter().all(|(observer, ..)| *observer != user) {
                    break;
                }
            }
        }
    }

    /// Finds the cause of each difference; of those in the same place of the same route, of the
    /// first one.
    async fn explain(&mut self, alone: &[Alone], found: Vec<(usize, Plan, Difference)>) {
        let mut explained: Vec<(String, String)> = Vec::new();
        for (user, round, difference) in found {
            let place = (
                route(&difference.request),
                route(&super::places::of_all_items(&difference.place)),
            );
            if explained.contains(&place) || explained.len() >= MOST_CAUSES {
                continue;
            }
            explained.push(place);
            let finding = Search::new(&self.player, alone, user, difference)
                .finding(round)
                .await;
            self.report.findings.push(finding);
        }
    }

    /// Lets the service take one user for another. What the check would not notice then, it can't
    /// notice at all.
    async fn plant(&mut self, alone: &[Alone]) {
        let (taken, real) = (1, 0);
        let mut plan = Plan::new([real, taken], Order::Sequential);
        plan.impersonation = Some((taken, real));
        let played = self.player.play(plan).await;
        let transcripts = played.transcripts.borrow();
        let sees_ids = transcripts[taken].steps.iter().any(|step| {
            let shared = self.player.rules.shared.have(&step.request);
            let seen = (step.request.as_str(), &step.answer, &step.end);
            !self
                .observed
                .look_at(&played.users, (taken, 0), shared, seen)
                .is_empty()
        });
        if !sees_ids
            && alone[taken]
                .differences(&transcripts[taken], &self.player.rules)
                .is_empty()
        {
            let reason = "a user who is taken for another one sees the same".to_owned();
            self.report.findings.push(Finding::ShowsNothing { reason });
        }
    }

    /// Plays a plan, and looks at every response and event. Returns nothing where the check is
    /// over.
    async fn watched(&mut self, plan: Plan) -> Option<Rc<State>> {
        let events = self.recorder.as_ref().map(Events::from_now);
        let logs = self.looks_at_logs.then(Logs::capture);
        let (played, mut findings) = self.player.play_and_meet(plan).await;
        for (seat, transcript) in played.transcripts.borrow().iter().enumerate() {
            for (number, step) in (1..).zip(&transcript.steps) {
                self.report.sent += 1;
                self.report.count(&step.end, step.answer.is_success());
                let shared = self.player.rules.shared.have(&step.request);
                let seen = (step.request.as_str(), &step.answer, &step.end);
                findings.extend(
                    self.observed
                        .look_at(&played.users, (seat, number), shared, seen),
                );
            }
        }
        if let Some(logs) = &logs {
            findings.extend(logs.findings(&played.users));
        }
        if let Some(events) = &events {
            // What is captured in one play is captured in each.
            if !self.report.findings.iter().any(Finding::is_of_what_is_held) {
                events.settle().await;
            }
            findings.extend(events.findings());
        }
        let is_over = findings
            .iter()
            .any(|finding| matches!(finding, Finding::Unfinished { .. }));
        for finding in findings {
            if !self.report.findings.contains(&finding) {
                self.report.add(vec![finding]);
            }
        }
        (!is_over).then_some(played)
    }
}
