//! Without a timer there are no time limits, and the log says so once.

use std::{env, future::Future, process::Command, time::Duration};

use futures::FutureExt as _;
use http::Request;
use tower_user_scope::{CredentialSource, Outcome, UserScopeLayer, from_async_fn};

use crate::{
    answered::send,
    audit::{capture, written},
};

/// A request that has to wait, for which the layer starts a timer if there is one.
fn waits() -> impl Future<Output = ()> {
    let strategy = from_async_fn(CredentialSource::predicate(|_| true), |_| async {
        // Pending at the first poll.
        futures::pending!();
        Outcome::Absent
    });
    let layer = UserScopeLayer::builder()
        .strategy(strategy)
        .time_limit(Duration::from_secs(77))
        .context_only()
        .build()
        .expect("valid");
    async move {
        let mut asked = Box::pin(send(&layer, Request::new(())));
        assert!(asked.as_mut().now_or_never().is_none(), "it waits");
        asked.await.expect_err("nobody in particular");
    }
}

fn in_a_runtime(with_timers: bool) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    if with_timers {
        runtime.enable_time();
    }
    runtime.build().expect("a runtime").block_on(waits());
}

/// The line is logged once in a process, so each case has its own process.
#[test]
fn a_missing_timer_is_reported_once() {
    const CASE: &str = "TOWER_USER_SCOPE_TEST_OF_TIMERS";
    let cases: [(&str, &str, fn()); 3] = [
        ("with timers", "", || in_a_runtime(true)),
        ("without timers", "77s", || in_a_runtime(false)),
        ("without a runtime", "77s", || {
            futures::executor::block_on(waits());
        }),
    ];
    if let Ok(name) = env::var(CASE) {
        let (_, limit, serve) = cases.iter().find(|case| case.0 == name).expect("a case");
        capture();
        for _ in 0..3 {
            serve();
        }
        let lines = written();
        let reports: Vec<&str> = lines
            .lines()
            .filter(|line| line.contains("time limits are not kept"))
            .collect();
        assert_eq!(reports.len(), usize::from(!limit.is_empty()), "{lines}");
        assert!(reports.iter().all(|line| line.contains(limit)), "{lines}");
        return;
    }
    let this = env::current_exe().expect("a program");
    for (name, ..) in cases {
        let child = Command::new(&this)
            .args(["--exact", "timers::a_missing_timer_is_reported_once"])
            .env(CASE, name)
            .output()
            .expect("it starts");
        let said = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success(), "{name}: {said}");
        assert!(said.contains("1 passed"), "{name}: {said}");
    }
}
