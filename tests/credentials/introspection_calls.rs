//! B29: how often an introspection endpoint is asked, what is remembered, for how long, and who waits for
//! whom.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;
use serde_json::json;
use tower_user_scope::{
    strategy::{InvalidErrorKind, Strategy},
    testing::TestClock,
    token::TokenCache,
};

use crate::{
    introspection::{TOKEN, answer_with, bearer, now, strategy},
    support::{
        Asked, Came, Setup,
        endpoint::{Endpoint, Reply},
    },
};

const SECOND: Duration = Duration::from_secs(1);
const INACTIVE: Came = Came::Refused(InvalidErrorKind::Rejected("token_inactive"));

fn service(strategy: impl Strategy<Future: Send + 'static> + Send + Sync + 'static) -> Asked {
    Setup::new([strategy.boxed()]).service()
}

/// An endpoint whose tokens are active until the flag says otherwise.
fn revocable() -> (Endpoint, Arc<AtomicBool>) {
    let revoked = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&revoked);
    let endpoint = Endpoint::start(move |_| {
        let active = !flag.load(Ordering::SeqCst);
        Reply::Json(answer_with(json!({"active": active})))
    });
    (endpoint, revoked)
}

#[tokio::test]
async fn an_answer_is_remembered_for_the_period_and_a_revocation_is_seen_after_it() {
    for (period, seconds) in [(None, 30), (Some(5 * SECOND), 5)] {
        let (endpoint, revoked) = revocable();
        let clock = TestClock::now();
        let strategy = match period {
            None => strategy(&endpoint),
            Some(period) => strategy(&endpoint).cache_for(period),
        };
        let asked = Setup::new([strategy.boxed()]).service_at(clock.clone());
        assert_eq!(asked.came(bearer(TOKEN)).await, Came::alice());
        revoked.store(true, Ordering::SeqCst);
        clock.advance((seconds - 1) * SECOND);
        assert_eq!(asked.came(bearer(TOKEN)).await, Came::alice());
        assert_eq!(endpoint.asked(), 1);
        clock.advance(SECOND);
        assert_eq!(asked.came(bearer(TOKEN)).await, INACTIVE);
        assert_eq!(endpoint.asked(), 2);
    }
}

#[tokio::test]
async fn a_period_of_zero_asks_for_each_request() {
    let (endpoint, revoked) = revocable();
    let asked = service(strategy(&endpoint).cache_for(Duration::ZERO));
    for _ in 0..2 {
        assert_eq!(asked.came(bearer(TOKEN)).await, Came::alice());
    }
    revoked.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        assert_eq!(asked.came(bearer(TOKEN)).await, INACTIVE);
    }
    assert_eq!(endpoint.asked(), 4);
}

#[tokio::test]
async fn nothing_is_remembered_beyond_the_end_of_the_token() {
    let clock = TestClock::now();
    let end = now() + 10;
    let endpoint = Endpoint::always(answer_with(json!({"exp": end})));
    let strategy = strategy(&endpoint).cache_for(3_600 * SECOND);
    let asked = Setup::new([strategy.boxed()]).service_at(clock.clone());
    assert_eq!(asked.came(bearer(TOKEN)).await, Came::alice());
    clock.set(std::time::UNIX_EPOCH + Duration::from_secs(end) - Duration::from_millis(1));
    assert_eq!(asked.came(bearer(TOKEN)).await, Came::alice());
    assert_eq!(endpoint.asked(), 1);
    clock.advance(Duration::from_millis(1));
    // The endpoint's clock is behind, and it still calls the token active.
    let expired = Came::Refused(InvalidErrorKind::Expired);
    assert_eq!(asked.came(bearer(TOKEN)).await, expired);
}

#[tokio::test]
async fn a_clock_that_is_set_back_prolongs_nothing() {
    let (endpoint, revoked) = revocable();
    let clock = TestClock::now();
    let asked = Setup::new([strategy(&endpoint).boxed()]).service_at(clock.clone());
    assert_eq!(asked.came(bearer(TOKEN)).await, Came::alice());
    revoked.store(true, Ordering::SeqCst);
    clock.rewind(3_600 * SECOND);
    // The monotonic clock goes on.
    tokio::time::pause();
    tokio::time::advance(30 * SECOND).await;
    tokio::time::resume();
    assert_eq!(asked.came(bearer(TOKEN)).await, INACTIVE);
}

