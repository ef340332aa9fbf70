//! The ordered list, as a type: asked without a box, a lock or an await where none is needed.

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    ops::ControlFlow,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::request::Parts;
use pin_project::pin_project;

use super::{Removed, Tally, tally::Asking};
use crate::{
    clock::Clock,
    header_set::HeaderSet,
    maybe_future::MaybeFuture,
    outcome::{Outcome, Presence},
    strategy::{BoxStrategy, Facts, Strategy},
};

/// An ordered list of strategies, built by [`LayerBuilder::strategy`](crate::middleware::LayerBuilder::strategy) and
/// [`LayerBuilder::strategies`](crate::middleware::LayerBuilder::strategies).
///
/// Sealed: a list is what those two make.
pub trait StrategyList: List {}

impl<L: List> StrategyList for L {}

/// Where the list stands after it was asked.
#[derive(Debug)]
pub enum Progress<P> {
    /// The list, or what is left of it, has said everything.
    Done(ControlFlow<()>),
    /// A strategy has to be waited for.
    Waiting(P),
}

pub(crate) mod private {
    use super::{
        Arc, Asking, Clock, Context, ControlFlow, Facts, Parts, Pin, Poll, Progress, Removed, Tally,
    };

    pub trait List {
        type Pending;

        fn len(&self) -> usize;
        fn ask(&self, asking: &mut Asking<'_>) -> Progress<Self::Pending>;
        fn resume(
            &self,
            pending: Pin<&mut Self::Pending>,
            cx: &mut Context<'_>,
            asking: &mut Asking<'_>,
        ) -> Poll<ControlFlow<()>>;
        fn each<V: FnMut(&dyn Facts)>(&self, visit: &mut V);
        fn use_clock(&mut self, clock: &Arc<dyn Clock>);
        fn scrub(&self, head: &mut Parts, tally: &Tally, removed: &mut Removed);
    }
}

use private::List;

/// A list without strategies.
#[derive(Clone, Copy, Debug)]
pub struct Empty {
    pub(crate) _private: (),
}

impl List for Empty {
    type Pending = Infallible;

    fn len(&self) -> usize {
        0
    }

    fn ask(&self, _: &mut Asking<'_>) -> Progress<Infallible> {
        Progress::Done(ControlFlow::Continue(()))
    }

    fn resume(
        &self,
        pending: Pin<&mut Infallible>,
        _: &mut Context<'_>,
        _: &mut Asking<'_>,
    ) -> Poll<ControlFlow<()>> {
        match *pending {}
    }

    fn each<V: FnMut(&dyn Facts)>(&self, _: &mut V) {}

    fn use_clock(&mut self, _: &Arc<dyn Clock>) {}

    fn scrub(&self, _: &mut Parts, _: &Tally, _: &mut Removed) {}
}

/// A list, and then one strategy.
#[derive(Clone, Debug)]
pub struct Then<L, S> {
    pub(super) before: L,
    pub(super) strategy: S,
    wants: HeaderSet,
}

impl<L, S: Strategy> Then<L, S> {
    pub(crate) fn new(before: L, strategy: S) -> Self {
        Self {
            before,
            wants: wants(&strategy),
            strategy,
        }
    }
}

/// Where a request has none of these, the strategy has nothing to say.
fn wants(strategy: &impl Strategy) -> HeaderSet {
    match strategy.headers() {
        Some(names) => names.iter().fold(HeaderSet::NONE, HeaderSet::and),
        None => HeaderSet::ANYTHING,
    }
}

/// With debug assertions, finds strategies that leave out one of their [`Strategy::headers`]: they
/// are not asked about requests that have nothing but that one.
#[inline]
fn check_not_asked(strategy: &impl Strategy, head: &Parts) {
    debug_assert!(
        strategy.presence(head) == Presence::NotSent,
        "strategy `{}` finds its credential in a request that has none of its `headers()`",
        strategy.name()
    );
}

/// As [`check_not_asked`].
#[inline]
fn check_not_scrubbed(strategy: &impl Strategy, head: &mut Parts) {
    if cfg!(debug_assertions) {
        let before = head.headers.len();
        strategy.scrub(head, false, &mut |_| {});
        assert!(
            before == head.headers.len(),
            "strategy `{}` removes headers from a request that has none of its `headers()`",
            strategy.name()
        );
    }
}

impl<L: List, S: Strategy> Then<L, S> {
    #[expect(
        clippy::inline_always,
        reason = "each has one caller, and the list is one function"
    )]
    #[inline(always)]
    fn ask_own(&self, asking: &mut Asking<'_>) -> Progress<ThenPending<L::Pending, S::Future>> {
        if !asking.tally.sent().meets(self.wants) {
            check_not_asked(&self.strategy, asking.head);
            return Progress::Done(asking.take(&self.strategy, Outcome::Absent));
        }
        match self.strategy.resolve(asking.head) {
            MaybeFuture::Ready(outcome) => Progress::Done(asking.take(&self.strategy, outcome)),
            MaybeFuture::Future(future) => {
                asking.waits();
                Progress::Waiting(ThenPending::Own(future))
            }
        }
    }
}

