//! B21, B26: a credential that is invalid or can't be checked is refused. A fallback acts only if no
//! credential was sent, and is never a user.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use http::{HeaderName, HeaderValue, Request, StatusCode};
use tower_user_scope::{
    DevelopmentUser, Fallback, FromExtension, Identity, InvalidError, Outcome, PeerAddr, Principal,
    TrustedHeader, UnavailableError, UserId, UserScopeLayer,
    audit::AuditEvent,
    context::IdErrorKind,
    is_loopback,
    rejection::RejectionKind,
    strategy::{InvalidErrorKind, Presence, Strategy, UnavailableErrorKind},
    testing::Scripted,
};

use crate::answered::{Answered, send};

fn user(id: &str) -> Identity {
    Identity::proved(UserId::try_from(id).expect("a valid user id"))
}

fn invalid() -> Scripted {
    Scripted::new(|_| InvalidError::new(InvalidErrorKind::Rejected("bad")).into())
}

fn down() -> Scripted {
    Scripted::new(|_| UnavailableError::new(std::io::Error::other("down")).into())
}

fn absent() -> Scripted {
    Scripted::new(|_| Outcome::Absent).presence(Presence::NotSent)
}

fn good() -> Scripted {
    Scripted::new(|_| user("weaker").into())
}

fn is_invalid(answered: &Answered) -> bool {
    matches!(answered, Err(refused) if matches!(refused.kind(), RejectionKind::Invalid { .. }))
}

fn is_unavailable(answered: &Answered) -> bool {
    matches!(answered, Err(refused)
        if matches!(refused.kind(), RejectionKind::Unavailable { .. })
            && refused.status() == StatusCode::SERVICE_UNAVAILABLE)
}

#[tokio::test]
async fn b21_a_credential_that_is_bad_or_unchecked_ends_the_list() {
    for unanimous in [false, true] {
        for (ends, is_expected) in [
            (invalid(), is_invalid as fn(&Answered) -> bool),
            (down(), is_unavailable),
        ] {
            let after = good();
            let mut builder = UserScopeLayer::builder()
                .strategy(absent())
                .strategy(ends)
                .strategy(after.clone())
                .fallback(Fallback::service("internal"));
            if unanimous {
                builder = builder.unanimous();
            }
            let layer = builder.context_only().build().expect("valid");
            let answered = send(&layer, Request::new(())).await;
            assert!(
                is_expected(&answered),
                "unanimous: {unanimous}: {answered:?}"
            );
            assert_eq!(after.calls(), 0, "nobody is asked after that");
        }
    }
}

#[tokio::test]
async fn b21_under_the_unanimous_rule_a_later_bad_one_refuses_what_was_found() {
    for (ends, is_expected) in [
        (invalid(), is_invalid as fn(&Answered) -> bool),
        (down(), is_unavailable),
    ] {
        let layer = UserScopeLayer::builder()
            .strategy(good())
            .strategy(ends)
            .unanimous()
            .context_only()
            .build()
            .expect("valid");
        let answered = send(&layer, Request::new(())).await;
        assert!(is_expected(&answered), "{answered:?}");
    }
}

#[tokio::test]
async fn b26_no_refusal_reason_turns_into_the_fallback() {
    let past = SystemTime::now() - Duration::from_secs(1);
    let verdicts: Vec<(&str, Scripted)> = vec![
        (
            "repeated",
            Scripted::new(|_| InvalidError::new(InvalidErrorKind::Repeated).into()),
        ),
        (
            "no text",
            Scripted::new(|_| InvalidError::new(InvalidErrorKind::NotText).into()),
        ),
        (
            "malformed",
            Scripted::new(|_| InvalidError::new(InvalidErrorKind::Malformed).into()),
        ),
        (
            "no id",
            Scripted::new(|_| InvalidError::new(InvalidErrorKind::Id(IdErrorKind::Empty)).into()),
        ),
        (
            "expired",
            Scripted::new(|_| InvalidError::new(InvalidErrorKind::Expired).into()),
        ),
        ("rejected", invalid()),
        (
            "an identity that ended",
            Scripted::new(move |_| user("late").with_expires_at(past).into()),
        ),
        ("down", down()),
        (
            "late",
            Scripted::new(|_| UnavailableError::timed_out(Duration::ZERO).into()),
        ),
        (
            "a lie: absent though sent",
            Scripted::new(|_| Outcome::Absent),
        ),
    ];
    for (name, strategy) in verdicts {
        let layer = UserScopeLayer::builder()
            .strategy(strategy)
            .fallback(Fallback::service("internal"))
            .fallback(Fallback::anonymous())
            .context_only()
            .build()
            .expect("valid");
        let answered = send(&layer, Request::new(())).await;
        assert!(
            answered.is_err(),
            "`{name}` reached the fallback: {answered:?}"
        );
    }
}

