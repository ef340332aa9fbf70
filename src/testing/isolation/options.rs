//! The options that both checks have.

use std::time::Duration;

use super::{
    decode::Decoders,
    exchange::Reading,
    user::TestUser,
    users::{Users, seed_or},
};
use crate::testing::Recorder;

/// Defines the methods that both checks have, for a type with a field `options: CheckOptions`.
macro_rules! check_options {
    () => {
        /// Sets the number of users; at least two. The check makes their ids.
        pub fn users(mut self, count: usize) -> Self {
            self.options.users = Users::Made(count.max(2));
            self
        }

        /// Sets the users, for applications that know theirs already.
        ///
        /// Ids and secrets of less than four bytes are not looked for, and others only as whole words,
        /// because a number such as `1001` stands in a text by chance. Prefer secrets.
        ///
        /// # Panics
        /// If there are fewer than two.
        pub fn known_users(mut self, users: impl IntoIterator<Item = TestUser>) -> Self {
            self.options.users = Users::known(users);
            self
        }

        /// Sets the seed of the random order. A report has the seed that it was made with.
        ///
        /// The environment variable `ISOLATION_SEED` has precedence, so that a run of CI can be
        /// repeated without a changed test.
        pub fn seed(mut self, seed: u64) -> Self {
            self.options.seed = seed;
            self
        }

        /// Also looks for [secrets](TestUser::secret) in what the service logs through `tracing`, at every
        /// level, on the thread of the check. Meanwhile that goes nowhere else.
        pub fn logs(mut self) -> Self {
            self.options.looks_at_logs = true;
            self
        }

        /// Sets how many frames of a body are read at most: 1,024 unless this is called. A body that has
        /// more is a finding, as is one that does not end within the [time limit](Self::time_limit).
        pub fn frame_limit(mut self, frames: usize) -> Self {
            self.options.reading.frames = frames.max(1);
            self
        }

        /// Allows bodies without an end, such as event streams: at the limit of frames the client goes
        /// away, and what it has read is looked at.
        pub fn endless_bodies(mut self) -> Self {
            self.options.reading.may_be_cut = true;
            self
        }

        /// Sets how long the check may take: 30 seconds unless this is called. Each request that is not
        /// over by then is a finding that names it.
        pub fn time_limit(mut self, limit: Duration) -> Self {
            self.options.time_limit = limit;
            self
        }

        /// Allows users to see each other's ids, as in a chat, a feed, or a list for administrators.
        ///
        /// Then only [secrets](TestUser::secret) are looked for.
        pub fn ids_are_public(mut self) -> Self {
            self.options.ids_are_public = true;
            self
        }

        /// Also looks into what this function makes of each header and each body, for forms that the check
        /// does not know, such as brotli, or encryption with the test's own key.
        pub fn decode(mut self, decode: impl Fn(&[u8]) -> Option<Vec<u8>> + 'static) -> Self {
            self.options.decoders.add(decode);
            self
        }
    };
}
pub(in crate::testing) use check_options;

/// The options that both checks have.
#[derive(Debug)]
pub(in crate::testing) struct CheckOptions {
    pub(in crate::testing) users: Users,
    pub(in crate::testing) seed: u64,
    pub(in crate::testing) reading: Reading,
    pub(in crate::testing) time_limit: Duration,
    pub(in crate::testing) ids_are_public: bool,
    pub(in crate::testing) decoders: Decoders,
    pub(in crate::testing) recorder: Option<Recorder>,
    pub(in crate::testing) looks_at_logs: bool,
}

impl CheckOptions {
    /// Creates options for so many users that the check makes.
    pub(in crate::testing) fn of_users(count: usize) -> Self {
        Self {
            users: Users::Made(count),
            seed: 0,
            reading: Reading::default(),
            time_limit: Duration::from_secs(30),
            ids_are_public: false,
            decoders: Decoders::default(),
            recorder: None,
            looks_at_logs: false,
        }
    }

    /// Returns the seed that the environment sets, or the configured one.
    pub(in crate::testing) fn seed(&self) -> u64 {
        seed_or(self.seed)
    }

    /// Returns the users of a run.
    pub(in crate::testing) fn users(&self) -> Vec<TestUser> {
        self.users.of(self.seed())
    }
}