/// Which part of a [`Then`] is waited for.
#[pin_project(project = ThenProjection)]
#[derive(Debug)]
pub enum ThenPending<P, F> {
    /// Something before the last strategy.
    Before(#[pin] P),
    /// The last strategy.
    Own(#[pin] F),
}

impl<L: List, S: Strategy> List for Then<L, S> {
    type Pending = ThenPending<L::Pending, S::Future>;

    fn len(&self) -> usize {
        self.before.len() + 1
    }

    #[expect(clippy::inline_always, reason = "as above")]
    #[inline(always)]
    fn ask(&self, asking: &mut Asking<'_>) -> Progress<Self::Pending> {
        match self.before.ask(asking) {
            Progress::Done(ControlFlow::Continue(())) => self.ask_own(asking),
            Progress::Done(stop) => Progress::Done(stop),
            Progress::Waiting(pending) => Progress::Waiting(ThenPending::Before(pending)),
        }
    }

    fn resume(
        &self,
        mut pending: Pin<&mut Self::Pending>,
        cx: &mut Context<'_>,
        asking: &mut Asking<'_>,
    ) -> Poll<ControlFlow<()>> {
        loop {
            match pending.as_mut().project() {
                ThenProjection::Before(before) => {
                    if ready!(self.before.resume(before, cx, asking)).is_break() {
                        return Poll::Ready(ControlFlow::Break(()));
                    }
                    match self.ask_own(asking) {
                        Progress::Done(flow) => return Poll::Ready(flow),
                        Progress::Waiting(own) => pending.set(own),
                    }
                }
                ThenProjection::Own(future) => {
                    let outcome = ready!(future.poll(cx));
                    return Poll::Ready(asking.take(&self.strategy, outcome));
                }
            }
        }
    }

    fn each<V: FnMut(&dyn Facts)>(&self, visit: &mut V) {
        self.before.each(visit);
        visit(&self.strategy);
    }

    fn use_clock(&mut self, clock: &Arc<dyn Clock>) {
        self.before.use_clock(clock);
        self.strategy.use_clock(clock);
    }

    #[inline]
    fn scrub(&self, head: &mut Parts, tally: &Tally, removed: &mut Removed) {
        self.before.scrub(head, tally, removed);
        if tally.sent().meets(self.wants) {
            let index = self.before.len();
            removed.remove_by(&self.strategy, index, head, tally.believed(index));
        } else {
            check_not_scrubbed(&self.strategy, head);
        }
    }
}

/// A list, and then strategies whose number and order were read from configuration.
#[derive(Debug)]
pub struct ThenEach<L> {
    pub(super) before: L,
    pub(super) strategies: Vec<(HeaderSet, BoxStrategy)>,
}

impl<L: List> ThenEach<L> {
    pub(crate) fn new(before: L, strategies: Vec<BoxStrategy>) -> Self {
        let with_wants = |strategy: BoxStrategy| (wants(&strategy), strategy);
        Self {
            before,
            strategies: strategies.into_iter().map(with_wants).collect(),
        }
    }

    fn ask_from(
        &self,
        first: usize,
        asking: &mut Asking<'_>,
    ) -> Progress<ThenEachPending<L::Pending>> {
        for (index, (wants, strategy)) in self.strategies.iter().enumerate().skip(first) {
            let outcome = if asking.tally.sent().meets(*wants) {
                match strategy.resolve(asking.head) {
                    MaybeFuture::Ready(outcome) => outcome,
                    MaybeFuture::Future(future) => {
                        asking.waits();
                        return Progress::Waiting(ThenEachPending::At { index, future });
                    }
                }
            } else {
                check_not_asked(strategy, asking.head);
                Outcome::Absent
            };
            if asking.take(strategy, outcome).is_break() {
                return Progress::Done(ControlFlow::Break(()));
            }
        }
        Progress::Done(ControlFlow::Continue(()))
    }
}

/// Which part of a [`ThenEach`] is waited for.
#[pin_project(project = ThenEachProjection)]
pub enum ThenEachPending<P> {
    /// Something before the strategies from configuration.
    Before(#[pin] P),
    /// One of them.
    At {
        /// Which.
        index: usize,
        /// Its future.
        future: <BoxStrategy as Strategy>::Future,
    },
}

impl<P> fmt::Debug for ThenEachPending<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Before(_) => f.write_str("Before(..)"),
            Self::At { index, .. } => f.debug_tuple("At").field(index).finish(),
        }
    }
}

