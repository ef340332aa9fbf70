//! B01–B08: a context holds validated ids, can't be changed, and keeps users apart.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Mutex,
    thread,
    time::{Duration, SystemTime},
};

use proptest::{option, prelude::*, sample::select};
use serde::Deserialize;
use serde_json::{Value, json};
use tower_user_scope::{
    Identity, Principal, UserContext, UserId,
    context::{
        ConnectionId, Evidence, IdErrorKind, IdRules, IdSource, PortableContext, RequestId, RunId,
        ServiceName, Subject, TenantId, ThreadId, VouchError,
    },
    testing::TestClock,
};

fn user(id: &str) -> UserContext {
    let id = UserId::try_from(id).expect("a valid user id");
    UserContext::builder(Identity::proved(id)).build()
}

fn member(tenant: &str, id: &str) -> UserContext {
    let id = UserId::try_from(id).expect("a valid user id");
    let tenant = TenantId::try_from(tenant).expect("a valid tenant id");
    UserContext::builder(Identity::proved(id).with_tenant_id(tenant)).build()
}

fn service(name: &str) -> UserContext {
    let name = ServiceName::try_from(name).expect("a valid name");
    UserContext::builder(Identity::asserted(name)).build()
}

fn anonymous() -> UserContext {
    UserContext::builder(Identity::asserted(Principal::Anonymous)).build()
}

#[test]
fn b01_a_text_that_is_no_id_is_refused_with_the_fields_name() {
    let long = "x".repeat(257);
    let cases: &[(&str, IdErrorKind)] = &[
        ("", IdErrorKind::Empty),
        (" ", IdErrorKind::SurroundingWhitespace),
        ("\t\u{a0}", IdErrorKind::SurroundingWhitespace),
        (" alice", IdErrorKind::SurroundingWhitespace),
        ("alice\n", IdErrorKind::SurroundingWhitespace),
        (&long, IdErrorKind::TooLong { limit: 256 }),
        ("al\0ice", IdErrorKind::ForbiddenCharacter { at: 2 }),
        (
            "alice\u{1b}[31m!",
            IdErrorKind::ForbiddenCharacter { at: 5 },
        ),
        ("ali\u{200b}ce", IdErrorKind::ForbiddenCharacter { at: 3 }),
        ("ali\u{202e}ce", IdErrorKind::ForbiddenCharacter { at: 3 }),
        ("ali\u{a0}ce", IdErrorKind::ForbiddenCharacter { at: 3 }),
        ("ali\u{34f}ce", IdErrorKind::ForbiddenCharacter { at: 3 }),
        ("ali\u{3164}ce", IdErrorKind::ForbiddenCharacter { at: 3 }),
        ("ali\u{fe0f}ce", IdErrorKind::ForbiddenCharacter { at: 3 }),
        ("ali\u{ffff}ce", IdErrorKind::ForbiddenCharacter { at: 3 }),
        ("ali\u{1fffe}ce", IdErrorKind::ForbiddenCharacter { at: 3 }),
        ("ali\u{e0100}ce", IdErrorKind::ForbiddenCharacter { at: 3 }),
        ("undefined", IdErrorKind::Placeholder),
        ("null", IdErrorKind::Placeholder),
        ("None", IdErrorKind::Placeholder),
        ("nil", IdErrorKind::Placeholder),
        ("NaN", IdErrorKind::Placeholder),
        ("[object Object]", IdErrorKind::Placeholder),
    ];
    for (text, problem) in cases {
        let errors = [
            ("user_id", UserId::try_from(*text).err()),
            ("tenant_id", TenantId::try_from(*text).err()),
            ("service_name", ServiceName::try_from(*text).err()),
        ];
        for (field, error) in errors {
            let error = error.unwrap_or_else(|| panic!("{field} {text:?} must be refused"));
            assert_eq!(error.kind(), *problem, "{field} {text:?}");
            assert_eq!(error.field(), field, "the field's name is told");
            assert!(
                text.trim().is_empty() || !error.to_string().contains(text),
                "the text is not: {error}"
            );
        }
    }
}

