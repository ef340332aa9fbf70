//! B21, B23: which plain, signed or encrypted cookie selects a session.

use http::{HeaderValue, Request, header};
use proptest::{prelude::*, strategy::Strategy as Generate};
use serde_json::json;
use tower_sessions::{
    MemoryStore,
    cookie::{Cookie, CookieJar, Key},
    session::Id,
};
use tower_user_scope::{
    MaybeFuture,
    session::{SessionCookie, SessionError},
    strategy::Strategy as _,
};

use crate::support::{
    Answered,
    store::{Watched, record, session_of},
    verdict::{Came, SID, ask, came, ours, sealed},
    with_cookies,
};

fn too_long(len: usize) -> impl Fn(&Came) -> bool {
    move |came| matches!(came, Came::Bad(SessionError::TooLong { len: told, .. }) if *told == len)
}

#[tokio::test]
async fn one_cookie_of_the_exact_name_is_looked_up_once_and_anything_else_never() {
    let store = Watched::new(MemoryStore::default());
    let alice = session_of(&store, "alice").await;
    let unknown = Id(7);
    let malformed = || Came::Bad(SessionError::Malformed);
    let table: Vec<(&str, Vec<String>, Came, usize)> = vec![
        ("no cookie at all", vec![], Came::Nobody, 0),
        ("another cookie", vec!["theme=dark".into()], Came::Nobody, 0),
        (
            "a name with white space before it that browsers don't know",
            vec![format!("\u{2000}{SID}={alice}")],
            Came::NotAccepted,
            0,
        ),
        (
            "such a name beside the session",
            vec![format!("{SID}={alice}; \u{a0}{SID}={unknown}")],
            Came::Repeated,
            0,
        ),
        (
            "the session",
            vec![format!("{SID}={alice}")],
            Came::User("alice"),
            1,
        ),
        (
            "a cookie of the name without a value",
            vec![format!("a=b; {SID}; c=d")],
            malformed(),
            0,
        ),
        (
            "one beside the session",
            vec![format!("{SID}={alice}; {SID}")],
            Came::Repeated,
            0,
        ),
        (
            "the session among other cookies",
            vec![format!("a=b; {SID}={alice};c=d; flag")],
            Came::User("alice"),
            1,
        ),
        (
            "the session in the second line",
            vec!["a=b".into(), format!("{SID}={alice}")],
            Came::User("alice"),
            1,
        ),
        (
            "a session that nobody knows",
            vec![format!("{SID}={unknown}")],
            Came::Bad(SessionError::Unknown),
            1,
        ),
        (
            "the same one twice",
            vec![format!("{SID}={alice}; {SID}={alice}")],
            Came::Repeated,
            0,
        ),
        (
            "two in two lines",
            vec![format!("{SID}={unknown}"), format!("{SID}={alice}")],
            Came::Repeated,
            0,
        ),
        (
            "a second name in another case",
            vec![format!("{SID}={alice}; __HOST-SID={unknown}")],
            Came::Repeated,
            0,
        ),
        (
            "a second name that is percent-encoded",
            vec![format!("{SID}={alice}; %5F%5FHost-sid={unknown}")],
            Came::Repeated,
            0,
        ),
        (
            "a name in another case alone",
            vec![format!("__host-sid={alice}")],
            Came::NotAccepted,
            0,
        ),
        (
            "a percent-encoded name alone",
            vec![format!("%5F%5FHost-sid={alice}")],
            Came::NotAccepted,
            0,
        ),
        ("an empty value", vec![format!("{SID}=")], malformed(), 0),
        (
            "a value that is no id",
            vec![format!("{SID}=bogus")],
            malformed(),
            0,
        ),
        (
            "a quoted value",
            vec![format!("{SID}=\"{alice}\"")],
            malformed(),
            0,
        ),
        (
            "an id and more",
            vec![format!("{SID}={alice}AA")],
            malformed(),
            0,
        ),
        (
            "half an id",
            vec![format!("{SID}={}", &alice.to_string()[..11])],
            malformed(),
            0,
        ),
        (
            "a percent-encoded id",
            vec![format!("{SID}=%41{}", &alice.to_string()[1..])],
            malformed(),
            0,
        ),
    ];
    for (case, lines, expected, loads) in table {
        let before = store.loads();
        let answered = ask(SessionCookie::new(SID, store.clone()), with_cookies(lines)).await;
        assert_eq!(came(&answered), expected, "{case}");
        assert_eq!(store.loads() - before, loads, "look-ups of {case}");
    }
}

