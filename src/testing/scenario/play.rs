//! Plays a scenario once, as a plan says.

use std::{
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    rc::Rc,
    task::Poll,
    time::Duration,
};

use super::{
    client::Client,
    foreign::ask_for_foreign_things,
    plan::Order,
    state::{Ended, State},
};
use crate::testing::{
    Finding,
    isolation::{Schedule, Timer, message},
};

pub(super) type Script<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

struct Playing<'a> {
    seat: usize,
    script: Script<'a>,
}

/// Lets all users of the plan play, until they are done or the time is over. Returns what they find
/// where they [meet](Order::Meeting).
pub(super) async fn play<'s>(
    state: &Rc<State>,
    scenario: &dyn Fn(Client) -> Script<'s>,
    time: Duration,
) -> Vec<Finding> {
    let mut time = pin!(Timer::new(time));
    let mut playing = pin!(in_order(state, scenario));
    poll_fn(|cx| match playing.as_mut().poll(cx) {
        Poll::Ready(findings) => Poll::Ready(findings),
        Poll::Pending => time.as_mut().poll(cx).map(|()| Vec::new()),
    })
    .await
}

async fn in_order<'s>(state: &Rc<State>, scenario: &dyn Fn(Client) -> Script<'s>) -> Vec<Finding> {
    let playing = |seat: usize| {
        let user = match state.plan.impersonation {
            Some((taken, real)) if taken == seat => real,
            _ => seat,
        };
        let client = Client {
            user: state.users[user].clone(),
            seat,
            state: Rc::clone(state),
        };
        Playing {
            seat,
            script: scenario(client),
        }
    };
    let mut seats = state.plan.users.clone();
    if let Order::Interleaved(_) = state.plan.order {
        let mut all = Schedule::new();
        for seat in seats {
            all.push(playing(seat));
        }
        drive(state, &mut all).await;
        return Vec::new();
    }
    if let Order::Before { observer, .. } = state.plan.order {
        // Sorting is stable: the others keep their order.
        seats.sort_by_key(|seat| *seat != observer);
    }
    let mut scripts: Vec<Schedule<Playing<'_>>> = Vec::new();
    for seat in seats {
        let mut script = Schedule::new();
        script.push(playing(seat));
        drive(state, &mut script).await;
        scripts.push(script);
    }
    let findings = match state.plan.order {
        Order::Meeting => ask_for_foreign_things(state).await,
        _ => Vec::new(),
    };
    if state.plan.order != Order::InTurn {
        state.open_gate();
    }
    for step in 1.. {
        state.open_gate_until(step);
        for script in &mut scripts {
            drive(state, script).await;
        }
        if scripts.iter().all(|script| script.len() == 0) {
            break;
        }
    }
    findings
}

/// Polls until all are done or held up.
async fn drive(state: &State, playing: &mut Schedule<Playing<'_>>) {
    let mut rng = state.rng.borrow_mut().fork();
    poll_fn(|cx| {
        let mut is_held = false;
        playing.turn(cx, &mut rng, |playing, cx| {
            let polled = catch_unwind(AssertUnwindSafe(|| playing.script.as_mut().poll(cx)));
            is_held |= state.is_held(playing.seat);
            let transcript = &mut state.transcripts.borrow_mut()[playing.seat];
            match polled {
                Ok(Poll::Pending) => return transcript.ended == Ended::Stopped,
                Ok(Poll::Ready(())) => transcript.ended = Ended::Done,
                Err(panic) => transcript.ended = Ended::Panicked(message(&*panic)),
            }
            true
        });
        if playing.len() == 0 || is_held {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}