#[tokio::test]
async fn a_bad_token_is_remembered_for_ten_seconds_at_most() {
    let clock = TestClock::now();
    let (endpoint, revoked) = revocable();
    revoked.store(true, Ordering::SeqCst);
    let asked = Setup::new([strategy(&endpoint).boxed()]).service_at(clock.clone());
    for _ in 0..3 {
        assert_eq!(asked.came(bearer(TOKEN)).await, INACTIVE);
    }
    assert_eq!(endpoint.asked(), 1);
    revoked.store(false, Ordering::SeqCst);
    clock.advance(9 * SECOND);
    assert_eq!(asked.came(bearer(TOKEN)).await, INACTIVE);
    clock.advance(SECOND);
    assert_eq!(asked.came(bearer(TOKEN)).await, Came::alice());
    assert_eq!(endpoint.asked(), 2);
}

#[tokio::test]
async fn strangers_push_no_good_token_out() {
    let endpoint = Endpoint::start(|call| {
        let active = call.token() == TOKEN;
        Reply::Json(answer_with(json!({"active": active})))
    });
    let small = strategy(&endpoint).cache(TokenCache::new().max_entries(8));
    let asked = service(small);
    assert_eq!(asked.came(bearer(TOKEN)).await, Came::alice());
    for stranger in 0..100 {
        assert_eq!(
            asked.came(bearer(&format!("stranger{stranger}"))).await,
            INACTIVE
        );
    }
    assert_eq!(asked.came(bearer(TOKEN)).await, Came::alice());
    assert_eq!(endpoint.asked(), 101);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_with_one_token_share_a_call() {
    let (endpoint, _) = revocable();
    endpoint.hold();
    let asked = service(strategy(&endpoint));
    let requests: Vec<_> = (0..50)
        .map(|_| {
            let asked = asked.clone();
            tokio::spawn(async move { asked.came(bearer(TOKEN)).await })
        })
        .collect();
    endpoint.is_asked(1);
    endpoint.release();
    for came in join_all(requests).await {
        assert_eq!(came.expect("no panic"), Came::alice());
    }
    assert_eq!(endpoint.asked(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_goes_away_takes_nobodys_answer_with_it() {
    let (endpoint, _) = revocable();
    endpoint.hold();
    let asked = service(strategy(&endpoint));
    let first = asked.clone();
    let first = tokio::spawn(async move { first.came(bearer(TOKEN)).await });
    endpoint.is_asked(1);
    let second = asked.clone();
    let waiting = Arc::new(AtomicUsize::new(0));
    let polled = Arc::clone(&waiting);
    let second = tokio::spawn(async move {
        polled.fetch_add(1, Ordering::SeqCst);
        second.came(bearer(TOKEN)).await
    });
    while waiting.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    first.abort();
    assert!(first.await.expect_err("aborted").is_cancelled());
    // Either the second request was waiting and calls now, or it finds no call under way.
    endpoint.is_asked(2);
    endpoint.release();
    assert_eq!(second.await.expect("no panic"), Came::alice());
    assert_eq!(asked.came(bearer(TOKEN)).await, Came::alice());
    assert_eq!(endpoint.asked(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_calls_are_under_way_than_are_allowed() {
    let (endpoint, _) = revocable();
    endpoint.hold();
    let asked = service(strategy(&endpoint).max_calls(3));
    let requests: Vec<_> = (0..20)
        .map(|index| {
            let asked = asked.clone();
            tokio::spawn(async move { asked.came(bearer(&format!("t{index}"))).await })
        })
        .collect();
    endpoint.is_asked(3);
    endpoint.release();
    for came in join_all(requests).await {
        assert_eq!(came.expect("no panic"), Came::alice());
    }
    assert_eq!(endpoint.asked(), 20);
    assert!(endpoint.most_at_once() <= 3, "{}", endpoint.most_at_once());
}
