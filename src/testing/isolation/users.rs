//! The users of a check, and its seed.

use super::user::TestUser;
use crate::testing::report::SEED;

/// The users of a check.
#[derive(Debug)]
pub(in crate::testing) enum Users {
    /// So many that the check makes.
    Made(usize),
    /// Those of the application.
    Known(Vec<TestUser>),
}

impl Users {
    /// # Panics
    /// If there are fewer than two.
    pub(in crate::testing) fn known(users: impl IntoIterator<Item = TestUser>) -> Self {
        let users: Vec<TestUser> = users.into_iter().collect();
        assert!(users.len() > 1, "isolation takes two users");
        Self::Known(users)
    }

    pub(in crate::testing) fn of(&self, seed: u64) -> Vec<TestUser> {
        match self {
            Self::Made(count) => (0..*count)
                .map(|number| TestUser::made(number, seed))
                .collect(),
            Self::Known(users) => {
                let numbered = users.iter().cloned().enumerate();
                numbered
                    .map(|(number, user)| user.numbered(number, seed))
                    .collect()
            }
        }
    }
}

/// Returns the seed that the environment sets, or this one.
pub(in crate::testing) fn seed_or(seed: u64) -> u64 {
    let set = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok());
    set.unwrap_or(seed)
}
