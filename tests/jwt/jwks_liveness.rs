//! A withdrawn key is not accepted any more, whatever happens to the background task, its runtime and its
//! fetch. A request without keys gets an error, never a panic or another fetch.

use std::{
    error::Error,
    future::pending,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::executor::block_on;
use serde_json::json;
use tokio::runtime::{Builder, Runtime};
use tower_user_scope::{
    jwt::{Algorithm, FetchDocument, FetchError, RemoteKeys, TokenErrorKind},
    testing::TestClock,
};

use crate::{
    issuer::{eventually, jwk},
    tokens::{Asked, Why, asking_at, claims, jwt, minted},
};

const ED: Algorithm = Algorithm::EdDSA;
const ES: Algorithm = Algorithm::ES256;
const MINUTE: Duration = Duration::from_secs(60);
/// The default period, and twice the default limit of a fetch.
const LEASE: Duration = Duration::from_secs(300 + 20);

/// An issuer in memory.
#[derive(Clone, Default)]
struct Source(Arc<Shared>);

#[derive(Default)]
struct Shared {
    published: Mutex<Published>,
    calls: AtomicUsize,
}

#[derive(Clone, Copy, Default)]
enum Published {
    #[default]
    A,
    /// The set without `a`.
    B,
    Down,
    Panics,
    /// Panics before it returns a future.
    PanicsAtOnce,
    Hangs,
    /// Returns a future that hangs and that panics when it is dropped.
    PanicsOnDrop,
}

struct Grenade;

impl Drop for Grenade {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "dropped");
    }
}