#[tokio::test]
async fn a_value_too_long_for_an_id_is_refused_unread() {
    let store = Watched::new(MemoryStore::default());
    let key = Key::generate();
    for strategy in [
        SessionCookie::new(SID, store.clone()),
        SessionCookie::new(SID, store.clone()).signed(ours(&key)),
        SessionCookie::new(SID, store.clone()).encrypted(ours(&key)),
    ] {
        for len in [255, 256, 257, 8000] {
            let line = format!("{SID}={}", "A".repeat(len));
            let answered = came(&ask(strategy.clone(), with_cookies([line])).await);
            assert_eq!(too_long(len)(&answered), len > 256, "{len}: {answered:?}");
        }
    }
    assert_eq!(store.loads(), 0, "the store is not asked");
}

#[tokio::test]
async fn bytes_that_are_not_text_in_another_cookie_hide_nothing() {
    let store = MemoryStore::default();
    let alice = session_of(&store, "alice").await;
    let foreign: Vec<u8> = [
        b"other=\xff\xfe; ".as_slice(),
        format!("{SID}={alice}").as_bytes(),
    ]
    .concat();
    let answered = ask(
        SessionCookie::new(SID, store.clone()),
        with_cookies([&foreign]),
    )
    .await;
    assert_eq!(came(&answered), Came::User("alice"));

    let own: Vec<u8> = [format!("{SID}={alice}").as_bytes(), b"\xff"].concat();
    let answered = ask(SessionCookie::new(SID, store), with_cookies([own])).await;
    assert_eq!(came(&answered), Came::Bad(SessionError::Malformed));
}

#[tokio::test]
async fn a_sealed_cookie_opens_under_its_keys_and_a_bad_seal_never_reaches_the_store() {
    let store = Watched::new(MemoryStore::default());
    let alice = session_of(&store, "alice").await;
    let [now, before, strange] = std::array::from_fn(|_| Key::generate());
    let signed =
        |name: &str, key: &Key| sealed(name, alice, |jar, cookie| jar.signed_mut(key).add(cookie));
    let private =
        |name: &str, key: &Key| sealed(name, alice, |jar, cookie| jar.private_mut(key).add(cookie));
    let renamed = |line: String| line.replacen("other", SID, 1);
    let bad = || Came::Bad(SessionError::Seal);
    let good = || Came::User("alice");

    let plain = format!("{SID}={alice}");
    let only_signed = || SessionCookie::new(SID, store.clone()).signed(ours(&now));
    let both_signed = || only_signed().also_accept(ours(&before));
    let only_private = || SessionCookie::new(SID, store.clone()).encrypted(ours(&now));
    let both_private = || only_private().also_accept(ours(&before));
    let table = [
        ("signed now", only_signed(), signed(SID, &now), good()),
        ("signed before", only_signed(), signed(SID, &before), bad()),
        (
            "signed now, rotated",
            both_signed(),
            signed(SID, &now),
            good(),
        ),
        (
            "signed before, rotated",
            both_signed(),
            signed(SID, &before),
            good(),
        ),
        (
            "signed by a stranger",
            both_signed(),
            signed(SID, &strange),
            bad(),
        ),
        ("not signed", both_signed(), plain.clone(), bad()),
        (
            "encrypted, not signed",
            both_signed(),
            private(SID, &now),
            bad(),
        ),
        ("encrypted now", only_private(), private(SID, &now), good()),
        (
            "encrypted before",
            only_private(),
            private(SID, &before),
            bad(),
        ),
        (
            "encrypted now, rotated",
            both_private(),
            private(SID, &now),
            good(),
        ),
        (
            "encrypted before, rotated",
            both_private(),
            private(SID, &before),
            good(),
        ),
        (
            "encrypted by a stranger",
            both_private(),
            private(SID, &strange),
            bad(),
        ),
        ("not encrypted", both_private(), plain, bad()),
        (
            "signed, not encrypted",
            both_private(),
            signed(SID, &now),
            bad(),
        ),
        (
            "encrypted under another name",
            both_private(),
            renamed(private("other", &now)),
            bad(),
        ),
    ];
    for (case, strategy, line, expected) in table {
        let before = store.loads();
        let answered = ask(strategy, with_cookies([&line])).await;
        assert_eq!(came(&answered), expected, "{case}: {line}");
        let loads = usize::from(expected == good());
        assert_eq!(store.loads() - before, loads, "look-ups of {case}");
    }
    // Cookies that are sealed correctly and hold no session id.
    let line = {
        let mut jar = CookieJar::new();
        jar.signed_mut(&now).add(Cookie::new(SID, "no id"));
        jar.get(SID)
            .expect("just added")
            .encoded()
            .stripped()
            .to_string()
    };
    let answered = ask(only_signed(), with_cookies([line])).await;
    assert_eq!(came(&answered), Came::Bad(SessionError::Malformed));
}

