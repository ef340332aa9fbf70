//! B21, B26, B34, B55: the user of a session, and all errors of records and stores.

use std::{
    error::Error as StdError,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use http::Request;
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tower_sessions::{
    Expiry, MemoryStore, Session, SessionStore,
    session::{Id, Record},
};
use tower_user_scope::{
    Fallback, Identity, InvalidError, Rejection, UserId, UserScopeLayer,
    context::{IdRules, TenantId},
    open_scopes::Credential,
    rejection::RejectionKind,
    session::{FromSession, SessionCookie, SessionData, SessionError},
    strategy::{BoxStrategy, InvalidErrorKind, Strategy, UnavailableErrorKind},
    testing::Scripted,
};

use crate::support::{
    Answered, send, soon,
    store::{Watched, down, record, session_of, session_with},
    verdict::{Came, SID, ask, came, problem},
    with_cookies,
};

#[tokio::test]
async fn the_user_of_a_session_is_a_string_that_is_a_user_id() {
    let store = MemoryStore::default();
    let no_string = "the session's value `user_id` is not of the expected type";
    let table: Vec<(Value, Result<Came, String>)> = vec![
        (json!({"user_id": "alice"}), Ok(Came::User("alice"))),
        (json!({}), Ok(Came::NotAccepted)),
        (json!({"cart": ["book"]}), Ok(Came::NotAccepted)),
        (json!({"user_id": null}), Ok(Came::NotAccepted)),
        (json!({"user_id": 42}), Err(no_string.to_owned())),
        (json!({"user_id": ["alice"]}), Err(no_string.to_owned())),
        (
            json!({"user_id": {"id": "alice"}}),
            Err(no_string.to_owned()),
        ),
        (json!({"user_id": true}), Err(no_string.to_owned())),
        (
            json!({"user_id": ""}),
            Err(format!(
                "the session holds an invalid id: {}",
                UserId::try_from("").expect_err("an empty id")
            )),
        ),
        (
            json!({"user_id": "undefined"}),
            Err(format!(
                "the session holds an invalid id: {}",
                UserId::try_from("undefined").expect_err("no id")
            )),
        ),
    ];
    for (data, expected) in table {
        let mut session = record(Id::default(), []);
        session.data = serde_json::from_value(data.clone()).expect("a map");
        store.create(&mut session).await.expect("in memory");
        let cookies = || with_cookies([format!("{SID}={}", session.id)]);

        let direct = ask(SessionCookie::new(SID, store.clone()), cookies()).await;
        let taken = ask(FromSession::new(), with_session(&store, session.id)).await;
        for answered in [direct, taken] {
            let got = match came(&answered) {
                Came::Bad(problem) => Err(problem.to_string()),
                came => Ok(came),
            };
            assert_eq!(got, expected, "{data}");
        }
    }
}

/// A request as `SessionManagerLayer` passes it on.
fn with_session(store: &impl SessionStoreClone, id: Id) -> Request<()> {
    let mut request = Request::new(());
    let session = Session::new(Some(id), Arc::new(store.clone()), None);
    request.extensions_mut().insert(session);
    request
}

trait SessionStoreClone: SessionStore + Clone {}
impl<S: SessionStore + Clone> SessionStoreClone for S {}

#[tokio::test]
async fn an_identity_is_proved_and_ends_with_its_session() {
    let store = MemoryStore::default();
    let alice = session_of(&store, "alice").await;
    let record = store.load(&alice).await.expect("in memory").expect("kept");
    let end = SystemTime::from(record.expiry_date);
    let sooner = end - Duration::from_secs(600);
    let table = [
        ("none of its own", None, end),
        (
            "one after the session's",
            Some(end + Duration::from_secs(600)),
            end,
        ),
        ("one before the session's", Some(sooner), sooner),
    ];
    for (case, own, expected) in table {
        let strategy = SessionCookie::new(SID, store.clone()).identity(move |data| {
            assert_eq!(data.expires_at(), Some(end));
            let user = data.get::<String>("user_id")?.expect("a user");
            let identity = Identity::proved(UserId::try_from(user)?);
            Ok(Some(match own {
                Some(own) => identity.with_expires_at(own),
                None => identity,
            }))
        });
        let context = ask(strategy, with_cookies([format!("{SID}={alice}")]))
            .await
            .expect(case);
        assert!(context.evidence().is_proved(), "{case}");
        assert_eq!(
            context.identity().expires_at(),
            Some(expected),
            "an end of {case}"
        );
    }
    let plain = SessionCookie::new(SID, store.clone());
    let context = ask(plain, with_cookies([format!("{SID}={alice}")]))
        .await
        .expect("alice");
    assert!(context.evidence().is_proved(), "{context:?}");
    assert_eq!(context.identity().expires_at(), Some(end));

    let at = OffsetDateTime::now_utc() + time::Duration::MINUTE;
    let mut request = Request::new(());
    let expiry = Some(Expiry::AtDateTime(at));
    request
        .extensions_mut()
        .insert(Session::new(Some(alice), Arc::new(store), expiry));
    let context = ask(FromSession::new(), request).await.expect("alice");
    assert!(context.evidence().is_proved(), "{context:?}");
    assert_eq!(context.identity().expires_at(), Some(at.into()));
}

/// What a session is revoked by.
#[tokio::test]
async fn b55_a_credential_has_the_sessions_id_unless_the_application_names_it() {
    let store = MemoryStore::default();
    let alice = session_of(&store, "alice").await;
    let own = Credential::new().with_session_id("sid of the log-in");
    let issued = Credential::new().with_issued_at(SystemTime::UNIX_EPOCH);
    let id = alice.to_string();
    let table = [
        (None, Credential::new().with_session_id(&*id)),
        (Some(own.clone()), own),
        (Some(issued.clone()), issued.with_session_id(&*id)),
    ];
    for (own, expected) in table {
        let read = move |data: &SessionData<'_>| {
            let user = data.get::<String>("user_id")?.expect("a user");
            let identity = Identity::proved(UserId::try_from(user)?);
            Ok(Some(match own.clone() {
                Some(own) => identity.with_attribute(own),
                None => identity,
            }))
        };
        let cookie = SessionCookie::new(SID, store.clone()).identity(read.clone());
        let taken = FromSession::new().identity(["user_id"], read);
        let answers = [
            ask(cookie, with_cookies([format!("{SID}={alice}")])).await,
            ask(taken, with_session(&store, alice)).await,
        ];
        for answered in answers {
            let context = answered.expect("alice");
            let credential = context.attributes().get::<Credential>();
            assert!(credential == Some(&expected), "{credential:?}");
        }
    }
}