#[test]
fn b01_placeholders_are_whole_values_and_never_prefixes() {
    for real in [
        "default_user",
        "undefined_behaviour",
        "null-island",
        "Nan",
        "Nil",
        "none",
        "nonexistent@example.com",
        "Jürgen Müller",
        "auth0|5f7c8ec7c33c6c004bbafe82",
        "CN=Alice Doe,OU=Research",
    ] {
        assert!(UserId::try_from(real).is_ok(), "`{real}` is somebody");
    }
}

#[test]
fn b01_the_list_of_placeholders_can_be_replaced() {
    let rules = IdRules::new().placeholders(["guest"]).max_len(8);
    assert!(rules.user_id("null").is_ok(), "no longer on the list");
    let guest = rules.user_id("guest").expect_err("now on the list");
    assert_eq!(guest.kind(), IdErrorKind::Placeholder);
    let long = rules.user_id("123456789").expect_err("over the limit");
    assert_eq!(long.kind(), IdErrorKind::TooLong { limit: 8 });
}

#[test]
fn contexts_are_equal_where_subject_evidence_end_and_correlation_ids_are() {
    type Change = fn(Identity) -> UserContext;
    fn built(identity: Identity, ids: [&str; 4]) -> UserContext {
        let [request, thread, run, connection] = ids;
        UserContext::builder(identity)
            .request_id(RequestId::try_from(request).expect("an id"))
            .thread_id(ThreadId::try_from(thread).expect("an id"))
            .run_id(RunId::try_from(run).expect("an id"))
            .connection_id(ConnectionId::try_from(connection).expect("an id"))
            .build()
    }
    let alice = || Identity::proved(UserId::try_from("alice").expect("an id"));
    let changes: [(&str, bool, Change); 9] = [
        ("nothing", true, |it| built(it, ["q", "t", "r", "c"])),
        ("an attribute", true, |it| {
            built(it.with_attribute(1_u8), ["q", "t", "r", "c"])
        }),
        ("the subject", false, |_| {
            let bob = UserId::try_from("bob").expect("an id");
            built(Identity::proved(bob), ["q", "t", "r", "c"])
        }),
        ("the evidence", false, |it| {
            built(
                Identity::asserted(it.principal().clone()),
                ["q", "t", "r", "c"],
            )
        }),
        ("the end", false, |it| {
            built(
                it.with_expires_at(SystemTime::UNIX_EPOCH),
                ["q", "t", "r", "c"],
            )
        }),
        ("the request", false, |it| built(it, ["-", "t", "r", "c"])),
        ("the thread", false, |it| built(it, ["q", "-", "r", "c"])),
        ("the run", false, |it| built(it, ["q", "t", "-", "c"])),
        ("the connection", false, |it| {
            built(it, ["q", "t", "r", "-"])
        }),
    ];
    let context = built(alice(), ["q", "t", "r", "c"]);
    for (what, equal, change) in changes {
        assert_eq!(context == change(alice()), equal, "{what} is another");
    }
    let child = context.child().expect("shallow");
    assert!(
        child != context && child.clone() == child,
        "a child is another"
    );
}

#[test]
fn b01_correlation_ids_have_an_alphabet_of_their_own() {
    for bad in [
        "",
        " ",
        "a b",
        "a,b",
        "a;b",
        "a\"b",
        "a\\b",
        "<b>",
        "ä",
        "undefined",
        "null",
        &"x".repeat(129),
    ] {
        assert!(RequestId::try_from(bad).is_err(), "request id {bad:?}");
        assert!(ThreadId::try_from(bad).is_err(), "thread id {bad:?}");
        assert!(RunId::try_from(bad).is_err(), "run id {bad:?}");
        assert!(
            ConnectionId::try_from(bad).is_err(),
            "connection id {bad:?}"
        );
    }
    for good in ["1", "a-b_c.d~e:f/g+h=", "{curly}", &"x".repeat(128)] {
        assert!(RequestId::try_from(good).is_ok(), "request id {good:?}");
    }
}

