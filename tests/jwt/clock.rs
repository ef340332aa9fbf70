//! All strategies of a layer use the layer's clock to decide what has expired.

use std::{
    collections::HashMap,
    error::Error,
    time::{Duration, SystemTime},
};

use http::{Request, header};
use serde_json::json;
use tower_sessions::{
    MemoryStore, SessionStore,
    session::{Id, Record},
};
use tower_user_scope::{
    CredentialSource, Identity, Outcome, UserId, from_fn,
    jwt::TokenErrorKind,
    session::{SessionCookie, SessionError},
    strategy::{InvalidErrorKind, Strategy},
    testing::TestClock,
};

use crate::tokens::{HS, Why, asking_at, claims_with, jwt, minted, now, refused, verifying};

const MINUTE: Duration = Duration::from_secs(60);

fn ends_in_a_minute() -> String {
    minted(HS, None, &claims_with(json!({"exp": now() + 60})))
}

/// A strategy of each kind of wrapper, and one from configuration.
fn wrapped() -> Vec<(&'static str, crate::tokens::Asked, TestClock)> {
    let strategy = || jwt(verifying(HS)).leeway(Duration::ZERO);
    let clock = TestClock::now;
    let (plain, named, optional, when, timeout, boxed) =
        (clock(), clock(), clock(), clock(), clock(), clock());
    vec![
        ("plain", asking_at(strategy(), plain.clone()), plain),
        (
            "named",
            asking_at(strategy().named("x"), named.clone()),
            named,
        ),
        (
            "optional",
            asking_at(strategy().optional(), optional.clone()),
            optional,
        ),
        (
            "when",
            asking_at(strategy().when(|_| true), when.clone()),
            when,
        ),
        (
            "timeout",
            asking_at(strategy().timeout(MINUTE), timeout.clone()),
            timeout,
        ),
        ("boxed", asking_at(strategy().boxed(), boxed.clone()), boxed),
    ]
}

#[tokio::test]
async fn a_token_ends_by_the_layers_clock_through_each_modifier() {
    for (what, asked, clock) in wrapped() {
        let token = ends_in_a_minute();
        assert_eq!(asked.user(&token).await, Ok("alice".to_owned()), "{what}");
        clock.advance(2 * MINUTE);
        // A token in the cache, and one that is not.
        for token in [
            token,
            minted(
                HS,
                None,
                &claims_with(json!({"exp": now() + 60, "jti": "b"})),
            ),
        ] {
            assert!(asked.user(&token).await.is_err(), "{what}");
        }
    }
}

#[tokio::test]
async fn a_token_begins_by_the_layers_clock() {
    let clock = TestClock::now();
    let asked = asking_at(jwt(verifying(HS)), clock.clone());
    let token = minted(HS, None, &claims_with(json!({"nbf": now() + 600})));
    assert_eq!(
        asked.user(&token).await,
        refused(TokenErrorKind::NotYetValid)
    );
    clock.advance(10 * MINUTE);
    assert_eq!(asked.user(&token).await, Ok("alice".to_owned()));
}

/// A time at which no credential has ended, and none with a start has begun.
#[tokio::test]
async fn a_clock_before_1970_counts_as_1970() {
    let clock = TestClock::at(SystemTime::UNIX_EPOCH - MINUTE);
    let asked = asking_at(jwt(verifying(HS)).leeway(Duration::ZERO), clock.clone());
    let token = |members| minted(HS, None, &claims_with(members));
    let at_once = token(json!({"iat": 0, "exp": 1}));
    let begins = token(json!({"iat": 0, "nbf": 1, "exp": 2}));
    let early = refused(TokenErrorKind::NotYetValid);
    for before in [MINUTE, Duration::from_nanos(1), Duration::ZERO] {
        clock.set(SystemTime::UNIX_EPOCH - before);
        assert_eq!(asked.user(&at_once).await, Ok("alice".to_owned()));
        assert_eq!(asked.user(&begins).await, early, "{before:?}");
    }
    clock.advance(Duration::from_secs(1));
    assert_eq!(asked.user(&at_once).await, refused(TokenErrorKind::Expired));
    assert_eq!(asked.user(&begins).await, Ok("alice".to_owned()));
}

#[tokio::test]
async fn an_identity_of_any_strategy_ends_by_the_layers_clock() {
    let clock = TestClock::at(SystemTime::UNIX_EPOCH + MINUTE);
    let strategy = from_fn(
        CredentialSource::header(header::AUTHORIZATION.as_str()),
        |_| {
            let alice = UserId::try_from("alice").expect("an id");
            Outcome::Found(
                Identity::proved(alice).with_expires_at(SystemTime::UNIX_EPOCH + 2 * MINUTE),
            )
        },
    );
    let asked = asking_at(strategy, clock.clone());
    assert_eq!(asked.user("t").await, Ok("alice".to_owned()));
    clock.advance(MINUTE);
    assert_eq!(
        asked.user("t").await,
        Err(Why::Credential(InvalidErrorKind::Expired)),
        "at its end, and not after it"
    );
}

#[tokio::test]
async fn a_session_ends_by_the_layers_clock() {
    let store = MemoryStore::default();
    let mut record = Record {
        id: Id::default(),
        data: HashMap::from([("user_id".to_owned(), json!("alice"))]),
        expiry_date: time::OffsetDateTime::now_utc() + 2 * MINUTE,
    };
    store.create(&mut record).await.expect("in memory");
    let clock = TestClock::now();
    let asked = asking_at(SessionCookie::new("sid", store).clone(), clock.clone());
    let request = || {
        Request::builder()
            .header(header::COOKIE, format!("sid={}", record.id))
            .body(())
            .expect("a request")
    };
    assert!(asked.send(request()).await.is_ok());
    clock.set(record.expiry_date.into());
    let refused = asked
        .send(request())
        .await
        .expect_err("at its end, and not after it");
    let tower_user_scope::rejection::RejectionKind::Invalid { invalid, .. } = refused.kind() else {
        panic!("{refused:?}");
    };
    assert_eq!(
        invalid.source().and_then(|source| source.downcast_ref()),
        Some(&SessionError::Expired)
    );
}
