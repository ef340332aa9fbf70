//! Who plays a scenario, in which order, and how much of it.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;

use crate::testing::isolation::WHOLE;

/// Before how many steps of a user all others are played.
const MOST_STEPS: usize = 32;
/// How often an order is played with requests that are cancelled, each time at another depth.
const CANCELLED: usize = 2;

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
    pub(super) others_cancel: Option<Cancel>,
    /// A user that the service is made to take for another one: the first for the second.
    pub(super) impersonation: Option<(usize, usize)>,
}

/// All users but one go away in the middle of an exchange.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cancel {
    observer: usize,
    step: usize,
    /// After which share of the exchange's way.
    depth: usize,
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
            others_cancel: None,
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
        let before = (1..longest.min(MOST_STEPS)).map(|step| {
            let observer = step % users;
            (Order::Before { observer, step }, observer, step - 1)
        });
        let interleaved = (0..interleaved).map(|round| {
            let order = Order::Interleaved(seed.wrapping_add(round as u64));
            (order, round % users, round % longest.max(1))
        });
        let orders: Vec<_> = before.chain(interleaved).collect();
        // Depths are spread over the whole way: what is dirty for a short part of it is met too.
        let mut rng = Rng::with_seed(seed);
        let mut parts: Vec<usize> = (0..CANCELLED * orders.len()).collect();
        rng.shuffle(&mut parts);
        let of_order = parts.chunks(CANCELLED);
        for ((order, observer, step), depths) in orders.into_iter().zip(of_order) {
            rounds.push(Self::new(0..users, order));
            for part in depths {
                let mut cancelling = Self::new(0..users, order);
                let depth = (part * WHOLE + rng.usize(..WHOLE)) / parts.len();
                cancelling.others_cancel = Some(Cancel {
                    observer,
                    step,
                    depth,
                });
                rounds.push(cancelling);
            }
        }
        rounds
    }

    /// Returns after which share of this step its user goes away, if that is to be.
    pub(super) fn cancels(&self, user: usize, step: usize) -> Option<usize> {
        let cancel = self.others_cancel?;
        (cancel.observer != user && cancel.step == step).then_some(cancel.depth)
    }

    /// Returns whether this user's requests are sent as the scenario has them.
    pub(super) fn is_undisturbed(&self, user: usize) -> bool {
        self.others_cancel
            .is_none_or(|cancel| cancel.observer == user)
    }
}