#[test]
fn b02_clones_are_equal_and_share_ids_that_are_made_later() {
    let context = user("alice");
    let clone = context.clone();
    assert_eq!(clone, context, "clones are equal");
    assert_eq!(
        clone.request_id(),
        context.request_id(),
        "whoever asks first"
    );
    assert_eq!(clone.thread_id(), context.thread_id(), "whoever asks first");
    assert_ne!(user("alice"), context, "another request of the same user");
    assert_eq!(
        size_of::<UserContext>(),
        size_of::<usize>(),
        "a clone copies one pointer"
    );
}

#[test]
fn b03_ids_made_by_eight_threads_never_collide_and_sort_by_time() {
    let latest = Mutex::new(user("alice").request_id().clone());
    let make = || {
        let before = latest.lock().expect("no thread panics").clone();
        let id = user("alice").request_id().clone();
        assert!(id > before, "{id} was made after {before}");
        let mut latest = latest.lock().expect("no thread panics");
        *latest = id.clone().max(latest.clone());
        id
    };
    let ids: Vec<Vec<RequestId>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| (0..2_000).map(|_| make()).collect()))
            .collect();
        let joined = threads.into_iter().map(thread::ScopedJoinHandle::join);
        joined.collect::<Result<_, _>>().expect("no thread panics")
    });
    let all: HashSet<_> = ids.iter().flatten().collect();
    assert_eq!(all.len(), 16_000, "no id was made twice");
}

