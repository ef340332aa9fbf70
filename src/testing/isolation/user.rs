//! Users that a check acts for, and what only they may see.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, PoisonError},
};

use fastrand::Rng;

/// A user that a check sends requests for.
#[derive(Clone, Debug)]
pub struct TestUser {
    number: usize,
    id: String,
    seed: u64,
    /// What the application gave, and what was asked for.
    secrets: Arc<Mutex<BTreeMap<String, String>>>,
}

impl TestUser {
    /// Creates a user that the application knows already, such as a seeded account.
    ///
    /// ```
    /// use tower_user_scope::testing::TestUser;
    ///
    /// let users = [
    ///     TestUser::new("1001").with_secret("email", "alice@example.com"),
    ///     TestUser::new("1002").with_secret("email", "bob@example.com"),
    /// ];
    /// assert_eq!(users[0].secret("email"), "alice@example.com");
    /// ```
    #[must_use]
    pub fn new(id: impl Into<String>) -> Self {
        Self {
            number: 0,
            id: id.into(),
            seed: 0,
            secrets: Arc::default(),
        }
    }

    /// Adds a secret that the application made: a password, an address, the text of an order.
    #[must_use]
    pub fn with_secret(self, name: impl Into<String>, secret: impl Into<String>) -> Self {
        self.lock().insert(name.into(), secret.into());
        self
    }

    /// Creates the user of this number and seed.
    pub(in crate::testing) fn made(number: usize, seed: u64) -> Self {
        let mark = random(seed, number, "id").u64(..);
        Self {
            number,
            id: format!("user-{number}-{mark:016x}"),
            seed,
            secrets: Arc::default(),
        }
    }

    /// Gives the user its number among the users of a check.
    pub(in crate::testing) fn numbered(mut self, number: usize, seed: u64) -> Self {
        self.number = number;
        self.seed = seed;
        self
    }

    /// Returns the same user without what was asked for since, and with other secrets for another
    /// seed.
    pub(in crate::testing) fn anew(&self, seed: u64) -> Self {
        let given = self.lock().clone();
        Self {
            number: self.number,
            id: self.id.clone(),
            seed,
            secrets: Arc::new(Mutex::new(given)),
        }
    }

    /// Returns the user's id, which is looked for in the responses to all others.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the user's number among the users of the check, from 0 on.
    #[must_use]
    pub fn number(&self) -> usize {
        self.number
    }

    /// Returns a text that only this user may see, always the same for one name: the text of a
    /// note, a name, an address. It is made of letters, digits and dashes.
    ///
    /// Wherever it is seen in a response to somebody else, it is reported under its name.
    #[must_use]
    pub fn secret(&self, name: &str) -> String {
        let mut secrets = self.lock();
        let made = || {
            let mark = random(self.seed, self.number, name).u64(..);
            format!("secret-{}-{mark:016x}", self.number)
        };
        secrets.entry(name.to_owned()).or_insert_with(made).clone()
    }

    /// Returns the names and values of the secrets that were given or asked for.
    pub(in crate::testing) fn secrets(&self) -> Vec<(String, String)> {
        let secrets = self.lock();
        secrets
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, String>> {
        self.secrets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn random(seed: u64, number: usize, name: &str) -> Rng {
    let mut hasher = DefaultHasher::new();
    (seed, number, name).hash(&mut hasher);
    Rng::with_seed(hasher.finish())
}
