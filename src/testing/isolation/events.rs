//! What the layer's audit events say about isolation.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::Duration,
};

use super::timer::Timer;
use crate::{
    audit::{AuditEvent, HeldFactory},
    testing::{Finding, Recorder},
};

/// How often tasks that were spawned may go on before anything is waited for.
const TURNS: usize = 32;
/// How long tasks have to end that still hold a factory or a scope. Only a check that then reports one
/// waits that long.
const GRACE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(5);

/// The events of one check.
pub(in crate::testing) struct Events {
    recorder: Recorder,
    before: usize,
}

impl Events {
    pub(in crate::testing) fn from_now(recorder: &Recorder) -> Self {
        Self {
            recorder: recorder.clone(),
            before: recorder.count(),
        }
    }

    /// Waits until nothing is held any more, or it is clear that something was captured.
    pub(in crate::testing) async fn settle(&self) {
        for _ in 0..TURNS {
            if self.is_idle() {
                break;
            }
            yield_once().await;
        }
        let mut grace = pin!(Timer::new(GRACE));
        while !self.is_idle() {
            let mut pause = pin!(Timer::new(PAUSE));
            let over = poll_fn(|cx| match grace.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(true),
                Poll::Pending => pause.as_mut().poll(cx).map(|()| false),
            });
            if over.await {
                break;
            }
        }
    }

    /// Returns what is to be reported.
    pub(in crate::testing) fn findings(&self) -> Vec<Finding> {
        findings_in(self.since())
    }

    fn is_idle(&self) -> bool {
        let events = self.since();
        scopes_open(&events) == 0
            && events.iter().all(|event| match event {
                AuditEvent::FactoryRetained { held, .. } => held.holders() == 0,
                _ => true,
            })
    }

    fn since(&self) -> Vec<AuditEvent<'static>> {
        self.recorder.events_after(self.before)
    }
}

/// Lets other tasks of the runtime go on.
async fn yield_once() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

fn scopes_open(events: &[AuditEvent<'_>]) -> usize {
    events.iter().fold(0, |open, event| match event {
        AuditEvent::Accepted { .. } => open + 1,
        AuditEvent::ScopeClosed { .. } => open.saturating_sub(1),
        _ => open,
    })
}

fn findings_in(events: Vec<AuditEvent<'static>>) -> Vec<Finding> {
    if events.is_empty() {
        return vec![Finding::NoEvents];
    }
    let mut findings = Vec::new();
    match scopes_open(&events) {
        0 => {}
        count => findings.push(Finding::ScopesLeftOpen { count }),
    }
    findings.extend(events.into_iter().filter_map(finding));
    findings
}

fn finding(event: AuditEvent<'static>) -> Option<Finding> {
    match event {
        AuditEvent::CrossUserAccess { violation } => {
            Some(Finding::CrossUserAccess(violation.into_owned()))
        }
        AuditEvent::FactoryRetained {
            context,
            factory,
            held,
            ..
        } if is_held(&held) => Some(Finding::FactoryRetained {
            owner: context
                .user_id()
                .map_or_else(|| "nobody".to_owned(), ToString::to_string),
            factory,
        }),
        _ => None,
    }
}

/// A task that a request joined or spawned is gone by now; what is held was captured.
fn is_held(held: &HeldFactory) -> bool {
    held.holders() > 0
}