#[test]
fn b04_a_child_keeps_whose_it_is_and_knows_its_parent() {
    #[derive(Clone, Debug, PartialEq)]
    struct Role(&'static str);

    let id = UserId::try_from("alice").expect("a valid user id");
    let parent = UserContext::builder(Identity::proved(id).with_attribute(Role("reader")))
        .thread_id("t-1".parse().expect("a valid thread id"))
        .run_id("r-1".parse().expect("a valid run id"))
        .build();
    let child = parent
        .child_with(|attributes| {
            attributes.insert(Role("writer"));
        })
        .expect("far from the deepest");

    assert_eq!(child.subject(), parent.subject(), "the same user");
    assert_eq!(child.evidence(), parent.evidence(), "known the same way");
    assert_eq!(child.thread_id(), parent.thread_id(), "the same thread");
    assert_eq!(child.run_id(), parent.run_id(), "the same run");
    assert_ne!(
        child.request_id(),
        parent.request_id(),
        "its own request id"
    );
    assert_eq!(child.parent_id(), Some(parent.request_id()), "its parent");
    assert_eq!((parent.depth(), child.depth()), (0, 1), "its depth");
    assert_eq!(
        parent.attributes().get(),
        Some(&Role("reader")),
        "untouched"
    );
    assert_eq!(child.attributes().get(), Some(&Role("writer")), "changed");
}

#[test]
fn b04_a_child_is_of_the_same_connection_whoever_asks_first() {
    let parent = user("alice");
    let child = parent.child().expect("far from the deepest");
    assert_eq!(child.connection_id(), parent.connection_id());
}

#[test]
fn b04_depth_is_bounded() {
    let mut context = user("alice");
    for depth in 1..=UserContext::MAX_DEPTH {
        context = context.child().expect("not the deepest yet");
        assert_eq!(context.depth(), depth);
    }
    let error = context.child().expect_err("one too deep");
    assert!(
        error.to_string().contains("32"),
        "the bound is told: {error}"
    );
}

#[test]
fn b05_scoped_keys_tell_users_apart_where_ids_contain_the_separator() {
    let contexts = [
        user("a:b"),
        member("a", "b"),
        user("a%3Ab"),
        member("a:b", "c"),
        member("a", "b:c"),
        user("b"),
        service("b"),
        anonymous(),
        user("anonymous"),
    ];
    let keys: BTreeSet<_> = contexts.iter().map(|one| one.scoped_key("x")).collect();
    assert_eq!(keys.len(), contexts.len(), "{keys:?}");
    assert_eq!(
        user("alice").scoped_key("x"),
        user("alice").scoped_key("x"),
        "and stay the same from request to request"
    );
}

proptest! {
    #[test]
    fn b05_two_subjects_or_two_names_never_share_a_key(
        left in (whose(), name()),
        right in (whose(), name()),
    ) {
        let same = left.0.subject() == right.0.subject() && left.1 == right.1;
        prop_assert_eq!(left.0.scoped_key(&left.1) == right.0.scoped_key(&right.1), same);
        prop_assert_eq!(left.0.scoped_key(&left.1), left.0.clone().scoped_key(&left.1));
    }

    #[test]
    fn b01_whatever_is_an_id_keeps_its_text_and_is_fit_to_log(text in text()) {
        if let Ok(id) = UserId::try_from(text.as_str()) {
            prop_assert_eq!(id.as_str(), text.as_str());
            prop_assert!(!text.is_empty() && text.len() <= UserId::MAX_LEN);
            prop_assert!(!text.chars().any(char::is_control));
            prop_assert_eq!(text.trim(), text.as_str());
        }
        if let Ok(id) = RequestId::try_from(text.as_str()) {
            prop_assert_eq!(id.as_str(), text.as_str());
            prop_assert!(!text.is_empty() && text.len() <= RequestId::MAX_LEN);
            prop_assert!(text.bytes().all(|byte| byte.is_ascii_graphic()));
        }
    }

    #[test]
    fn b01_visible_ascii_is_an_id_unless_it_is_a_placeholder(text in "[!-~]{1,256}") {
        let placeholder = UserId::try_from(text.as_str()).is_err_and(|error| {
            error.kind() == IdErrorKind::Placeholder
        });
        prop_assert!(placeholder || UserId::try_from(text.as_str()).is_ok());
        let longer = format!("{text}_");
        prop_assert_eq!(UserId::try_from(longer.as_str()).is_ok(), longer.len() <= 256);
    }

    #[test]
    fn b06_whatever_arrives_in_a_field_is_refused_or_kept(
        field in select(&["principal", "tenant_id", "request_id", "thread_id", "run_id",
            "connection_id", "parent_id", "depth", "evidence", "visit"][..]),
        value in prop_oneof![
            text().prop_map(Value::from),
            text().prop_map(|text| json!({ "user": text })),
            text().prop_map(|text| json!({ "service": text })),
            any::<i64>().prop_map(Value::from),
            (0..40).prop_map(Value::from),
            select(vec![Value::Null, json!("anonymous"), json!([]), json!({}), json!(true)]),
        ],
    ) {
        let sent = arriving(field, value.clone());
        if let Ok(arrived) = serde_json::from_value::<PortableContext>(sent) {
            let again = serde_json::to_value(&arrived).expect("serialises");
            prop_assert_eq!(again.get(field).unwrap_or(&Value::Null), &value);
            if let Ok(context) = arrived.clone().vouched_for("test") {
                prop_assert_eq!(PortableContext::from(&context), arrived);
                prop_assert!(context.depth() <= UserContext::MAX_DEPTH);
            }
        }
    }

    #[test]
    fn b06_no_bytes_make_it_panic(bytes in any::<Vec<u8>>(), at in 0..100usize) {
        let mut document = arriving("depth", 0.into()).to_string().into_bytes();
        let at = at.min(document.len());
        document.splice(at..at, bytes);
        if let Ok(arrived) = serde_json::from_slice::<PortableContext>(&document) {
            let context = arrived.vouched_for("test");
            prop_assert!(context.is_ok_and(|context| !context.evidence().is_proved()));
        }
    }
}

/// Any text, and often one that is almost an id.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[a-c:%/ \u{1}é]{0,6}", "[!-~]{100,300}"]
}

