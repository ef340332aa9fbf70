//! Bugs that services of several users really have, to show that the checks find them. Nothing here is
//! for copying: without `--plant`, all of it is off.

use std::{str::FromStr, sync::OnceLock};

use tower_user_scope::{Principal, Scoped, UserId, context::Subject};

use crate::factory::{AgentFactory, Thread};

/// Which bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plant {
    /// A cache of the list of threads that has no user in its key.
    CachedList,
    /// A query that forgets to compare the owner.
    AnyThread,
    /// One channel of events for everybody.
    OneChannel,
    /// A handler that keeps the first factory that it got.
    KeptFactory,
    /// A client for the model that is made once, with the first user's name in its instructions.
    FirstUser,
    /// A count of everybody's threads.
    TotalCount,
}

impl Plant {
    pub(crate) const ALL: [(&str, Self); 6] = [
        ("cached-list", Self::CachedList),
        ("any-thread", Self::AnyThread),
        ("one-channel", Self::OneChannel),
        ("kept-factory", Self::KeptFactory),
        ("first-user", Self::FirstUser),
        ("total-count", Self::TotalCount),
    ];
}

impl FromStr for Plant {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        let found = Self::ALL.iter().find(|(known, _)| *known == name);
        found.map(|(_, plant)| *plant).ok_or(())
    }
}

/// The state of the bug that is on, where it has one.
#[derive(Debug, Default)]
pub(crate) struct Planted {
    plant: Option<Plant>,
    list: OnceLock<Vec<Thread>>,
    instructions: OnceLock<String>,
}

impl Planted {
    pub(crate) fn new(plant: Option<Plant>) -> Self {
        Self {
            plant,
            ..Self::default()
        }
    }

    pub(crate) fn is(&self, plant: Plant) -> bool {
        self.plant == Some(plant)
    }

    pub(crate) fn list(&self, threads: Vec<Thread>) -> Vec<Thread> {
        if !self.is(Plant::CachedList) || threads.is_empty() {
            return threads;
        }
        self.list.get_or_init(|| threads).clone()
    }

    pub(crate) fn subject(&self, subject: &Subject) -> Subject {
        if !self.is(Plant::OneChannel) {
            return subject.clone();
        }
        Subject::new(Principal::Anonymous)
    }

    pub(crate) fn instructions(&self, user: &UserId, prompt: String) -> String {
        if !self.is(Plant::FirstUser) {
            return prompt;
        }
        let instructions = || format!("You work for {user}.");
        format!("{} {prompt}", self.instructions.get_or_init(instructions))
    }
}

/// The first factory that a handler got, for all that come after.
pub(crate) struct KeptFactory;

impl KeptFactory {
    pub(crate) fn or(agents: Scoped<AgentFactory>) -> Scoped<AgentFactory> {
        static KEPT: OnceLock<Scoped<AgentFactory>> = OnceLock::new();
        if !agents.planted().is(Plant::KeptFactory) {
            return agents;
        }
        KEPT.get_or_init(|| agents.clone()).clone()
    }
}