#[derive(Deserialize)]
struct Account {
    id: String,
    tenant: String,
    locked: bool,
}

fn account(data: &SessionData<'_>) -> Result<Option<Identity>, SessionError> {
    let Some(account) = data.get::<Account>("account")? else {
        return Ok(None);
    };
    if account.locked {
        return Err(SessionError::Refused("account_locked"));
    }
    let tenant = TenantId::try_from(account.tenant)?;
    Ok(Some(
        Identity::proved(UserId::try_from(account.id)?).with_tenant_id(tenant),
    ))
}

#[tokio::test]
async fn a_closure_reads_own_types_out_of_a_session() {
    let store = MemoryStore::default();
    let account_of = |id: &str, tenant: &str, locked: bool| {
        [(
            "account",
            json!({"id": id, "tenant": tenant, "locked": locked}),
        )]
    };
    let good = session_with(&store, account_of("alice", "acme", false)).await;
    let locked = session_with(&store, account_of("alice", "acme", true)).await;
    let bad_tenant = session_with(&store, account_of("alice", "null", false)).await;
    let other_type = session_with(&store, [("account", json!(["alice"]))]).await;
    let visitor = session_with(&store, [("account", json!(null))]).await;

    for from_session in [false, true] {
        let ask = async |id: Id| {
            if from_session {
                let strategy = FromSession::new().identity(["account"], account);
                ask(strategy, with_session(&store, id)).await
            } else {
                let strategy = SessionCookie::new(SID, store.clone()).identity(account);
                ask(strategy, with_cookies([format!("{SID}={id}")])).await
            }
        };
        let context = ask(good).await.expect("a good account");
        assert_eq!(context.user_id().expect("a user"), &"alice");
        assert_eq!(
            context.tenant_id().map(ToString::to_string).as_deref(),
            Some("acme")
        );
        assert_eq!(
            came(&ask(locked).await),
            Came::Bad(SessionError::Refused("account_locked"))
        );
        assert!(matches!(
            came(&ask(bad_tenant).await),
            Came::Bad(SessionError::Id(_))
        ));
        assert!(matches!(
            came(&ask(other_type).await),
            Came::Bad(SessionError::Value { key, .. }) if key == "account"
        ));
        assert_eq!(came(&ask(visitor).await), Came::NotAccepted);
    }
}

