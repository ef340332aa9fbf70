//! Who plays a scenario, in which order, and how much of it.

use std::collections::{BTreeMap, BTreeSet};

/// Before how many steps of a user all others are played.
const MOST_STEPS: usize = 32;

/// How a scenario is played once.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// The users by number, in the order in which they begin.
    pub(super) users: Vec<usize>,
    pub(super) order: Order,
    /// How many requests a user sends, of those who do not send all.
    pub(super) stop_after: BTreeMap<usize, usize>,
    /// Requests that are not sent: the user and the number of the step.
    pub(super) left_out: BTreeSet<(usize, usize)>,
    /// Whose values are not changed, where those of all others are.
    pub(super) others_change_for: Option<usize>,
    /// Whose requests are not cancelled, where those of others are now and then.
    pub(super) others_cancel_for: Option<usize>,
    /// A user that the service is made to take for another one: the first for the second.
    pub(super) impersonation: Option<(usize, usize)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// One user after the other.
    Sequential,
    /// All at once, interleaved as this seed decides.
    Interleaved(u64),
    /// Each user's first step, then each user's second one, and so on.
    InTurn,
    /// All others before this step of this user, one after the other.
    Before { observer: usize, step: usize },
    /// One user after the other, until each has created something of each kind; then all ask for
    /// what others created, and go on.
    Meeting,
}

impl Plan {
    pub(super) fn new(users: impl IntoIterator<Item = usize>, order: Order) -> Self {
        Self {
            users: users.into_iter().collect(),
            order,
            stop_after: BTreeMap::new(),
            left_out: BTreeSet::new(),
            others_change_for: None,
            others_cancel_for: None,
            impersonation: None,
        }
    }

    pub(super) fn alone(user: usize) -> Self {
        Self::new([user], Order::Sequential)
    }

    /// The orders in which users are played together: one after the other, the other way around,
    /// step by step in turn, all others before each step of one user, interleaved, and interleaved with requests that are
    /// cancelled.
    pub(super) fn rounds(steps: &[usize], interleaved: usize, seed: u64) -> Vec<Self> {
        let users = steps.len();
        let mut rounds = vec![
            Self::new(0..users, Order::Sequential),
            Self::new((0..users).rev(), Order::Sequential),
            Self::new(0..users, Order::InTurn),
        ];
        let longest = steps.iter().copied().max().unwrap_or_default();
        for step in 1..longest.min(MOST_STEPS) {
            let observer = step % users;
            rounds.push(Self::new(0..users, Order::Before { observer, step }));
        }
        for round in 0..interleaved {
            let order = Order::Interleaved(seed.wrapping_add(round as u64));
            rounds.push(Self::new(0..users, order));
            let mut cancelling = Self::new(0..users, order);
            cancelling.others_cancel_for = Some(round % users);
            rounds.push(cancelling);
        }
        rounds
    }

    /// Returns whether this user's requests are sent as the scenario has them.
    pub(super) fn is_undisturbed(&self, user: usize) -> bool {
        self.others_cancel_for
            .is_none_or(|observer| observer == user)
    }
}