/// Texts of few letters, so that collisions are likely, or any text.
fn name() -> impl Strategy<Value = String> {
    prop_oneof!["[a:%3A]{0,4}", any::<String>()]
}

fn whose() -> impl Strategy<Value = UserContext> {
    let part = || name().prop_filter("an id", |text| UserId::try_from(text.as_str()).is_ok());
    prop_oneof![
        8 => (option::of(part()), part()).prop_map(|(tenant, id)| match tenant {
            Some(tenant) => member(&tenant, &id),
            None => user(&id),
        }),
        2 => part().prop_map(|name| service(&name)),
        1 => Just(()).prop_map(|()| anonymous()),
    ]
}

/// A document that is valid except for one field.
fn arriving(field: &str, value: Value) -> Value {
    let mut document = json!({
        "principal": { "user": "alice" },
        "request_id": "q-1",
        "thread_id": "t-1",
        "run_id": "r-1",
        "connection_id": "c-1",
        "depth": 0,
    });
    if field == "principal" && value == "anonymous" {
        document["visit"] = "0123456789abcdef0123456789abcdef".into();
    }
    document[field] = value;
    document
}

#[test]
fn b06_a_context_survives_a_trip_and_comes_back_equal() {
    let child = member("acme", "alice")
        .child()
        .expect("far from the deepest");
    for sent in [child, user("bob"), service("nightly"), anonymous()] {
        let wire = serde_json::to_string(&PortableContext::from(&sent)).expect("serialises");
        let arrived: PortableContext = serde_json::from_str(&wire).expect("deserialises");
        assert_eq!(
            arrived,
            PortableContext::from(&sent),
            "equal after the trip"
        );
        let there = arrived.vouched_for("queue").expect("without an end");
        assert_eq!(there.subject(), sent.subject(), "the same user");
        assert_eq!(there.request_id(), sent.request_id(), "the same request");
        assert_eq!(there.parent_id(), sent.parent_id(), "the same parent");
        assert_eq!(there.depth(), sent.depth(), "the same depth");
        assert_eq!(there.strategy(), "queue", "found by whoever vouches");
        assert!(!there.evidence().is_proved(), "proof doesn't travel");
        assert!(there.require_proved().is_err(), "and can't be pretended");
    }
}

#[test]
fn b06_a_portable_context_keeps_its_expiry_and_an_expired_one_is_refused() {
    let at = |seconds| SystemTime::UNIX_EPOCH + Duration::new(seconds, 7);
    let clock = TestClock::at(at(1_000));
    let alice = || Identity::proved(UserId::try_from("alice").expect("an id"));
    for (end, has_ended) in [
        (Some(at(1_001)), false),
        (Some(at(1_000)), true),
        (Some(at(999)), true),
        (
            SystemTime::UNIX_EPOCH.checked_sub(Duration::from_secs(9)),
            true,
        ),
        (None, false),
    ] {
        let identity = match end {
            Some(end) => alice().with_expires_at(end),
            None => alice(),
        };
        let sent = UserContext::builder(identity).build();
        let wire = serde_json::to_string(&PortableContext::from(&sent)).expect("serialises");
        let arrived: PortableContext = serde_json::from_str(&wire).expect("deserialises");
        let there = arrived.vouched_for_with("queue", IdSource::uuid_v7(), &clock);
        match there {
            Ok(there) => {
                assert!(!has_ended, "{end:?}");
                assert_eq!(there.identity().expires_at(), end, "the same end");
            }
            Err(error) => {
                assert!(has_ended, "{end:?}");
                assert_eq!(error, VouchError::Expired);
            }
        }
    }
}