#[tokio::test]
async fn another_key_and_other_rules_have_an_option_each() {
    let store = MemoryStore::default();
    let id = session_with(&store, [("uid", json!("alice")), ("user_id", json!("bob"))]).await;
    let cookies = || with_cookies([format!("{SID}={id}")]);
    let strict = || IdRules::new().placeholders(["alice"]);

    let direct = || SessionCookie::new(SID, store.clone()).user_id_key("uid");
    assert_eq!(came(&ask(direct(), cookies()).await), Came::User("alice"));
    // Of a closure and a key the last one counts.
    let closure = SessionCookie::new(SID, store.clone()).identity(|_| Ok(None));
    let answered = ask(closure.user_id_key("uid"), cookies()).await;
    assert_eq!(came(&answered), Came::User("alice"));
    let refused = ask(direct().id_rules(strict()), cookies()).await;
    assert!(
        matches!(came(&refused), Came::Bad(SessionError::Id(_))),
        "{refused:?}"
    );

    let taken = || FromSession::default().user_id_key("uid");
    assert_eq!(
        came(&ask(taken(), with_session(&store, id)).await),
        Came::User("alice")
    );
    let refused = ask(taken().id_rules(strict()), with_session(&store, id)).await;
    assert!(
        matches!(came(&refused), Came::Bad(SessionError::Id(_))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_record_from_the_store_is_checked() {
    let store = MemoryStore::default();
    let alice = session_of(&store, "alice").await;
    let bob = session_of(&store, "bob").await;
    let of_bob = store.load(&bob).await.expect("in memory").expect("kept");
    let at = |date: OffsetDateTime| {
        move |_: Id, loaded: tower_sessions::session_store::Result<Option<Record>>| {
            let loaded = loaded.expect("in memory").expect("kept");
            Ok(Some(Record {
                expiry_date: date,
                ..loaded
            }))
        }
    };
    let past = OffsetDateTime::now_utc() - time::Duration::SECOND;
    let before_1970 = OffsetDateTime::UNIX_EPOCH - time::Duration::days(800_000);
    let watched = || Watched::new(store.clone());
    let table = [
        (
            "the record of another session",
            watched().twisted(move |_, _| Ok(Some(of_bob.clone()))),
            Came::Bad(SessionError::OtherSession),
        ),
        (
            "an expired record",
            watched().twisted(at(past)),
            Came::Bad(SessionError::Expired),
        ),
        (
            "a record that expired before the epoch",
            watched().twisted(at(before_1970)),
            Came::Bad(SessionError::Expired),
        ),
        (
            "nothing",
            watched().twisted(|_, _| Ok(None)),
            Came::Bad(SessionError::Unknown),
        ),
        (
            "an error",
            watched().twisted(|_, _| Err(down())),
            Came::Unavailable,
        ),
        (
            "a record that can't be decoded",
            watched().twisted(|_, _| {
                Err(tower_sessions::session_store::Error::Decode(
                    "bad marker".to_owned(),
                ))
            }),
            Came::Unavailable,
        ),
    ];
    for (case, store, expected) in table {
        let strategy = SessionCookie::new(SID, store.clone());
        let answered = ask(strategy, with_cookies([format!("{SID}={alice}")])).await;
        assert_eq!(came(&answered), expected, "{case}");
        assert_eq!(store.loads(), 1, "look-ups of {case}");
    }
}

#[tokio::test]
async fn b26_a_store_that_is_down_is_503_with_its_error_and_never_the_fallback() {
    let store = Watched::new(MemoryStore::default()).twisted(|_, _| Err(down()));
    let direct: BoxStrategy = SessionCookie::new(SID, store.clone())
        .treat_unknown_as_absent()
        .allow_visitors()
        .boxed();
    let taken = FromSession::new()
        .treat_unknown_as_absent()
        .allow_visitors()
        .boxed();
    for strategy in [direct, taken] {
        let layer = UserScopeLayer::builder()
            .strategy(strategy.optional())
            .fallback(Fallback::service("internal"))
            .context_only()
            .build()
            .expect("valid");
        let mut request = with_cookies([format!("{SID}={}", Id(1))]);
        let session = Session::new(Some(Id(1)), Arc::new(store.clone()), None);
        request.extensions_mut().insert(session);
        let rejection = send(&layer, request).await.expect_err("refused");
        assert_eq!(rejection.status().as_u16(), 503);
        let mut error: Option<&dyn StdError> = Some(&rejection);
        let mut chain = Vec::new();
        while let Some(at) = error {
            chain.push(at.to_string());
            error = at.source();
        }
        assert!(
            chain.iter().any(|line| line == "connection refused"),
            "{chain:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_is_503_after_the_time_limit() {
    let store = Watched::new(MemoryStore::default()).hanging();
    let limit = Duration::from_secs(2);
    let direct = SessionCookie::new(SID, store.clone())
        .timeout(limit)
        .boxed();
    let taken = FromSession::new().timeout(limit).boxed();
    for strategy in [direct, taken] {
        let layer = UserScopeLayer::builder()
            .strategy(strategy)
            .context_only()
            .build()
            .expect("valid");
        let mut request = with_cookies([format!("{SID}={}", Id(1))]);
        let session = Session::new(Some(Id(1)), Arc::new(store.clone()), None);
        request.extensions_mut().insert(session);
        let rejection = send(&layer, request).await.expect_err("refused");
        let RejectionKind::Unavailable { unavailable, .. } = rejection.kind() else {
            panic!("{rejection}");
        };
        assert_eq!(unavailable.kind(), UnavailableErrorKind::TimedOut { limit });
    }
}

/// The request's session, its result with a later strategy, and its result with only a fallback.
type Row = (Vec<String>, Came, Came);

#[tokio::test]
async fn an_anonymous_session_asks_the_next_strategy_and_a_bad_one_ends_the_list() {
    let store = Watched::new(MemoryStore::default());
    let cart = session_with(&store, [("cart", json!(["book"]))]).await;
    let alice = session_of(&store, "alice").await;
    let line = |value: &dyn ToString| vec![format!("{SID}={}", value.to_string())];
    let twice = vec![format!("{SID}={alice}; {SID}={alice}")];
    let unknown = || Came::Bad(SessionError::Unknown);
    let malformed = || Came::Bad(SessionError::Malformed);

    let strict: Vec<Row> = vec![
        (vec![], Came::User("later"), Came::Fallback),
        (line(&cart), Came::User("later"), Came::NotAccepted),
        (line(&Id(7)), unknown(), unknown()),
        (line(&"bogus"), malformed(), malformed()),
        (twice.clone(), Came::Repeated, Came::Repeated),
        (line(&alice), Came::User("alice"), Came::User("alice")),
    ];
    let unknown_is_absent: Vec<Row> = vec![
        (vec![], Came::User("later"), Came::Fallback),
        (line(&Id(7)), Came::User("later"), Came::Fallback),
        (
            vec![format!("%5F%5FHost-sid={alice}")],
            Came::User("later"),
            Came::NotAccepted,
        ),
        (line(&"bogus"), malformed(), malformed()),
        (twice.clone(), Came::Repeated, Came::Repeated),
        (line(&alice), Came::User("alice"), Came::User("alice")),
    ];
    let visitors: Vec<Row> = vec![
        (vec![], Came::User("later"), Came::Fallback),
        (line(&cart), Came::User("later"), Came::Fallback),
        (line(&Id(7)), unknown(), unknown()),
        (line(&"bogus"), malformed(), malformed()),
        (twice, Came::Repeated, Came::Repeated),
        (line(&alice), Came::User("alice"), Came::User("alice")),
    ];
    let plain = || SessionCookie::new(SID, store.clone());
    for (strategy, rows) in [
        (plain(), strict),
        (plain().treat_unknown_as_absent(), unknown_is_absent),
        (plain().allow_visitors(), visitors),
    ] {
        for (lines, with_later, with_fallback) in rows {
            let another = Scripted::new(|_| {
                Identity::proved(UserId::try_from("later").expect("an id")).into()
            });
            let layer = UserScopeLayer::builder()
                .strategy(strategy.clone())
                .strategy(another)
                .context_only()
                .build()
                .expect("valid");
            let answered = send(&layer, with_cookies(&lines)).await;
            assert_eq!(
                came(&answered),
                with_later,
                "{strategy:?} {lines:?}, then another"
            );

            let layer = UserScopeLayer::builder()
                .strategy(strategy.clone())
                .fallback(Fallback::anonymous())
                .context_only()
                .build()
                .expect("valid");
            let answered = send(&layer, with_cookies(&lines)).await;
            assert_eq!(
                came(&answered),
                with_fallback,
                "{strategy:?} {lines:?}, then a fallback"
            );
        }
    }
}

#[tokio::test]
async fn a_session_in_the_request_follows_the_same_rules() {
    let store = MemoryStore::default();
    let cart = session_with(&store, [("cart", json!(["book"]))]).await;
    let alice = session_of(&store, "alice").await;
    let unknown = || Came::Bad(SessionError::Unknown);
    let plain = FromSession::new;
    let table = [
        ("no layer", plain(), None, Came::Unavailable),
        ("no cookie", plain(), Some(None), Came::Fallback),
        ("a user", plain(), Some(Some(alice)), Came::User("alice")),
        ("a cart", plain(), Some(Some(cart)), Came::NotAccepted),
        (
            "a cart, allowed",
            plain().allow_visitors(),
            Some(Some(cart)),
            Came::Fallback,
        ),
        ("unknown", plain(), Some(Some(Id(7))), unknown()),
        (
            "unknown, allowed",
            plain().allow_visitors(),
            Some(Some(Id(7))),
            unknown(),
        ),
        (
            "unknown, taken for none",
            plain().treat_unknown_as_absent(),
            Some(Some(Id(7))),
            Came::Fallback,
        ),
    ];
    for (case, strategy, session, expected) in table {
        let layer = UserScopeLayer::builder()
            .strategy(strategy)
            .fallback(Fallback::anonymous())
            .context_only()
            .build()
            .expect("valid");
        let mut request = Request::new(());
        if let Some(id) = session {
            let session = Session::new(id, Arc::new(store.clone()), None);
            request.extensions_mut().insert(session);
        }
        assert_eq!(came(&send(&layer, request).await), expected, "{case}");
    }
}

#[tokio::test]
async fn an_expired_session_counts_as_absent_only_with_the_option() {
    let store = MemoryStore::default();
    let alice = session_of(&store, "alice").await;
    let bob = session_of(&store, "bob").await;
    let of_bob = store.load(&bob).await.expect("in memory").expect("kept");
    let expired = || {
        Watched::new(store.clone()).twisted(|_, loaded| {
            let loaded = loaded.expect("in memory").expect("kept");
            Ok(Some(Record {
                expiry_date: OffsetDateTime::now_utc() - time::Duration::SECOND,
                ..loaded
            }))
        })
    };
    let of_another = Watched::new(store.clone()).twisted(move |_, _| Ok(Some(of_bob.clone())));
    let plain = |store: Watched<MemoryStore>| SessionCookie::new(SID, store);
    let table = [
        (
            "expired",
            plain(expired()),
            Came::Bad(SessionError::Expired),
        ),
        (
            "expired, visitors allowed",
            plain(expired()).allow_visitors(),
            Came::Bad(SessionError::Expired),
        ),
        (
            "expired, taken for none",
            plain(expired()).treat_unknown_as_absent(),
            Came::Fallback,
        ),
        (
            "another session's record, which nothing excuses",
            plain(of_another).treat_unknown_as_absent().allow_visitors(),
            Came::Bad(SessionError::OtherSession),
        ),
    ];
    for (case, strategy, expected) in table {
        let layer = UserScopeLayer::builder()
            .strategy(strategy)
            .fallback(Fallback::anonymous())
            .context_only()
            .build()
            .expect("valid");
        let request = with_cookies([format!("{SID}={alice}")]);
        assert_eq!(came(&send(&layer, request).await), expected, "{case}");
    }
}

#[tokio::test]
async fn a_session_in_the_request_is_loaded_once_and_shows_only_the_named_values() {
    let store = Watched::new(MemoryStore::default());
    let data = [
        ("uid", json!("alice")),
        ("tenant", json!("acme")),
        ("secret", json!("s")),
    ];
    let id = session_with(&store, data).await;
    let strategy = FromSession::new().identity(["uid", "tenant"], |data| {
        assert_eq!(
            data.get::<Value>("secret")?,
            None,
            "a value that was not asked for"
        );
        let tenant = data.get::<String>("tenant")?.expect("a tenant");
        let user = data.get::<String>("uid")?.expect("a user");
        let identity = Identity::proved(UserId::try_from(user)?);
        Ok(Some(identity.with_tenant_id(TenantId::try_from(tenant)?)))
    });
    let request = with_session(&store, id);
    let session = request
        .extensions()
        .get::<Session>()
        .expect("just put in")
        .clone();
    let context = ask(strategy, request).await.expect("alice");
    assert!(context.tenant_id().is_some(), "{context:?}");

    let secret = session.get::<String>("secret").await.expect("in memory");
    assert_eq!(secret.as_deref(), Some("s"), "the handler reads all of it");
    assert_eq!(
        store.loads(),
        1,
        "look-ups of strategy and handler together"
    );
}

#[test]
fn every_error_has_a_code_for_the_operator() {
    let id = UserId::try_from("").expect_err("an empty id");
    for (problem, reason) in [
        (
            SessionError::Malformed,
            InvalidErrorKind::Rejected("session_cookie_malformed"),
        ),
        (
            SessionError::Seal,
            InvalidErrorKind::Rejected("session_cookie_seal"),
        ),
        (
            SessionError::Unknown,
            InvalidErrorKind::Rejected("session_unknown"),
        ),
        (SessionError::Expired, InvalidErrorKind::Expired),
        (
            SessionError::OtherSession,
            InvalidErrorKind::Rejected("session_of_another_id"),
        ),
        (
            SessionError::Id(id),
            InvalidErrorKind::Rejected("session_data"),
        ),
        (
            SessionError::Refused("locked"),
            InvalidErrorKind::Rejected("locked"),
        ),
    ] {
        assert_eq!(InvalidError::from(problem).kind(), reason);
    }
}

#[tokio::test]
async fn the_layer_that_is_missing_is_named_in_the_error() {
    let rejection = ask(FromSession::new(), Request::new(()))
        .await
        .expect_err("refused");
    let RejectionKind::Unavailable { unavailable, .. } = rejection.kind() else {
        panic!("{rejection}");
    };
    assert_eq!(problem(unavailable), &SessionError::NoSessionLayer);
}

#[tokio::test]
async fn the_store_is_asked_only_where_no_earlier_strategy_has_decided() {
    let store = Watched::new(MemoryStore::default());
    let alice = session_of(&store, "alice").await;
    let first = Arc::new(AtomicBool::new(false));
    let says = Arc::clone(&first);
    let layer = UserScopeLayer::builder()
        .strategy(Scripted::new(move |_| {
            if says.load(Ordering::SeqCst) {
                Identity::proved(UserId::try_from("bob").expect("an id")).into()
            } else {
                tower_user_scope::Outcome::Absent
            }
        }))
        .strategy(SessionCookie::new(SID, store.clone()))
        .context_only()
        .build()
        .expect("valid");
    for (matches, expected, loads) in [
        (true, Came::User("bob"), 0),
        (false, Came::User("alice"), 1),
        (true, Came::User("bob"), 1),
        (false, Came::User("alice"), 2),
    ] {
        first.store(matches, Ordering::SeqCst);
        let answered = send(&layer, with_cookies([format!("{SID}={alice}")])).await;
        assert_eq!(came(&answered), expected);
        assert_eq!(store.loads(), loads, "look-ups so far");
    }
}

#[tokio::test]
async fn a_request_that_is_cancelled_in_the_look_up_leaves_nothing_for_the_next() {
    let store = MemoryStore::default();
    let (alice, bob) = (
        session_of(&store, "alice").await,
        session_of(&store, "bob").await,
    );
    let slow = Watched::new(store.clone()).hanging();
    let cut = UserScopeLayer::builder()
        .strategy(SessionCookie::new(SID, slow.clone()))
        .context_only()
        .build()
        .expect("valid");
    let whole = UserScopeLayer::builder()
        .strategy(SessionCookie::new(SID, store.clone()))
        .context_only()
        .build()
        .expect("valid");
    for round in 1..=100 {
        let mut cancelled = Box::pin(send(&cut, with_cookies([format!("{SID}={alice}")])));
        let polled = futures::poll!(cancelled.as_mut());
        assert!(polled.is_pending(), "the store does not answer");
        assert_eq!(slow.loads(), round);
        drop(cancelled);
        let answered = send(&whole, with_cookies([format!("{SID}={bob}")])).await;
        assert_eq!(came(&answered), Came::User("bob"));
    }
    assert_eq!(slow.finished(), 0, "a cancelled look-up goes no further");
}

#[tokio::test]
async fn many_users_at_once_each_get_their_own_session() {
    let store = Watched::new(MemoryStore::default());
    let mut sessions = Vec::new();
    for user in 0..200 {
        let user = format!("user-{user}");
        sessions.push((session_of(&store, &user).await, user));
    }
    let layer = UserScopeLayer::builder()
        .strategy(SessionCookie::new(SID, store.clone()))
        .context_only()
        .build()
        .expect("valid");
    let asked = sessions.iter().cycle().take(1000).map(async |(id, user)| {
        let context: Answered = send(&layer, with_cookies([format!("{SID}={id}")])).await;
        let context = context.unwrap_or_else(|refused: Rejection| panic!("{user}: {refused}"));
        assert_eq!(context.user_id().expect("a user").as_str(), user);
    });
    soon("every answer", futures::future::join_all(asked)).await;
    assert_eq!(store.loads(), 1000, "one look-up a request");
}

#[tokio::test]
async fn a_stale_cookie_on_a_public_page_is_refused_unless_it_counts_as_absent() {
    let store = MemoryStore::default();
    let plain = || SessionCookie::new(SID, store.clone());
    for (how, strategy, expected) in [
        (
            "as it is",
            plain().boxed(),
            Came::Bad(SessionError::Unknown),
        ),
        ("optional", plain().optional().boxed(), Came::Fallback),
        (
            "taken for none",
            plain().treat_unknown_as_absent().boxed(),
            Came::Fallback,
        ),
    ] {
        let layer = UserScopeLayer::builder()
            .strategy(strategy)
            .fallback(Fallback::anonymous())
            .context_only()
            .build()
            .expect("valid");
        let answered = send(&layer, with_cookies([format!("{SID}={}", Id(7))])).await;
        assert_eq!(came(&answered), expected, "{how}");
    }
}
