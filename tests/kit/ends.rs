//! B81: A check ends, whatever the service does, and names what did not end. What was read before a
//! client went away is looked at, and what is held is looked at again when all is idle.

use std::{
    iter,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tower_user_scope::{
    Scoped,
    testing::{Finding, IsolationCheck},
};

use super::support::{Agents, Answering, check, kinds, lock, pieces, text, waits};

#[tokio::test]
async fn b81_a_body_without_an_end_is_a_finding_that_names_path_and_reader() {
    for cancel in [0, 100] {
        let endless = |agents: Scoped<Agents>, _| -> Answering {
            Box::pin(async move { pieces(iter::repeat(agents.owner.clone())) })
        };
        let isolation = IsolationCheck::new()
            .users(2)
            .requests_of_each(2)
            .frame_limit(50);
        let report = check(isolation.cancel_percent(cancel), endless).await;
        let found = report.findings().iter().any(|finding| {
            matches!(
                finding,
                Finding::Unfinished { request, reader, state, frames: 50, .. }
                    if request == "GET /thing" && reader.starts_with("user-") && state == "still sends"
            )
        });
        assert!(found, "{cancel}: {report}");
        assert_eq!(kinds(&report), ["unfinished"], "{report}");
    }
}

#[tokio::test]
async fn b81_what_never_answers_ends_with_the_time_and_says_what_was_waited_for() {
    let silent =
        |_: Scoped<Agents>, _: Request<()>| -> Answering { Box::pin(std::future::pending()) };
    let stalls = |_: Scoped<Agents>, _: Request<()>| -> Answering {
        let first = stream::iter([Ok(Frame::data(Bytes::from("first")))]);
        let body = StreamBody::new(first.chain(stream::pending())).boxed_unsync();
        Box::pin(async { Response::new(body) })
    };
    let limit = Duration::from_millis(50);
    let isolation = || {
        IsolationCheck::new()
            .users(2)
            .requests_of_each(1)
            .time_limit(limit)
    };
    for (report, waits_for) in [
        (check(isolation(), silent).await, "waits for the response"),
        (
            check(isolation(), stalls).await,
            "waits for the body's next frame",
        ),
    ] {
        let named = report.findings().iter().filter(
            |finding| matches!(finding, Finding::Unfinished { state, .. } if state == waits_for),
        );
        assert_eq!(named.count(), 2, "{waits_for}: {report}");
        assert_eq!(report.failed(), 2, "{report}");
    }
}

#[tokio::test]
async fn an_event_stream_may_be_declared_endless_and_is_looked_at() {
    let events = |agents: Scoped<Agents>, _| -> Answering {
        Box::pin(async move {
            let event = format!("data: {}\n\n", agents.owner);
            pieces(iter::repeat(event))
        })
    };
    let isolation = || {
        IsolationCheck::new()
            .requests_of_each(4)
            .frame_limit(20)
            .endless_bodies()
    };
    check(isolation(), events).await.assert_isolated();

    let last: Arc<Mutex<String>> = Arc::default();
    let leaks = move |agents: Scoped<Agents>, _| -> Answering {
        let last = last.clone();
        Box::pin(async move {
            lock(&last).clone_from(&agents.owner);
            pieces(iter::repeat_with(move || lock(&last).clone()))
        })
    };
    let report = check(isolation(), leaks).await;
    assert_eq!(kinds(&report), ["foreign_bytes"], "{report}");
}

#[tokio::test]
async fn what_a_cancelled_or_a_failed_exchange_had_read_is_looked_at() {
    // The first ones end soon, which shows how long an exchange takes. The later ones leak from
    // their first frame on, and are all cancelled before they end.
    let started: Arc<AtomicUsize> = Arc::default();
    let long = move |agents: Scoped<Agents>, _| -> Answering {
        let number = started.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            let owner = agents.owner.clone();
            if number < 40 {
                return pieces(iter::repeat_n(owner, 20));
            }
            let other = if owner.starts_with("user-1-") {
                "user-2-"
            } else {
                "user-1-"
            };
            pieces(iter::repeat_n(format!("{other}0123456789abcdef"), 200))
        })
    };
    let report = check(IsolationCheck::new().cancel_percent(100), long).await;
    assert_eq!(
        report.completed() + report.cancelled(),
        report.sent(),
        "{report}"
    );
    assert!(
        report.completed() < 80 && report.cancelled() > 100,
        "{report}"
    );
    assert_eq!(kinds(&report), ["foreign_bytes"], "{report}");

    let last: Arc<Mutex<String>> = Arc::default();
    let breaks = move |agents: Scoped<Agents>, _| -> Answering {
        let before = std::mem::replace(&mut *lock(&last), agents.owner.clone());
        Box::pin(async move {
            let frames = [Ok(Frame::data(Bytes::from(before))), Err("broken".into())];
            Response::new(StreamBody::new(stream::iter(frames)).boxed_unsync())
        })
    };
    let report = check(IsolationCheck::new().cancel_percent(0), breaks).await;
    assert_eq!(report.completed(), 0, "{report}");
    assert!(kinds(&report).contains(&"foreign_bytes"), "{report}");
}

