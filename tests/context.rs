//! B01–B08: a context holds validated ids, can't be changed, and keeps users apart.

use std::{
    collections::{BTreeSet, HashSet},
    thread,
};

use proptest::prelude::*;
use tower_user_scope::{
    ConnectionId, IdProblem, IdRules, Identity, PortableContext, Principal, RequestId, RunId,
    ServiceName, TenantId, ThreadId, UserContext, UserId,
};

fn user(id: &str) -> UserContext {
    let id = UserId::try_from(id).expect("a valid user id");
    UserContext::builder(Identity::proved(id)).build()
}

fn member(tenant: &str, id: &str) -> UserContext {
    let id = UserId::try_from(id).expect("a valid user id");
    let tenant = TenantId::try_from(tenant).expect("a valid tenant id");
    UserContext::builder(Identity::proved(id).tenant(tenant)).build()
}

#[test]
fn b01_a_text_that_is_no_id_is_refused_with_the_fields_name() {
    let long = "x".repeat(257);
    let cases: &[(&str, IdProblem)] = &[
        ("", IdProblem::Empty),
        (" ", IdProblem::SurroundingWhitespace),
        ("\t\u{a0}", IdProblem::SurroundingWhitespace),
        (" alice", IdProblem::SurroundingWhitespace),
        ("alice\n", IdProblem::SurroundingWhitespace),
        (&long, IdProblem::TooLong { limit: 256 }),
        ("al\0ice", IdProblem::ForbiddenCharacter { at: 2 }),
        ("alice\u{1b}[31m!", IdProblem::ForbiddenCharacter { at: 5 }),
        ("ali\u{200b}ce", IdProblem::ForbiddenCharacter { at: 3 }),
        ("ali\u{202e}ce", IdProblem::ForbiddenCharacter { at: 3 }),
        ("undefined", IdProblem::Placeholder),
        ("null", IdProblem::Placeholder),
        ("None", IdProblem::Placeholder),
        ("nil", IdProblem::Placeholder),
        ("NaN", IdProblem::Placeholder),
        ("[object Object]", IdProblem::Placeholder),
    ];
    for (text, problem) in cases {
        let errors = [
            ("user_id", UserId::try_from(*text).err()),
            ("tenant_id", TenantId::try_from(*text).err()),
            ("service_name", ServiceName::try_from(*text).err()),
        ];
        for (field, error) in errors {
            let error = error.unwrap_or_else(|| panic!("{field} {text:?} must be refused"));
            assert_eq!(error.problem(), *problem, "{field} {text:?}");
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
    assert_eq!(guest.problem(), IdProblem::Placeholder);
    let long = rules.user_id("123456789").expect_err("over the limit");
    assert_eq!(long.problem(), IdProblem::TooLong { limit: 8 });
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
}

#[test]
fn b03_ids_made_by_eight_threads_never_collide_and_sort_by_time() {
    let made: Vec<Vec<RequestId>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    (0..2_000)
                        .map(|_| user("alice").request_id().clone())
                        .collect()
                })
            })
            .collect();
        let joined = threads.into_iter().map(thread::ScopedJoinHandle::join);
        joined.collect::<Result<_, _>>().expect("no thread panics")
    });
    for ids in &made {
        assert!(ids.is_sorted(), "each thread sees its ids in order");
    }
    let all: HashSet<_> = made.iter().flatten().collect();
    assert_eq!(all.len(), 16_000, "no id was made twice");
}

#[test]
fn b04_a_child_keeps_whose_it_is_and_knows_its_parent() {
    #[derive(Clone, Debug, PartialEq)]
    struct Role(&'static str);

    let id = UserId::try_from("alice").expect("a valid user id");
    let parent = UserContext::builder(Identity::proved(id).attribute(Role("reader")))
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
        UserContext::builder(Identity::asserted(
            ServiceName::try_from("b").expect("a valid name"),
        ))
        .build(),
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
        (left_tenant, left_id, left_name) in part(),
        (right_tenant, right_id, right_name) in part(),
    ) {
        let key = |tenant: &Option<String>, id: &str, name: &str| match tenant {
            Some(tenant) => member(tenant, id).scoped_key(name),
            None => user(id).scoped_key(name),
        };
        let left = key(&left_tenant, &left_id, &left_name);
        let right = key(&right_tenant, &right_id, &right_name);
        let same = (left_tenant, left_id, left_name) == (right_tenant, right_id, right_name);
        prop_assert_eq!(left == right, same);
    }

    #[test]
    fn b01_whatever_is_an_id_keeps_its_text_and_is_fit_to_log(text in any::<String>()) {
        if let Ok(id) = UserId::try_from(text.as_str()) {
            prop_assert_eq!(id.as_str(), text.as_str());
            prop_assert!(!text.is_empty() && text.len() <= UserId::MAX_LEN);
            prop_assert!(!text.chars().any(char::is_control));
        }
        if let Ok(id) = RequestId::try_from(text.as_str()) {
            prop_assert_eq!(id.as_str(), text.as_str());
            prop_assert!(text.bytes().all(|byte| byte.is_ascii_graphic()));
        }
    }

    #[test]
    fn b06_whatever_arrives_is_refused_or_well_formed(text in any::<String>()) {
        let wire = wire(&serde_json::Value::from(text.as_str()));
        match serde_json::from_value::<PortableContext>(wire) {
            Ok(context) => {
                let context = context.vouched_for("test");
                prop_assert_eq!(context.user_id().map(UserId::as_str), Some(text.as_str()));
            }
            Err(_) => prop_assert!(UserId::try_from(text.as_str()).is_err()),
        }
    }
}