#[tokio::test]
async fn an_identity_holds_until_its_end_and_not_longer() {
    for (seconds, holds) in [(3_600, true), (0, false)] {
        let end = SystemTime::now() + Duration::from_secs(seconds);
        let layer = UserScopeLayer::builder()
            .strategy(Scripted::new(move |_| {
                user("alice").with_expires_at(end).into()
            }))
            .context_only()
            .build()
            .expect("valid");
        let answered = send(&layer, Request::new(())).await;
        assert_eq!(answered.is_ok(), holds, "{seconds} s left: {answered:?}");
    }
}

#[tokio::test]
async fn optional_passes_a_bad_credential_over_and_audits_and_passes_nothing_else() {
    let passed: Arc<Mutex<Vec<InvalidErrorKind>>> = Arc::default();
    let seen = passed.clone();
    let observe = move |event: &AuditEvent<'_>| {
        if let AuditEvent::InvalidCredentialIgnored {
            strategy, invalid, ..
        } = event
        {
            assert_eq!(*strategy, "scripted", "whose it was");
            seen.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(invalid.kind());
        }
    };
    let layer = UserScopeLayer::builder()
        .strategy(invalid().optional())
        .fallback(Fallback::anonymous())
        .observer(observe)
        .context_only()
        .build()
        .expect("valid");
    let answered = send(&layer, Request::new(())).await;
    assert!(
        answered.is_ok_and(|context| context.evidence().is_fallback()),
        "a bad credential counts as none"
    );
    let passed = std::mem::take(&mut *passed.lock().unwrap_or_else(PoisonError::into_inner));
    assert_eq!(
        passed,
        [InvalidErrorKind::Rejected("bad")],
        "and that is audited"
    );

    let layer = UserScopeLayer::builder()
        .strategy(down().optional())
        .fallback(Fallback::anonymous())
        .context_only()
        .build()
        .expect("valid");
    let answered = send(&layer, Request::new(())).await;
    assert!(
        is_unavailable(&answered),
        "what can't be checked is not ignored"
    );
}