/// A buffer that goes back to its pool when it is dropped, as pools of connections do.
struct Pooled {
    text: String,
    pool: Arc<Mutex<Vec<String>>>,
}

impl Drop for Pooled {
    fn drop(&mut self) {
        lock(&self.pool).push(std::mem::take(&mut self.text));
    }
}

#[tokio::test]
async fn a_buffer_that_only_a_completed_request_clears_is_found_with_each_seed() {
    for seed in 0..20 {
        let pool: Arc<Mutex<Vec<String>>> = Arc::default();
        let handler = move |agents: Scoped<Agents>, _| -> Answering {
            let pool = pool.clone();
            Box::pin(async move {
                let text = lock(&pool).pop().unwrap_or_default();
                let mut buffer = Pooled { text, pool };
                buffer.text.push_str(&agents.owner);
                waits(20).await;
                let answer = text_of(&buffer);
                buffer.text.clear();
                answer
            })
        };
        let report = check(IsolationCheck::new().seed(seed), handler).await;
        assert_eq!(kinds(&report), ["foreign_bytes"], "{report}");
    }
}

fn text_of(buffer: &Pooled) -> super::support::Answer {
    text(buffer.text.clone())
}

#[tokio::test]
async fn b82_joined_spawned_and_producing_tasks_are_no_finding() {
    for seed in 0..20 {
        let joined = |agents: Scoped<Agents>, _| -> Answering {
            Box::pin(async move {
                let task = tokio::spawn(async move {
                    waits(10).await;
                    agents.owner.clone()
                });
                text(task.await.expect("no panic"))
            })
        };
        let blocking = |agents: Scoped<Agents>, _| -> Answering {
            Box::pin(async move {
                let task = tokio::task::spawn_blocking(move || agents.owner.clone());
                text(task.await.expect("no panic"))
            })
        };
        let producer = |agents: Scoped<Agents>, _| -> Answering {
            Box::pin(async move {
                let (sender, receiver) = futures::channel::mpsc::unbounded();
                tokio::spawn(async move {
                    for _ in 0..10 {
                        waits(1).await;
                        let frame = Ok(Frame::data(Bytes::from(agents.owner.clone())));
                        if sender.unbounded_send(frame).is_err() {
                            // The client has gone, and the task tidies up.
                            waits(5).await;
                            return;
                        }
                    }
                });
                Response::new(StreamBody::new(receiver).boxed_unsync())
            })
        };
        let isolation = || {
            IsolationCheck::new()
                .requests_of_each(4)
                .seed(seed)
                .cancel_percent(40)
        };
        check(isolation(), joined).await.assert_isolated();
        check(isolation(), blocking).await.assert_isolated();
        check(isolation(), producer).await.assert_isolated();
    }
}