#[test]
fn b06_what_a_credential_is_bound_to_still_binds_after_a_trip() {
    let id = |text: &str| ThreadId::try_from(text).expect("an id");
    let identity = Identity::proved(UserId::try_from("alice").expect("an id"))
        .with_thread_id(id("t-1"))
        .with_run_id(RunId::try_from("r-1").expect("an id"));
    let here = UserContext::builder(identity).build();
    let wire = serde_json::to_value(PortableContext::from(&here)).expect("serialises");
    let arrive = |document: &Value| {
        let arrived = PortableContext::deserialize(document).expect("well formed");
        arrived.vouched_for("queue")
    };
    let there = arrive(&wire).expect("the thread and the run that it is for");
    assert_eq!(
        (there.thread_id(), there.run_id()),
        (&id("t-1"), here.run_id())
    );
    let again = serde_json::to_value(PortableContext::from(&there)).expect("serialises");
    assert_eq!(
        again["bound_to"], wire["bound_to"],
        "the next service is told"
    );

    for field in ["thread_id", "run_id"] {
        let mut other = wire.clone();
        other[field] = json!("another");
        let refused = arrive(&other).expect_err("it is for another one");
        assert!(
            matches!(refused, VouchError::NotOfCredential(error) if error.field() == field),
            "{refused}"
        );
    }
    // A layer that takes the identity applies its end to requests.
    let inner = UserContext::builder(there.identity().clone()).build();
    assert_eq!(inner.thread_id(), &id("t-1"));
}

#[test]
fn b06_a_portable_context_never_gains_evidence() {
    let wire = |context: &UserContext| {
        serde_json::to_value(PortableContext::from(context)).expect("serialises")
    };
    let mut old = wire(&user("alice"));
    for field in ["evidence", "expires_at", "bound_to"] {
        old.as_object_mut().expect("an object").remove(field);
    }
    let arrived = PortableContext::deserialize(&old).expect("of an older version");
    let there = arrived.vouched_for("queue").expect("without an end");
    assert!(there.evidence().is_asserted(), "as it was before");

    for (word, is_it) in [
        (
            "development",
            Evidence::is_development as fn(Evidence) -> bool,
        ),
        ("fallback", Evidence::is_fallback),
        ("asserted", Evidence::is_asserted),
    ] {
        let arrived = PortableContext::deserialize(&arriving("evidence", word.into()));
        let there = arrived.expect("a word").vouched_for("queue").expect("good");
        assert!(is_it(there.evidence()), "{word} is what it stays");
        assert_eq!(wire(&there)["evidence"], word, "and on the next trip too");
    }
}