fn from_peer(peer: [u8; 4], headers: &[&'static str]) -> Request<()> {
    let mut request = Request::new(());
    let peer = PeerAddr((peer, 4711).into());
    request.extensions_mut().insert(peer);
    for name in headers {
        let value = HeaderValue::from_static("198.51.100.1");
        request
            .headers_mut()
            .insert(HeaderName::from_static(name), value);
    }
    request
}

const HERE: [u8; 4] = [127, 0, 0, 1];
const ELSEWHERE: [u8; 4] = [203, 0, 113, 9];

#[tokio::test]
async fn b26_a_fallback_is_the_first_whose_condition_holds_and_never_a_user() {
    let layer = UserScopeLayer::builder()
        .fallback(Fallback::service("internal").only_if(is_loopback))
        .fallback(Fallback::anonymous())
        .context_only()
        .build()
        .expect("valid");
    for (request, service) in [
        (from_peer(HERE, &[]), true),
        (from_peer(ELSEWHERE, &[]), false),
        (Request::new(()), false),
    ] {
        let context = send(&layer, request).await.expect("somebody acts");
        match context.principal() {
            Principal::Service(name) => assert!(service && *name == "internal"),
            Principal::Anonymous => assert!(!service, "a local request"),
            other => panic!("a fallback became {other:?}"),
        }
        assert!(context.evidence().is_fallback() && !context.evidence().is_proved());
        assert!(
            context.require_user().is_err(),
            "code that wants a user gets an error"
        );
    }
}

#[tokio::test]
async fn a_request_without_a_credential_is_refused_where_no_fallback_applies() {
    let layer = UserScopeLayer::builder()
        .strategy(absent())
        .fallback(Fallback::service("internal").only_if(|_| false))
        .context_only()
        .build()
        .expect("valid");
    let refused = send(&layer, Request::new(())).await.expect_err("nobody");
    assert!(
        matches!(refused.kind(), RejectionKind::NoCredential),
        "{refused:?}"
    );
}

#[test]
fn a_local_peer_that_forwards_for_somebody_is_not_local() {
    let local = |headers: &[&'static str]| {
        let (head, ()) = from_peer(HERE, headers).into_parts();
        is_loopback(&head)
    };
    assert!(local(&[]), "a plain request from this machine");
    for header in ["forwarded", "via", "x-forwarded-for", "x-real-ip"] {
        assert!(
            !local(&[header]),
            "`{header}` says that it is for somebody else"
        );
    }
    // The header that nginx's `proxy_pass` sends by default.
    let mut passed_on = from_peer(HERE, &[]);
    *passed_on.version_mut() = http::Version::HTTP_10;
    let host = HeaderValue::from_static("127.0.0.1:3000");
    passed_on.headers_mut().insert(http::header::HOST, host);
    let (head, ()) = passed_on.into_parts();
    assert!(!is_loopback(&head), "HTTP/1.0 is what proxies speak");
    let (head, ()) = Request::new(()).into_parts();
    assert!(!is_loopback(&head), "an unknown peer is not local");
    let mut mapped = Request::new(());
    let address = "[::ffff:127.0.0.1]:1".parse().expect("an address");
    mapped.extensions_mut().insert(PeerAddr(address));
    assert!(
        is_loopback(&mapped.into_parts().0),
        "an IPv4 peer of a dual-stack listener"
    );
}

#[tokio::test]
async fn a_development_user_answers_this_machine_only_and_is_marked() {
    let layer = UserScopeLayer::builder()
        .strategy(DevelopmentUser::new("dev"))
        .context_only()
        .build()
        .expect("valid");
    let context = send(&layer, from_peer(HERE, &[])).await.expect("local");
    assert!(context.evidence().is_development(), "marked as what it is");
    assert!(context.require_proved().is_err(), "and no proof");
    let mut passed_on = from_peer(HERE, &[]);
    *passed_on.version_mut() = http::Version::HTTP_10;
    for request in [
        passed_on,
        from_peer(ELSEWHERE, &[]),
        from_peer(HERE, &["x-forwarded-for"]),
        from_peer(HERE, &["x-forwarded-proto"]),
        from_peer(HERE, &["x-client-ip"]),
        Request::new(()),
    ] {
        assert!(send(&layer, request).await.is_err(), "nobody else");
    }
    // The headers that a browser on this machine sends for a page of another site, or for a name that
    // resolves to this machine.
    for (name, value, is_meant) in [
        ("host", "localhost:3000", true),
        ("host", "127.0.0.1", true),
        ("host", "[::1]:3000", true),
        ("host", "evil.example", false),
        ("host", "localhost.evil.example", false),
        ("origin", "http://localhost:3000", true),
        ("origin", "https://evil.example", false),
        ("origin", "null", false),
        ("sec-fetch-site", "same-origin", true),
        ("sec-fetch-site", "none", true),
        ("sec-fetch-site", "cross-site", false),
    ] {
        let mut request = from_peer(HERE, &[]);
        let sent = HeaderValue::from_static(value);
        request
            .headers_mut()
            .insert(HeaderName::from_static(name), sent);
        let answered = send(&layer, request).await;
        assert_eq!(answered.is_ok(), is_meant, "{name}: {value}");
    }
}

#[tokio::test]
async fn with_require_proved_an_asserted_identity_is_refused() {
    let proof = |strategy: Scripted| {
        UserScopeLayer::builder()
            .strategy(strategy)
            .require_proved()
            .context_only()
            .build()
            .expect("valid")
    };
    let asserted = Scripted::new(|_| match UserId::try_from("alice") {
        Ok(id) => Identity::asserted(id).into(),
        Err(error) => Outcome::Invalid(error.into()),
    });
    let refused = send(&proof(asserted), Request::new(()))
        .await
        .expect_err("a header's word");
    assert!(
        matches!(refused.kind(), RejectionKind::Evidence(_)),
        "{refused:?}"
    );
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    assert!(
        send(&proof(good()), Request::new(())).await.is_ok(),
        "a proof will"
    );

    let fallback = UserScopeLayer::builder()
        .fallback(Fallback::anonymous())
        .require_proved()
        .context_only()
        .build()
        .expect("valid");
    assert!(
        send(&fallback, Request::new(())).await.is_err(),
        "and no fallback"
    );
}

#[tokio::test]
async fn a_late_answer_is_unavailable_with_its_limit() {
    let limit = Duration::from_millis(5);
    let layer = UserScopeLayer::builder()
        .strategy(Scripted::new(move |_| {
            UnavailableError::timed_out(limit).into()
        }))
        .context_only()
        .build()
        .expect("valid");
    let refused = send(&layer, Request::new(())).await.expect_err("late");
    match refused.kind() {
        RejectionKind::Unavailable { unavailable, .. } => {
            let expected = UnavailableErrorKind::TimedOut { limit };
            assert_eq!(unavailable.kind(), expected, "typed, with its limit");
        }
        other => panic!("another reason: {other:?}"),
    }
}

#[tokio::test]
async fn b25_only_a_value_of_the_very_type_identifies_anybody() {
    #[derive(Clone)]
    struct Authenticated(&'static str);
    #[derive(Clone)]
    struct AlikeButAnother(#[expect(dead_code, reason = "nobody reads it")] &'static str);

    let layer = UserScopeLayer::builder()
        .strategy(TrustedHeader::new("x-user-id").only_if(|_| true))
        .strategy(FromExtension::<Authenticated>::new(|value| value.0.parse()))
        .context_only()
        .build()
        .expect("valid");
    let with = |insert: fn(&mut Request<()>)| {
        let mut request = Request::new(());
        insert(&mut request);
        request
    };
    let typed = with(|request| {
        request.extensions_mut().insert(Authenticated("alice"));
    });
    let context = send(&layer, typed).await.expect("the middleware's value");
    assert!(context.require_user().is_ok_and(|id| *id == "alice"));
    assert!(
        context.evidence().is_asserted(),
        "the middleware's word, no proof"
    );

    let other = with(|request| {
        request.extensions_mut().insert(AlikeButAnother("alice"));
        request.extensions_mut().insert("alice");
        request.extensions_mut().insert("alice".to_owned());
    });
    let refused = send(&layer, other).await.expect_err("other types");
    assert!(
        matches!(refused.kind(), RejectionKind::NoCredential),
        "{refused:?}"
    );

    let bad = with(|request| {
        request.extensions_mut().insert(Authenticated("undefined"));
    });
    assert!(
        is_invalid(&send(&layer, bad).await),
        "a bad value is not skipped"
    );
}

/// All clients of a proxy on this machine that adds no header have this machine's address. The
/// guides' programs must not trust that address.
#[test]
fn the_readmes_programs_let_nobody_act_for_being_on_this_machine() {
    let readme = include_str!("../../README.md");
    let programs = readme.split("```rust").skip(1);
    let programs = programs.filter_map(|program| program.split("```").next());
    assert!(
        programs.clone().any(|it| it.contains("fn main()")),
        "the program"
    );
    for program in programs {
        for word in ["is_loopback", "DevelopmentUser", ".fallback(", "127.0.0."] {
            assert!(!program.contains(word), "{word}");
        }
    }
}
