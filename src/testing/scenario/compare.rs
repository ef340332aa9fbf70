//! What one user sees alone, and what is different among others.

use std::collections::BTreeSet;

use http::StatusCode;

use super::{
    places::{Place, of_all_items, places},
    rules::Rules,
    state::{Ended, Transcript},
};
use crate::testing::Location;

/// In place of the places of a step that one run has and another has not.
const WHOLE_STEP: &str = "whole step";

/// What a user saw in runs without others.
pub(super) struct Alone {
    steps: Vec<Seen>,
    /// Places that differ from run to run, by step.
    noise: BTreeSet<(usize, String)>,
}

struct Seen {
    request: String,
    places: Vec<Place>,
}

/// A place in which a user sees something else among others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) step: usize,
    pub(super) request: String,
    pub(super) status: Option<StatusCode>,
    pub(super) place: String,
    pub(super) alone: Option<String>,
    pub(super) among: Option<String>,
}

impl Alone {
    /// Begins with the first run.
    pub(super) fn new(first: &Transcript) -> Self {
        let steps = first.steps.iter().map(|step| Seen {
            request: step.request.clone(),
            places: places(step),
        });
        Self {
            steps: steps.collect(),
            noise: BTreeSet::new(),
        }
    }

    /// Compares with another run of this user alone: what differs does so without others.
    pub(super) fn learn(&mut self, again: &Transcript) {
        for step in 0..self.steps.len().max(again.steps.len()) {
            let (Some(first), Some(again)) = (self.steps.get(step), again.steps.get(step)) else {
                self.noise.insert((step, WHOLE_STEP.to_owned()));
                continue;
            };
            for (place, ..) in different(&first.places, &places(again)) {
                self.noise.insert((step, of_all_items(&place)));
            }
        }
    }

    /// Returns how many requests the user sent.
    pub(super) fn steps(&self) -> usize {
        self.steps.len()
    }

    /// Returns how many places differ from run to run, and how many there are.
    pub(super) fn noise(&self) -> (usize, usize) {
        let places = (0..)
            .zip(&self.steps)
            .flat_map(|(step, seen)| seen.places.iter().map(move |(place, _)| (step, place)));
        let (mut differing, mut all) = (0, 0);
        for (step, place) in places {
            all += 1;
            differing += usize::from(self.is_noise(step, place));
        }
        (differing, all)
    }

    /// Returns the first difference of each step.
    pub(super) fn differences(&self, among: &Transcript, rules: &Rules) -> Vec<Difference> {
        let steps = 0..self.steps.len().max(among.steps.len());
        steps
            .filter_map(|step| self.difference(step, among, rules))
            .collect()
    }

    pub(super) fn difference(
        &self,
        step: usize,
        among: &Transcript,
        rules: &Rules,
    ) -> Option<Difference> {
        if self.is_noise(step, WHOLE_STEP) {
            return None;
        }
        let (alone, seen) = (self.steps.get(step), among.steps.get(step));
        let request = seen
            .map(|step| &step.request)
            .or(alone.map(|alone| &alone.request))?;
        if rules.shared.have(request) {
            return None;
        }
        let (place, alone, value) = match (alone, seen) {
            (Some(alone), Some(seen)) => {
                let places = places(seen);
                let mut all = different(&alone.places, &places).into_iter();
                all.find(|(place, ..)| !self.is_noise(step, place) && !rules.may_differ(place))?
            }
            // A script that ended early shows it by its last step, or by why it ended.
            (Some(alone), None) => match &among.ended {
                Ended::Panicked(message) => (
                    "the scenario".to_owned(),
                    Some(alone.request.clone()),
                    Some(message.clone()),
                ),
                Ended::Running | Ended::Done => {
                    ("the scenario".to_owned(), Some(alone.request.clone()), None)
                }
                Ended::Stopped => return None,
            },
            (None, seen) => (
                "the scenario".to_owned(),
                None,
                seen.map(|step| step.request.clone()),
            ),
        };
        Some(Difference {
            step,
            request: request.clone(),
            status: seen.and_then(|step| step.answer.status),
            place,
            alone,
            among: value,
        })
    }

    pub(super) fn is_noise(&self, step: usize, place: &str) -> bool {
        self.noise.contains(&(step, of_all_items(place)))
    }
}

impl Difference {
    pub(super) fn location(&self) -> Location {
        Location {
            step: self.step + 1,
            request: self.request.clone(),
            status: self.status,
            place: self.place.clone(),
            excerpt: self.among.clone().unwrap_or_default(),
        }
    }
}

/// Returns the places that are not equal, in the order of the first list and then of the second.
pub(super) fn different(
    first: &[Place],
    second: &[Place],
) -> Vec<(String, Option<String>, Option<String>)> {
    let in_first = first.iter().filter_map(|(place, one)| {
        let other = value(second, place);
        (other.as_ref() != Some(one)).then(|| (place.clone(), Some(one.clone()), other))
    });
    let only_in_second = second
        .iter()
        .filter(|(place, _)| value(first, place).is_none());
    let only_in_second =
        only_in_second.map(|(place, other)| (place.clone(), None, Some(other.clone())));
    in_first.chain(only_in_second).collect()
}

pub(super) fn value(places: &[Place], wanted: &str) -> Option<String> {
    let mut places = places.iter();
    places
        .find(|(place, _)| place == wanted)
        .map(|(_, value)| value.clone())
}
