//! A list without the types of its strategies.

use super::list::{Empty, Then, ThenEach};
use crate::strategy::{BoxStrategy, Strategy};

impl From<Empty> for Vec<BoxStrategy> {
    fn from(_: Empty) -> Self {
        Self::new()
    }
}

impl<L, S> From<Then<L, S>> for Vec<BoxStrategy>
where
    L: Into<Self>,
    S: Strategy<Future: Send + 'static> + Send + Sync + 'static,
{
    fn from(list: Then<L, S>) -> Self {
        let mut strategies = list.before.into();
        strategies.push(list.strategy.boxed());
        strategies
    }
}

impl<L> From<ThenEach<L>> for Vec<BoxStrategy>
where
    L: Into<Self>,
{
    fn from(list: ThenEach<L>) -> Self {
        let mut strategies = list.before.into();
        strategies.extend(list.strategies.into_iter().map(|(_, strategy)| strategy));
        strategies
    }
}
