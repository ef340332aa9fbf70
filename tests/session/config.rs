//! A configuration that can't work is an error of `build()`, and `Debug` shows no secret.

use serde_json::json;
use tower_sessions::{MemoryStore, cookie::Key, session::Id};
use tower_user_scope::{
    ConfigError, UserScopeLayer,
    session::{CookieKey, FromSession, SessionCookie},
    strategy::{BoxStrategy, Strategy},
};

use crate::support::{
    store::session_with,
    verdict::{SID, ask, ours, sealed},
    with_cookies,
};

#[test]
fn a_configuration_that_can_not_work_is_an_error_of_build() {
    let store = MemoryStore::default;
    let new = |name: &str| SessionCookie::new(name, store());
    let key = || ours(&Key::generate());
    let word = CookieKey::from("correct horse battery staple ".repeat(3).as_bytes());
    let (half, shared) = (Key::generate(), Key::generate());
    let same_signing = CookieKey::from(&[half.signing(), shared.encryption()].concat());
    let name = |name: &str| {
        Some(ConfigError::CookieName {
            name: name.to_owned(),
        })
    };
    let table: Vec<(&str, BoxStrategy, Option<ConfigError>)> = vec![
        ("a name", new("sid").boxed(), None),
        ("a prefixed name", new("__Secure-sid").boxed(), None),
        ("no name", new("").boxed(), name("")),
        ("a space", new("my sid").boxed(), name("my sid")),
        ("an equals sign", new("sid=").boxed(), name("sid=")),
        ("a semicolon", new("sid;x").boxed(), name("sid;x")),
        (
            "a letter that is not ASCII",
            new("sīd").boxed(),
            name("sīd"),
        ),
        (
            "what is written encoded",
            new("s%69d").boxed(),
            name("s%69d"),
        ),
        ("one key", new("sid").signed(key()).boxed(), None),
        (
            "two keys",
            new("sid").encrypted(key()).also_accept(key()).boxed(),
            None,
        ),
        (
            "the older key first",
            new("sid").also_accept(key()).signed(key()).boxed(),
            None,
        ),
        (
            "zeroes",
            new("sid").signed(CookieKey::from(&[0; 64])).boxed(),
            Some(ConfigError::WeakCookieKey),
        ),
        (
            "63 bytes",
            new("sid")
                .signed(CookieKey::from(&Key::generate().master()[..63]))
                .boxed(),
            Some(ConfigError::WeakCookieKey),
        ),
        (
            "a repeated word",
            new("sid")
                .encrypted(CookieKey::from(&b"secret".repeat(11)))
                .boxed(),
            Some(ConfigError::WeakCookieKey),
        ),
        (
            "a weak older key",
            new("sid")
                .signed(key())
                .also_accept(CookieKey::from(&[7; 64]))
                .boxed(),
            Some(ConfigError::WeakCookieKey),
        ),
        (
            "a sentence, which has enough letters",
            new("sid").signed(word).boxed(),
            None,
        ),
        (
            "signed twice",
            new("sid").signed(key()).signed(key()).boxed(),
            Some(ConfigError::CookieSealedTwice),
        ),
        (
            "signed and encrypted",
            new("sid").signed(key()).encrypted(key()).boxed(),
            Some(ConfigError::CookieSealedTwice),
        ),
        (
            "a key for nothing",
            new("sid").also_accept(key()).boxed(),
            Some(ConfigError::CookieKeyWithoutUse),
        ),
        (
            "one key twice",
            new("sid")
                .signed(ours(&half))
                .also_accept(ours(&half))
                .boxed(),
            Some(ConfigError::CookieKeyReused),
        ),
        (
            "keys that sign alike",
            new("sid")
                .signed(ours(&half))
                .also_accept(same_signing.clone())
                .boxed(),
            Some(ConfigError::CookieKeyReused),
        ),
        (
            "keys that sign alike, and encrypt",
            new("sid")
                .encrypted(ours(&half))
                .also_accept(same_signing)
                .boxed(),
            None,
        ),
        (
            "an empty key",
            new("sid").user_id_key("").boxed(),
            Some(ConfigError::NoSessionKey),
        ),
        (
            "nothing to read",
            FromSession::new()
                .identity([] as [&str; 0], |_| Ok(None))
                .boxed(),
            Some(ConfigError::NoSessionKey),
        ),
        ("a session", FromSession::new().boxed(), None),
    ];
    for (case, strategy, expected) in table {
        let built = UserScopeLayer::builder()
            .strategy(strategy)
            .context_only()
            .build();
        assert_eq!(built.err(), expected, "{case}");
    }
}

#[tokio::test]
async fn debug_output_has_no_secret() {
    let store = MemoryStore::default();
    let key = Key::generate();
    let id = session_with(
        &store,
        [("user_id", json!(5)), ("secret", json!("hunter2"))],
    )
    .await;
    let strategy = SessionCookie::new(SID, store.clone()).signed(ours(&key));
    let line = sealed(SID, id, |jar, cookie| jar.signed_mut(&key).add(cookie));
    let rejection = ask(strategy.clone(), with_cookies([&line]))
        .await
        .expect_err("5 is no id");
    let old = tower_user_scope::session::TowerSessions014Store::new(0_u8);
    let printed = [
        format!("{strategy:?}"),
        format!("{:?}", FromSession::new()),
        format!("{rejection:?} {rejection}"),
        format!("{old:?}"),
        printed_data(&store, id).await,
    ];
    let secrets = [id.to_string(), id.0.to_string(), "hunter2".to_owned(), line];
    for text in printed {
        for secret in &secrets {
            assert!(!text.contains(secret.as_str()), "{secret} in {text}");
        }
        assert!(
            !text.contains(&format!("{:?}", key.master())),
            "a key in {text}"
        );
    }
}

#[tokio::test]
async fn the_cookie_is_kept_out_of_what_debug_prints_of_the_headers() {
    let id = Id::default();
    let (mut head, ()) = with_cookies([format!("{SID}={id}")]).into_parts();
    SessionCookie::new(SID, MemoryStore::default()).scrub(&mut head, true, &mut |_| {});
    let printed = format!("{:?}", head.headers);
    assert!(!printed.contains(&id.to_string()), "{printed}");
    assert!(head.headers.contains_key("cookie"), "and it is still there");
}

async fn printed_data(store: &MemoryStore, id: Id) -> String {
    let (told, heard) = std::sync::mpsc::channel();
    let strategy = SessionCookie::new(SID, store.clone()).identity(move |data| {
        let _ = told.send(format!("{data:?}"));
        Ok(None)
    });
    let _ = ask(strategy, with_cookies([format!("{SID}={id}")])).await;
    heard.recv().expect("the closure was asked")
}