impl Source {
    fn publish(&self, published: Published) {
        *self.lock() = published;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Published> {
        let lock = self.0.published.lock();
        lock.unwrap_or_else(PoisonError::into_inner)
    }

    fn calls(&self) -> usize {
        self.0.calls.load(Ordering::SeqCst)
    }

    fn keys(&self) -> RemoteKeys {
        RemoteKeys::from_url("https://id.example/keys").fetch_with(self.clone())
    }

    /// A layer with its own clock, for a service.
    fn asked(&self, set: impl FnOnce(RemoteKeys) -> RemoteKeys) -> (Asked, TestClock) {
        let clock = TestClock::now();
        (asking_at(jwt(set(self.keys())), clock.clone()), clock)
    }
}

impl FetchDocument for Source {
    fn fetch(&self, _: &str) -> impl Future<Output = Result<Bytes, FetchError>> + Send {
        self.0.calls.fetch_add(1, Ordering::SeqCst);
        let published = *self.lock();
        if matches!(published, Published::PanicsAtOnce) {
            panic!("a fetch that panics at once");
        }
        async move {
            let document = match published {
                Published::A => json!({"keys": [jwk(ED, "a"), jwk(ES, "b")]}),
                Published::B => json!({"keys": [jwk(ES, "b")]}),
                Published::Down => return Err(FetchError::Status(503)),
                Published::Hangs => pending().await,
                Published::PanicsOnDrop => {
                    let grenade = Grenade;
                    let () = pending().await;
                    drop(grenade);
                    unreachable!()
                }
                Published::Panics | Published::PanicsAtOnce => panic!("a fetch that panics"),
            };
            Ok(document.to_string().into())
        }
    }
}

fn runtime() -> Runtime {
    let mut runtime = Builder::new_current_thread();
    runtime.enable_all().build().expect("a runtime")
}

/// Tokens that outlive the clocks of these tests.
fn lasting(algorithm: Algorithm, id: &str) -> String {
    let mut claims = claims("alice");
    claims["exp"] = json!(crate::tokens::now() + 30 * 24 * 3_600);
    minted(algorithm, Some(id), &claims)
}

fn a() -> String {
    lasting(ED, "a")
}

fn b() -> String {
    lasting(ES, "b")
}

#[expect(clippy::unnecessary_wraps, reason = "to compare answers with")]
fn alice() -> Result<String, Why> {
    Ok("alice".to_owned())
}

const UNAVAILABLE: Result<String, Why> = Err(Why::Unavailable);
const UNKNOWN: Result<String, Why> = Err(Why::Token(TokenErrorKind::UnknownKey));

#[test]
fn a_withdrawn_key_goes_although_the_runtime_that_fetched_is_gone() {
    for keep_for in [Duration::from_secs(3_600), Duration::MAX] {
        let source = Source::default();
        let (asked, clock) = source.asked(|keys| keys.keep_for(keep_for));
        let first = runtime();
        assert_eq!(first.block_on(asked.user(&a())), alice());
        drop(first);
        source.publish(Published::B);
        let second = runtime();
        assert_eq!(
            second.block_on(asked.user(&a())),
            alice(),
            "it is not due yet"
        );
        clock.advance(LEASE);
        assert_eq!(second.block_on(asked.user(&a())), UNKNOWN, "{keep_for:?}");
        assert_eq!(second.block_on(asked.user(&b())), alice());
        assert_eq!(source.calls(), 2);
    }
}

#[test]
fn a_withdrawn_key_goes_although_the_runtime_that_fetched_stands_still() {
    let source = Source::default();
    let (asked, clock) = source.asked(|keys| keys);
    let first = runtime();
    assert_eq!(first.block_on(asked.user(&a())), alice());
    source.publish(Published::B);
    clock.advance(LEASE);
    // The first runtime exists, but no thread drives it.
    assert_eq!(runtime().block_on(asked.user(&a())), UNKNOWN);
}

#[test]
fn a_response_that_comes_after_a_newer_one_is_ignored() {
    let source = Source::default();
    let (asked, clock) = source.asked(|keys| keys);
    let slow = runtime();
    source.publish(Published::Hangs);
    let waiting = slow.spawn({
        let asked = asked.clone();
        async move { asked.user(&a()).await }
    });
    slow.block_on(eventually("a fetch", async || source.calls() == 1));
    // Its runtime stops in the middle of the fetch, and another one takes over.
    clock.advance(MINUTE);
    source.publish(Published::A);
    let other = runtime();
    assert_eq!(other.block_on(asked.user(&a())), alice());
    assert_eq!(source.calls(), 2);
    // The first one continues, and its result changes nothing.
    let late = slow.block_on(waiting).expect("it ends");
    assert_eq!(late, alice(), "and who waited for it has the newer keys");
    assert_eq!(other.block_on(asked.user(&a())), alice());
    let stranger = lasting(ED, "x");
    assert_eq!(
        other.block_on(asked.user(&stranger)),
        UNKNOWN,
        "the last fetch went well"
    );
    assert_eq!(source.calls(), 2);
}

#[test]
fn keys_that_nobody_can_fetch_any_more_are_not_kept_for_ever() {
    let source = Source::default();
    let (asked, clock) = source.asked(|keys| keys.keep_for(Duration::MAX));
    assert_eq!(runtime().block_on(asked.user(&a())), alice());
    // There is no runtime.
    assert_eq!(block_on(asked.user(&a())), alice(), "they are young");
    clock.advance(LEASE);
    assert_eq!(block_on(asked.user(&a())), UNAVAILABLE);
    assert_eq!(source.calls(), 1);
}

#[test]
fn a_fetch_that_ends_with_its_runtime_does_not_mark_the_issuer_as_down() {
    let source = Source::default();
    let (asked, clock) = source.asked(|keys| keys.keep_for(Duration::MAX));
    assert_eq!(runtime().block_on(asked.user(&a())), alice());
    clock.advance(LEASE);
    source.publish(Published::Hangs);
    let second = runtime();
    drop(second.spawn({
        let asked = asked.clone();
        async move { asked.user(&a()).await }
    }));
    second.block_on(eventually("a fetch", async || source.calls() == 2));
    drop(second);
    assert_eq!(
        block_on(asked.user(&a())),
        UNAVAILABLE,
        "keys are kept for an issuer that is down, and not for this"
    );
}

#[test]
fn a_runtime_that_ends_in_the_middle_of_a_fetch_keeps_nobody_waiting() {
    let source = Source::default();
    source.publish(Published::Hangs);
    // The limit never fires, so a caller waits for ever. A layer has its own limit.
    let keys = source.keys().fetch_time_limit(60 * MINUTE);
    let first = runtime();
    let waiting = {
        let keys = keys.clone();
        first.spawn(async move { keys.ready().await })
    };
    first.block_on(eventually("a fetch", async || source.calls() == 1));
    let second = runtime();
    let other = second.spawn(async move { keys.ready().await });
    second.block_on(async {
        tokio::task::yield_now().await;
        drop(tokio::task::spawn_blocking(move || drop(first)).await);
        let ends = tokio::time::timeout(Duration::from_secs(20), other);
        let answer = ends.await.expect("without waiting for the limit");
        let error = answer.expect("it ends").expect_err("there are no keys");
        let source = error.source().and_then(|source| source.downcast_ref());
        assert!(
            matches!(source, Some(FetchError::Interrupted)),
            "{source:?}"
        );
    });
    drop(waiting);
    assert_eq!(source.calls(), 1);
}

#[test]
fn a_runtime_that_stands_still_in_the_middle_of_a_fetch_keeps_nobody_waiting() {
    let source = Source::default();
    source.publish(Published::Hangs);
    let keys = source.keys();
    let first = runtime();
    let waiting = {
        let keys = keys.clone();
        first.spawn(async move { keys.ready().await })
    };
    first.block_on(eventually("a fetch", async || source.calls() == 1));
    // From here on no thread drives the first runtime, so the limit of its fetch never fires.
    let second = Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let ready = second.block_on(async {
        let ready = tokio::time::timeout(MINUTE, keys.ready()).await;
        ready.expect("a virtual minute is longer than the limit")
    });
    let error = ready.expect_err("there are no keys");
    let why = error.source().and_then(|source| source.downcast_ref());
    assert!(matches!(why, Some(FetchError::TimedOut)), "{why:?}");
    assert_eq!(source.calls(), 1);
    drop(waiting);
}

#[tokio::test]
async fn a_fetch_that_panics_is_a_fetch_that_failed() {
    for broken in [Published::Panics, Published::PanicsAtOnce] {
        let source = Source::default();
        let (asked, clock) = source.asked(|keys| keys);
        assert_eq!(asked.user(&a()).await, alice());
        source.publish(broken);
        clock.advance(LEASE);
        assert_eq!(
            asked.user(&a()).await,
            alice(),
            "as if the issuer were down"
        );
        assert_eq!(source.calls(), 2);
        source.publish(Published::B);
        clock.advance(LEASE);
        assert_eq!(asked.user(&a()).await, UNKNOWN, "and then it is not");
        assert_eq!(source.calls(), 3);
    }
}

#[tokio::test]
async fn strangers_tokens_start_one_fetch_for_a_while_however_it_fails() {
    for (what, broken) in [
        ("panics", Published::Panics),
        ("panics at once", Published::PanicsAtOnce),
        ("is down", Published::Down),
        ("has the keys", Published::A),
    ] {
        for known in [false, true] {
            let source = Source::default();
            let (asked, clock) = source.asked(|keys| keys);
            if known {
                assert_eq!(asked.user(&a()).await, alice());
                clock.advance(Duration::from_secs(10));
            }
            let before = source.calls();
            source.publish(broken);
            let strangers: Vec<_> = (0..50)
                .map(|id| {
                    let (asked, token) = (asked.clone(), lasting(ED, &format!("x-{id}")));
                    tokio::spawn(async move { asked.user(&token).await })
                })
                .collect();
            for stranger in strangers {
                assert!(stranger.await.expect("no panic").is_err());
            }
            assert_eq!(source.calls(), before + 1, "{what}");
            clock.advance(Duration::from_secs(10));
            assert!(asked.user(&lasting(ED, "y")).await.is_err());
            assert_eq!(source.calls(), before + 2, "{what}, ten seconds later");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_fetch_whose_drop_panics_keeps_nobody_waiting() {
    let source = Source::default();
    source.publish(Published::PanicsOnDrop);
    let (asked, _) = source.asked(|keys| keys);
    assert_eq!(asked.user(&a()).await, UNAVAILABLE);
    assert_eq!(asked.user(&a()).await, UNAVAILABLE);
    assert_eq!(source.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_first_fetch_is_made_once_and_then_one_in_each_period() {
    let source = Source::default();
    let (asked, _) = source.asked(|keys| keys);
    assert_eq!(asked.user(&a()).await, alice());
    tokio::time::sleep(Duration::from_secs(299)).await;
    assert_eq!(source.calls(), 1);
    for period in 2..5 {
        tokio::time::sleep(Duration::from_secs(300)).await;
        assert_eq!(source.calls(), period, "nobody asked");
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_turned_back_makes_no_key_younger() {
    let source = Source::default();
    let (asked, clock) = source.asked(|keys| keys.keep_for(10 * MINUTE));
    assert_eq!(asked.user(&a()).await, alice());
    source.publish(Published::Down);
    for _ in 0..9 {
        clock.rewind(60 * MINUTE);
        tokio::time::sleep(MINUTE).await;
        assert_eq!(asked.user(&a()).await, alice());
    }
    tokio::time::sleep(MINUTE).await;
    assert_eq!(asked.user(&a()).await, UNAVAILABLE);
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_hangs_ends_by_its_limit_and_is_tried_later_and_later() {
    let source = Source::default();
    source.publish(Published::Hangs);
    let (asked, _) = source.asked(|keys| keys);
    let begun = tokio::time::Instant::now();
    assert_eq!(asked.user(&a()).await, UNAVAILABLE);
    assert_eq!(begun.elapsed().as_secs(), 10, "virtual seconds");
    // Each attempt takes ten seconds, and the pauses are 10, 20, 40, 80, 160, and then always 300.
    let mut at = vec![];
    for second in 10..2_000_u64 {
        if source.calls() > at.len() + 1 {
            at.push(second);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let between: Vec<_> = at.windows(2).map(|two| two[1] - two[0]).collect();
    assert_eq!(between[..5], [30, 50, 90, 170, 310]);
    assert!(between[5..].iter().all(|seconds| *seconds == 310));
}

#[tokio::test(start_paused = true)]
async fn after_a_success_failures_are_tried_again_as_soon_as_at_first() {
    let source = Source::default();
    source.publish(Published::Down);
    let keys = source.keys();
    assert!(keys.ready().await.is_err());
    // Virtual seconds, one after each attempt is due: it fails three times, after 10 and 20, and
    // succeeds after 40. Then it fails after 300, and again after 10.
    let mut now = 0;
    for (at, then, calls) in [
        (11, Published::Down, 2),
        (31, Published::A, 3),
        (71, Published::Down, 4),
        (371, Published::Down, 5),
        (381, Published::Down, 6),
    ] {
        tokio::time::sleep(Duration::from_secs(at - now)).await;
        assert_eq!(source.calls(), calls, "after {at} s");
        source.publish(then);
        now = at;
    }
}

/// A service may run on a runtime without drivers.
#[test]
fn a_runtime_without_timers_or_sockets_is_an_error_and_not_a_panic() {
    for (timers, sockets) in [(false, false), (false, true), (true, false)] {
        let mut bare = Builder::new_current_thread();
        if timers {
            bare.enable_time();
        }
        if sockets {
            bare.enable_io();
        }
        let bare = bare.build().expect("a runtime");
        let over_https = RemoteKeys::from_url("http://127.0.0.1:9/keys");
        let source = Source::default();
        for (what, keys, answer) in [
            ("a socket", over_https, UNAVAILABLE),
            (
                "no socket",
                source.keys(),
                if timers { alice() } else { UNAVAILABLE },
            ),
        ] {
            let asked = asking_at(jwt(keys), TestClock::now());
            for _ in 0..3 {
                assert_eq!(
                    bare.block_on(asked.user(&a())),
                    answer,
                    "{what}, timers: {timers}, sockets: {sockets}"
                );
            }
        }
        assert!(source.calls() <= 1);
    }
}