/// Few letters, so that the interesting collisions are likely.
fn part() -> impl Strategy<Value = (Option<String>, String, String)> {
    let text = "[a:%3A]{1,4}";
    (proptest::option::of(text), text, text)
}

fn wire(user: &serde_json::Value) -> serde_json::Value {
    serde_json::json!({
        "principal": { "user": user },
        "request_id": "q-1",
        "thread_id": "t-1",
        "run_id": "r-1",
        "connection_id": "c-1",
    })
}

#[test]
fn b06_a_context_survives_a_trip_and_comes_back_equal() {
    let child = member("acme", "alice")
        .child()
        .expect("far from the deepest");
    for sent in [child, user("bob")] {
        let wire = serde_json::to_string(&PortableContext::from(&sent)).expect("serialises");
        let arrived: PortableContext = serde_json::from_str(&wire).expect("deserialises");
        assert_eq!(
            arrived,
            PortableContext::from(&sent),
            "equal after the trip"
        );
        let there = arrived.vouched_for("queue");
        assert_eq!(there.subject(), sent.subject(), "the same user");
        assert_eq!(there.request_id(), sent.request_id(), "the same request");
        assert_eq!(there.parent_id(), sent.parent_id(), "the same parent");
        assert_eq!(there.depth(), sent.depth(), "the same depth");
        assert_eq!(there.strategy(), "queue", "found by whoever vouches");
        assert!(there.evidence().is_asserted(), "proof doesn't travel");
        assert!(there.require_proved().is_err(), "and can't be pretended");
    }
}

#[test]
fn b06_hostile_documents_are_refused() {
    let set = |field: &str, value: serde_json::Value| {
        let mut wire = wire(&"alice".into());
        wire[field] = value;
        wire
    };
    let hostile = [
        set("principal", serde_json::json!({ "user": "undefined" })),
        set("principal", serde_json::json!({ "user": "a\nb" })),
        set(
            "principal",
            serde_json::json!({ "user": "alice", "service": "root" }),
        ),
        set("principal", serde_json::json!({ "admin": "alice" })),
        set("principal", serde_json::json!(null)),
        set("tenant_id", serde_json::json!("")),
        set("request_id", serde_json::json!("a b")),
        set("thread_id", serde_json::json!("x".repeat(129))),
        set("depth", serde_json::json!(33)),
        set("depth", serde_json::json!(-1)),
        set("evidence", serde_json::json!("proved")),
    ];
    for wire in hostile {
        let arrived = serde_json::from_value::<PortableContext>(wire.clone());
        assert!(arrived.is_err(), "must be refused: {wire}");
    }
    let plain = serde_json::from_value::<PortableContext>(wire(&"alice".into()));
    assert!(plain.is_ok(), "while this one is not: {plain:?}");
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
}

#[test]
fn code_that_wants_a_user_gets_an_error_and_not_a_default() {
    let service = ServiceName::try_from("internal").expect("a valid name");
    for (principal, anonymous) in [
        (Principal::Service(service), false),
        (Principal::Anonymous, true),
    ] {
        let context = UserContext::builder(Identity::asserted(principal.clone())).build();
        assert_eq!(context.user_id(), None, "{principal:?} is no user");
        let error = context.require_user().expect_err("nor does it become one");
        assert_eq!(error.is_anonymous(), anonymous, "{principal:?}");
    }
    let alice = user("alice");
    assert!(alice.require_user().is_ok_and(|id| *id == "alice"));
}