impl<L: List> List for ThenEach<L> {
    type Pending = ThenEachPending<L::Pending>;

    fn len(&self) -> usize {
        self.before.len() + self.strategies.len()
    }

    fn ask(&self, asking: &mut Asking<'_>) -> Progress<Self::Pending> {
        match self.before.ask(asking) {
            Progress::Done(ControlFlow::Continue(())) => self.ask_from(0, asking),
            Progress::Done(stop) => Progress::Done(stop),
            Progress::Waiting(pending) => Progress::Waiting(ThenEachPending::Before(pending)),
        }
    }

    fn resume(
        &self,
        mut pending: Pin<&mut Self::Pending>,
        cx: &mut Context<'_>,
        asking: &mut Asking<'_>,
    ) -> Poll<ControlFlow<()>> {
        loop {
            let (flow, next) = match pending.as_mut().project() {
                ThenEachProjection::Before(before) => {
                    (ready!(self.before.resume(before, cx, asking)), 0)
                }
                ThenEachProjection::At { index, future } => {
                    let outcome = ready!(future.as_mut().poll(cx));
                    (asking.take(&self.strategies[*index].1, outcome), *index + 1)
                }
            };
            if flow.is_break() {
                return Poll::Ready(flow);
            }
            match self.ask_from(next, asking) {
                Progress::Done(flow) => return Poll::Ready(flow),
                Progress::Waiting(at) => pending.set(at),
            }
        }
    }

    fn each<V: FnMut(&dyn Facts)>(&self, visit: &mut V) {
        self.before.each(visit);
        for (_, strategy) in &self.strategies {
            visit(strategy);
        }
    }

    fn use_clock(&mut self, clock: &Arc<dyn Clock>) {
        self.before.use_clock(clock);
        for (_, strategy) in &mut self.strategies {
            strategy.use_clock(clock);
        }
    }

    fn scrub(&self, head: &mut Parts, tally: &Tally, removed: &mut Removed) {
        self.before.scrub(head, tally, removed);
        for (index, (wants, strategy)) in (self.before.len()..).zip(&self.strategies) {
            if tally.sent().meets(*wants) {
                removed.remove_by(strategy, index, head, tally.believed(index));
            } else {
                check_not_scrubbed(strategy, head);
            }
        }
    }
}