#[test]
fn b06_hostile_documents_are_refused() {
    let hostile = [
        ("principal", json!({ "user": "undefined" })),
        ("principal", json!({ "user": "a\nb" })),
        ("principal", json!({ "user": "a\u{0}b" })),
        ("principal", json!({ "user": " alice" })),
        ("principal", json!({ "user": 7 })),
        ("principal", json!({ "user": ["alice"] })),
        ("principal", json!({ "user": "alice", "service": "root" })),
        ("principal", json!({ "admin": "alice" })),
        ("principal", json!({ "service": "" })),
        ("principal", json!("alice")),
        ("principal", json!(null)),
        ("tenant_id", json!("")),
        ("request_id", json!("a b")),
        ("request_id", json!(null)),
        ("thread_id", json!("x".repeat(129))),
        ("run_id", json!("null")),
        ("connection_id", json!("<script>")),
        ("parent_id", json!("a\r\nb")),
        ("depth", json!(33)),
        ("depth", json!(-1)),
        ("depth", json!("1")),
        ("evidence", json!("proved")),
        ("evidence", json!(null)),
        ("expires_at", json!(1_900_000_000)),
        ("expires_at", json!("2030-01-01T00:00:00Z")),
        (
            "expires_at",
            json!({ "secs_since_epoch": -1, "nanos_since_epoch": 0 }),
        ),
        (
            "expires_at",
            json!({ "secs_since_epoch": u64::MAX, "nanos_since_epoch": 0 }),
        ),
        ("bound_to", json!({ "thread_id": "a b" })),
        ("bound_to", json!({ "tenant_id": "acme" })),
        ("attributes", json!({ "role": "admin" })),
    ];
    for (field, value) in hostile {
        let document = arriving(field, value);
        let arrived = serde_json::from_value::<PortableContext>(document.clone());
        assert!(arrived.is_err(), "must be refused: {document}");
    }
    let good = arriving("depth", 32.into()).to_string();
    let twice = good.replacen('{', r#"{"principal":{"user":"root"},"#, 1);
    let deep = good.replacen("\"alice\"", &"[".repeat(100_000), 1);
    for document in [twice, deep, good.replacen("request_id", "tenant_id", 1)] {
        let arrived = serde_json::from_str::<PortableContext>(&document);
        assert!(arrived.is_err(), "must be refused: {document:.200}");
    }
    let good = serde_json::from_str::<PortableContext>(&good);
    assert!(good.is_ok(), "while this one is not: {good:?}");
}

#[test]
fn b08_one_user_name_in_two_tenants_is_two_users() {
    let (acme, umbrella) = (member("acme", "alice"), member("umbrella", "alice"));
    assert_eq!(acme.user_id(), umbrella.user_id(), "the same name");
    assert_ne!(acme.subject(), umbrella.subject(), "not the same user");
    assert_ne!(acme.scoped_key("k"), umbrella.scoped_key("k"), "nor key");
    let subjects: HashSet<_> = [&acme, &umbrella, &user("alice")]
        .map(|context| context.subject().clone())
        .into();
    assert_eq!(subjects.len(), 3, "nor entry of a set");

    // Code that looks up a subject has its parts and no context.
    let alice = || acme.user_id().expect("a user").clone();
    let tenant = TenantId::try_from("acme").expect("a valid tenant id");
    let looked_up = Subject::new(alice()).with_tenant_id(tenant);
    assert_eq!(&looked_up, acme.subject());
    assert_eq!(looked_up.tenant_id(), acme.tenant_id());
    assert_ne!(&Subject::new(alice()), acme.subject());
}

#[test]
fn code_that_requires_a_user_gets_an_error_and_not_a_default() {
    for (context, nobody) in [(service("internal"), false), (anonymous(), true)] {
        assert_eq!(context.user_id(), None, "{context:?} is no user");
        let error = context.require_user().expect_err("nor does it become one");
        assert_eq!(error.is_anonymous(), nobody, "{context:?}");
    }
    let alice = user("alice");
    assert!(alice.require_user().is_ok_and(|id| *id == "alice"));
}

#[test]
fn b01_an_id_in_another_normal_form_is_refused_and_not_a_second_user() {
    use unicode_normalization::UnicodeNormalization;

    for name in [
        "josé",
        "Ångström",
        "Việt",
        "ẹ́",
        "한글",
        "ガ",
        "क़",
        "ᾴ",
        "q\u{303}",
    ] {
        let composed: String = name.nfc().collect();
        let decomposed: String = name.nfd().collect();
        let id = UserId::try_from(composed.as_str());
        assert!(
            id.is_ok_and(|id| id.as_str() == composed),
            "{name}: composed"
        );
        if composed != decomposed {
            for wrong in [
                UserId::try_from(decomposed.as_str()).map(drop),
                TenantId::try_from(decomposed.as_str()).map(drop),
                ServiceName::try_from(decomposed.as_str()).map(drop),
                IdRules::new().user_id(&decomposed).map(drop),
            ] {
                let problem = wrong.expect_err("decomposed").kind();
                assert_eq!(problem, IdErrorKind::NotNormalized, "{name}");
            }
        }
    }
    // Characters with singleton decompositions, and marks that are not in canonical order.
    for singleton in ["\u{212B}", "\u{2126}", "a\u{301}\u{323}", "\u{387}"] {
        let error = UserId::try_from(singleton).expect_err("not normal");
        assert_eq!(error.kind(), IdErrorKind::NotNormalized, "{singleton:?}");
    }
    assert!(UserId::try_from("Ａlice").is_err(), "a wide letter");
    assert_ne!(
        UserId::try_from("Alice"),
        UserId::try_from("alice"),
        "case is kept"
    );
}