#[test]
fn an_answer_without_a_store_or_from_one_in_memory_needs_no_future() {
    let strategy = SessionCookie::new(SID, MemoryStore::default());
    let id = Id(7);
    for line in [
        "theme=dark".to_owned(),
        format!("{SID}=bogus"),
        format!("{SID}={id}; {SID}={id}"),
        format!("{SID}={id}"),
    ] {
        let (head, ()) = with_cookies([&line]).into_parts();
        let answer = strategy.resolve(&head);
        assert!(matches!(answer, MaybeFuture::Ready(_)), "{line}");
    }
}

/// A store that has every session, so that only the cookie decides.
fn knows_everything() -> Watched<MemoryStore> {
    Watched::new(MemoryStore::default())
        .twisted(|id, _| Ok(Some(record(id, [("user_id", json!("alice"))]))))
}

fn answer_now(
    strategy: SessionCookie<Watched<MemoryStore>>,
    lines: &[Vec<u8>],
) -> Option<Answered> {
    let mut request = Request::new(());
    for line in lines {
        let line = HeaderValue::from_bytes(line).ok()?;
        request.headers_mut().append(header::COOKIE, line);
    }
    Some(futures::executor::block_on(ask(strategy, request)))
}

/// Cookie lines of random bytes, and of pieces of an almost valid line.
fn lines() -> impl Generate<Value = Vec<Vec<u8>>> {
    let id = "[A-Za-z0-9_-]{21,23}";
    let piece = prop_oneof![
        Just(SID.to_owned()),
        Just("=".to_owned()),
        Just("; ".to_owned()),
        Just("%3D".to_owned()),
        Just("\"".to_owned()),
        id.prop_map(|id| format!("{SID}={id}")),
        id,
        "[a-zA-Z0-9+/%=]{0,90}",
        "\\PC{0,12}",
        "[\u{85}\u{a0}\u{2000}\u{3000}]",
    ];
    let near = prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat().into_bytes());
    let any = prop::collection::vec(any::<u8>(), 0..300);
    prop::collection::vec(prop_oneof![near, any], 0..4)
}

proptest! {
    #[test]
    fn arbitrary_cookies_resolve_nobody_unless_one_holds_an_id(lines in lines()) {
        let store = knows_everything();
        let Some(answered) = answer_now(SessionCookie::new(SID, store.clone()), &lines) else {
            return Ok(());
        };
        let text = String::from_utf8_lossy(&lines.join(&b"; "[..])).into_owned();
        let ours: Vec<&str> = text
            .split(';')
            .filter_map(|pair| pair.split_once('='))
            .filter(|(name, _)| name.trim_matches([' ', '\t']).eq_ignore_ascii_case(SID))
            .map(|(_, value)| value.trim_matches([' ', '\t']))
            .collect();
        let Ok(context) = answered else {
            prop_assert_eq!(store.loads(), 0, "a refused cookie was looked up: {}", text);
            return Ok(());
        };
        prop_assert_eq!(ours.len(), 1, "{:?} of {}", context, text);
        prop_assert!(ours[0].parse::<Id>().is_ok(), "{}", text);
        prop_assert_eq!(store.loads(), 1);
    }

    #[test]
    fn arbitrary_cookies_never_open_a_seal(lines in lines()) {
        let store = knows_everything();
        for strategy in [
            SessionCookie::new(SID, store.clone()).signed(ours(&Key::generate())),
            SessionCookie::new(SID, store.clone()).encrypted(ours(&Key::generate())),
        ] {
            let Some(answered) = answer_now(strategy, &lines) else {
                return Ok(());
            };
            prop_assert!(answered.is_err(), "{:?} of {:?}", answered, lines);
            prop_assert_eq!(store.loads(), 0);
        }
    }

    #[test]
    fn a_sealed_cookie_with_one_other_letter_is_nobodys(at in any::<prop::sample::Index>(), to in "[A-Za-z0-9]") {
        let key = Key::generate();
        let signed = sealed(SID, Id(7), |jar, cookie| jar.signed_mut(&key).add(cookie));
        let private = sealed(SID, Id(7), |jar, cookie| jar.private_mut(&key).add(cookie));
        let store = knows_everything();
        for (line, strategy) in [
            (signed, SessionCookie::new(SID, store.clone()).signed(ours(&key))),
            (private, SessionCookie::new(SID, store.clone()).encrypted(ours(&key))),
        ] {
            let start = SID.len() + 1;
            let at = start + at.index(line.len() - start);
            let mut changed = line.clone();
            changed.replace_range(at..=at, &to);
            // A percent-encoded byte with a letter in another case is the same byte.
            let decoded = |line: &str| {
                let pair = Cookie::parse_encoded(line.to_owned());
                pair.map(|pair| pair.value().to_owned())
            };
            let same = decoded(&changed) == decoded(&line);
            let answered = answer_now(strategy, &[changed.clone().into_bytes()]).expect("a header");
            prop_assert_eq!(answered.is_ok(), same, "{} for {}", changed, line);
        }
    }
}
