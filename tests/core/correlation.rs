//! B07: a client's correlation ids are kept if they are valid, generated if they are absent and refused
//! if they are invalid. They never decide who the user is.

use std::convert::Infallible;

use futures::FutureExt;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use proptest::prelude::*;
use tower::{ServiceExt, service_fn};
use tower_layer::Layer;
use tower_user_scope::{
    CredentialSource, ExistingContext, Identity, Outcome, Rejection, UserContext, UserId,
    UserScopeExt, UserScopeLayer,
    audit::AuditEvent,
    context::{CorrelationErrorKind, CorrelationKind, CorrelationSources, IdErrorKind, ThreadId},
    from_fn,
    rejection::RejectionKind,
    testing::Recorder,
};

const KINDS: [(CorrelationKind, &str, &str); 4] = [
    (CorrelationKind::Request, "x-request-id", "request_id"),
    (CorrelationKind::Thread, "x-thread-id", "thread_id"),
    (CorrelationKind::Run, "x-run-id", "run_id"),
    (
        CorrelationKind::Connection,
        "x-connection-id",
        "connection_id",
    ),
];
const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// The context that the inner service saw, or the refusal that the observer saw.
async fn send(ids: CorrelationSources, mut request: Request<()>) -> Result<UserContext, Rejection> {
    let alice = HeaderValue::from_static("alice");
    request.headers_mut().insert("x-user", alice);
    let (status, seen) = send_as_it_is(ids, request).await;
    let expected = seen
        .as_ref()
        .map_or(StatusCode::BAD_REQUEST, |_| StatusCode::OK);
    assert_eq!(status, expected, "a bad id is 400: {seen:?}");
    seen
}

async fn send_as_it_is(
    ids: CorrelationSources,
    request: Request<()>,
) -> (StatusCode, Result<UserContext, Rejection>) {
    let (status, seen, _) = send_and_listen(ids, request).await;
    (status, seen)
}

async fn send_and_listen(
    ids: CorrelationSources,
    request: Request<()>,
) -> (
    StatusCode,
    Result<UserContext, Rejection>,
    Vec<AuditEvent<'static>>,
) {
    let recorder = Recorder::new();
    let layer = UserScopeLayer::builder()
        .strategy(from_fn(
            CredentialSource::header("x-user"),
            |head| match head.headers.get("x-user").map(HeaderValue::to_str) {
                Some(Ok(user)) => match UserId::try_from(user) {
                    Ok(user) => Identity::proved(user).into(),
                    Err(error) => Outcome::Invalid(error.into()),
                },
                _ => Outcome::Absent,
            },
        ))
        .correlation(ids)
        .observer(recorder.clone())
        .context_only()
        .build()
        .expect("a valid configuration");
    let service = layer.layer(service_fn(async |request: Request<()>| {
        let context = request.user_context().expect("inside the layer").clone();
        let mut response = Response::new(());
        response.extensions_mut().insert(context);
        Ok::<_, Infallible>(response)
    }));
    let response = service.oneshot(request).await.expect("infallible");
    let told = recorder.take();
    let refused = told.iter().find_map(|event| match event {
        AuditEvent::Refused { rejection, .. } => Some(rejection.clone().into_owned()),
        _ => None,
    });
    let seen = response.extensions().get::<UserContext>().cloned();
    let result = match (seen, refused) {
        (Some(context), None) => Ok(context),
        (None, Some(refused)) => Err(refused),
        both => panic!("either called or refused, and told of it: {both:?}"),
    };
    (response.status(), result, told)
}

fn with(headers: &[(&str, &[u8])]) -> Request<()> {
    let mut request = Request::new(());
    for (name, value) in headers {
        let name = HeaderName::try_from(*name).expect("a header name");
        let value = HeaderValue::from_bytes(value).expect("a header value");
        request.headers_mut().append(name, value);
    }
    request
}

fn get(uri: &str) -> Request<()> {
    Request::get(uri).body(()).expect("a URI")
}

fn id(context: &UserContext, kind: CorrelationKind) -> &str {
    match kind {
        CorrelationKind::Request => context.request_id().as_str(),
        CorrelationKind::Thread => context.thread_id().as_str(),
        CorrelationKind::Run => context.run_id().as_str(),
        CorrelationKind::Connection => context.connection_id().as_str(),
        other => panic!("no test for {other:?}"),
    }
}

fn problem(rejection: &Rejection) -> (&'static str, CorrelationErrorKind) {
    match rejection.kind() {
        RejectionKind::Correlation(error) => (error.field(), error.kind()),
        other => panic!("another reason: {other:?}"),
    }
}

#[tokio::test]
async fn b07_an_id_of_the_clients_is_kept() {
    for (kind, header, _) in KINDS {
        let context = send(CorrelationSources::new(), with(&[(header, b"\tabc-1 ")])).await;
        let context = context.unwrap_or_else(|refused| panic!("{kind:?}: {refused}"));
        assert_eq!(
            id(&context, kind),
            "abc-1",
            "{kind:?}, without the white space"
        );
        for (other, _, _) in KINDS {
            let sent = context.was_sent(other);
            assert_eq!(sent, other == kind, "{kind:?} was sent, and {other:?}?");
        }
    }
}

#[tokio::test]
async fn b07_an_id_that_is_absent_is_made_and_stays() {
    let context = send(CorrelationSources::new(), Request::new(())).await;
    let context = context.expect("nothing bad was sent");
    let mut made: Vec<&str> = KINDS.map(|(kind, _, _)| id(&context, kind)).to_vec();
    let again: Vec<&str> = KINDS.map(|(kind, _, _)| id(&context, kind)).to_vec();
    assert_eq!(made, again, "each is made once");
    made.sort_unstable();
    made.dedup();
    assert_eq!(made.len(), 4, "and each is one of its own");
}

#[tokio::test]
async fn b07_an_id_that_is_bad_is_refused_with_its_name() {
    use CorrelationErrorKind::{Id, NotText, Repeated};
    let long = [b'x'; 129];
    let cases: &[(&[&[u8]], CorrelationErrorKind)] = &[
        (&[b""], Id(IdErrorKind::Empty)),
        (&[b"  "], Id(IdErrorKind::Empty)),
        (&[b"a b"], Id(IdErrorKind::ForbiddenCharacter { at: 1 })),
        (&[b"a,b"], Id(IdErrorKind::ForbiddenCharacter { at: 1 })),
        (&[b"undefined"], Id(IdErrorKind::Placeholder)),
        (&[&long], Id(IdErrorKind::TooLong { limit: 128 })),
        (&[b"\xff\xfe"], NotText),
        (
            &["ä".as_bytes()],
            Id(IdErrorKind::ForbiddenCharacter { at: 0 }),
        ),
        (&[b"a", b"b"], Repeated),
        (&[b"a", b"a"], Repeated),
    ];
    for (kind, header, field) in KINDS {
        for (values, expected) in cases {
            let headers: Vec<_> = values.iter().map(|value| (header, *value)).collect();
            let refused = send(CorrelationSources::new(), with(&headers)).await;
            let refused = refused.expect_err("a bad id is not replaced in silence");
            assert_eq!(problem(&refused), (field, *expected), "{kind:?} {values:?}");
        }
    }
}

#[tokio::test]
async fn headers_can_be_renamed_and_switched_off() {
    let renamed = CorrelationSources::new().header(
        CorrelationKind::Thread,
        HeaderName::from_static("x-conversation"),
    );
    let request = with(&[("x-conversation", b"c-1"), ("x-thread-id", b"not, read")]);
    let context = send(renamed, request)
        .await
        .expect("the old name is not read");
    assert_eq!(context.thread_id(), &"c-1");

    let off = CorrelationSources::new().without_header(CorrelationKind::Request);
    let context = send(off, with(&[("x-request-id", b"not, read")])).await;
    assert!(context.is_ok(), "what is switched off is not even checked");
}

#[tokio::test]
async fn a_traceparent_gives_the_request_id_where_there_is_no_other() {
    let headers: &[(&str, &[u8])] = &[("traceparent", TRACEPARENT.as_bytes())];
    let context = send(CorrelationSources::new(), with(headers)).await;
    let context = context.expect("the specification's own example");
    assert_eq!(
        context.request_id(),
        &&TRACEPARENT[3..52],
        "trace and parent"
    );
    let parent = context.trace_parent().expect("kept");
    assert!(parent.is_sampled() && parent.parent_id() == 0xb7ad_6b71_6920_3331);

    let both = [headers[0], ("x-request-id", b"own".as_slice())];
    let context = send(CorrelationSources::new(), with(&both))
        .await
        .expect("both good");
    assert_eq!(
        context.request_id(),
        &"own",
        "the request's own id comes first"
    );

    let off = || CorrelationSources::new().trace_context(false);
    let context = send(off(), with(headers)).await.expect("not read");
    assert_eq!(context.trace_parent(), None);
    assert_ne!(context.request_id(), &&TRACEPARENT[3..52], "but made");
    let context = send(off(), with(&both)).await.expect("not read");
    assert_eq!(context.trace_parent(), None, "nor beside what is read");
    assert_eq!(context.request_id(), &"own");
}

/// Cases of the W3C's own `validate-vendor` tests, with the results that they require.
#[tokio::test]
async fn a_trace_that_can_not_be_used_starts_anew_and_refuses_nobody() {
    use CorrelationErrorKind::{Malformed, Repeated};
    let good = TRACEPARENT;
    let changed = |at: usize, with: &str| {
        let mut text = good.to_owned();
        text.replace_range(at..at + with.len(), with);
        text
    };
    let other = changed(5, "b");
    let later = changed(0, "cc");
    let cases: Vec<(Vec<String>, Option<CorrelationErrorKind>)> = vec![
        (vec![good.to_owned()], None),
        (vec![format!(" \t{good}\t ")], None),
        (vec![later.clone()], None),
        (vec![format!("{later}-what-the-future-will-be-like")], None),
        (
            vec![format!("{later}.what-the-future-will-be-like")],
            Some(Malformed),
        ),
        (vec![format!("{good}.")], Some(Malformed)),
        (vec![format!("{good}-01")], Some(Malformed)),
        (vec![changed(0, "ff")], Some(Malformed)),
        (vec![changed(0, ".0")], Some(Malformed)),
        (vec![changed(3, &"0".repeat(32))], Some(Malformed)),
        (vec![changed(3, "A")], Some(Malformed)),
        (vec![changed(36, &"0".repeat(16))], Some(Malformed)),
        (vec![changed(53, "0.")], Some(Malformed)),
        (vec![changed(52, "_")], Some(Malformed)),
        (vec![String::new()], Some(Malformed)),
        (vec![good.to_owned(), good.to_owned()], Some(Repeated)),
        (vec![good.to_owned(), other], Some(Repeated)),
        (vec![String::new(), good.to_owned()], Some(Repeated)),
        (vec![good.to_owned(); 3], Some(Repeated)),
    ];
    for (values, problem) in cases {
        let headers: Vec<(&str, &[u8])> = values
            .iter()
            .map(|value| ("traceparent", value.as_bytes()))
            .collect();
        let mut request = with(&headers);
        let alice = HeaderValue::from_static("alice");
        request.headers_mut().insert("x-user", alice);
        let (status, seen, told) = send_and_listen(CorrelationSources::new(), request).await;
        let context = seen.unwrap_or_else(|refused| panic!("{values:?}: {refused}"));
        assert_eq!(status, StatusCode::OK, "{values:?}");
        assert_eq!(
            context.trace_parent().is_some(),
            problem.is_none(),
            "{values:?}"
        );
        let told: Vec<_> = told
            .into_iter()
            .filter_map(|event| match event {
                AuditEvent::TraceIgnored { problem, .. } => Some(problem),
                _ => None,
            })
            .collect();
        assert_eq!(told, Vec::from_iter(problem), "{values:?}: as an event");
    }
}

#[tokio::test]
async fn query_parameters_are_read_only_where_the_application_says_so() {
    let plain = send(CorrelationSources::new(), get("/?thread_id=t-1")).await;
    assert_ne!(
        plain.expect("nothing to refuse").thread_id(),
        &"t-1",
        "not by default"
    );

    let ids = || CorrelationSources::new().query(CorrelationKind::Thread, "thread_id");
    let context = send(ids(), get("/ws?a=1&thread_id=t%2D1&b"))
        .await
        .expect("good");
    assert_eq!(context.thread_id(), &"t-1", "percent-decoded");

    for (uri, expected) in [
        ("/?thread_id=", CorrelationErrorKind::Id(IdErrorKind::Empty)),
        ("/?thread_id=a&thread_id=a", CorrelationErrorKind::Repeated),
        (
            "/?thread_id=a%0Ab",
            CorrelationErrorKind::Id(IdErrorKind::ForbiddenCharacter { at: 1 }),
        ),
    ] {
        let refused = send(ids(), get(uri)).await.expect_err(uri);
        assert_eq!(problem(&refused), ("thread_id", expected), "{uri}");
    }
    let long = format!(
        "/?x={}&thread_id=t",
        "y".repeat(CorrelationSources::MAX_QUERY_LEN)
    );
    let refused = send(ids(), get(&long)).await.expect_err("not searched");
    assert_eq!(
        problem(&refused),
        ("thread_id", CorrelationErrorKind::QueryTooLong)
    );
    let unread = send(CorrelationSources::new(), get(&long)).await;
    assert!(unread.is_ok(), "its length matters only where it is read");
}

#[tokio::test]
async fn a_header_and_a_parameter_may_agree_and_not_differ() {
    let ids = || CorrelationSources::new().query(CorrelationKind::Run, "run");
    for (value, agrees) in [("r-1", true), ("r-2", false)] {
        let mut request = get("/?run=r-1");
        let value = HeaderValue::from_static(value);
        request.headers_mut().insert("x-run-id", value);
        assert_eq!(send(ids(), request).await.is_ok(), agrees);
    }
}

#[tokio::test]
async fn b07_a_correlation_id_identifies_nobody() {
    let all: Vec<_> = KINDS
        .iter()
        .map(|(_, header, _)| (*header, b"bob".as_slice()))
        .collect();
    let ids = || CorrelationSources::new().query(CorrelationKind::Thread, "thread_id");
    let (status, refused) = send_as_it_is(ids(), with(&all)).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "ids are no credential");
    let refused = refused.expect_err("nobody sent one");
    assert!(
        matches!(refused.kind(), RejectionKind::NoCredential),
        "{refused:?}"
    );

    let alice = send(ids(), with(&all)).await.expect("all good");
    assert_eq!(alice.user_id().map(UserId::as_str), Some("alice"));
    assert_eq!(alice.thread_id(), &"bob", "although the thread is named so");
}

#[test]
fn an_id_that_was_made_for_a_child_was_not_sent() {
    let request = with(&[("x-request-id", b"q-1"), ("x-thread-id", b"t-1")]);
    let parent = send_now(CorrelationSources::new(), request).expect("both good");
    let child = parent.child().expect("far from the deepest");
    assert!(
        child.was_sent(CorrelationKind::Thread),
        "it is the parent's"
    );
    assert_ne!(child.request_id(), parent.request_id(), "of its own");
    assert!(!child.was_sent(CorrelationKind::Request), "and made");
}

/// The inner layer may continue an outer context whose ids were never read.
#[tokio::test]
async fn an_inner_layer_continues_the_ids_of_the_outer_one() {
    let layer = || {
        let layer = UserScopeLayer::builder().strategy(ExistingContext::new());
        layer.context_only().build().expect("a valid configuration")
    };
    let inner = layer().layer(service_fn(async |request: Request<()>| {
        let context = request.user_context().expect("inside the layer").clone();
        let mut response = Response::new(());
        response.extensions_mut().insert(context);
        Ok::<_, Infallible>(response)
    }));
    let service = layer().layer(service_fn(move |request: Request<()>| {
        let outer = request.user_context().expect("inside the layer").clone();
        let answer = inner.clone().oneshot(request);
        async move {
            let response = answer.await?;
            let seen = response.extensions().get().expect("called");
            for (kind, _, _) in KINDS {
                assert_eq!(id(seen, kind), id(&outer, kind), "{kind:?} stays");
            }
            Ok::<_, Infallible>(Response::new(()))
        }
    }));
    let mut request = Request::new(());
    let alice = UserId::try_from("alice").expect("a valid user id");
    let context = UserContext::builder(Identity::asserted(alice)).build();
    request.extensions_mut().insert(context);
    let response = service.oneshot(request).await.expect("infallible");
    assert_eq!(response.status(), StatusCode::OK, "both were passed");
}

fn send_now(ids: CorrelationSources, request: Request<()>) -> Result<UserContext, Rejection> {
    send(ids, request).now_or_never().expect("nothing waits")
}

/// A header's value, mostly one that is almost an id.
fn header_bytes() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![20 => b'!'..=b'~', 1 => Just(b'\t'), 1 => Just(b' '), 1 => 128u8..];
    prop_oneof![
        "[a-z0-9-]{1,140}".prop_map(String::into_bytes),
        "[ \t]{0,2}[!-~]{0,6}[ \t]{0,2}".prop_map(String::into_bytes),
        proptest::collection::vec(byte, 0..140),
        any::<String>().prop_map(String::into_bytes),
    ]
}

proptest! {
    #[test]
    fn b07_whatever_a_header_holds_is_kept_exactly_or_refused(bytes in header_bytes()) {
        if let Ok(value) = HeaderValue::from_bytes(&bytes) {
            let mut request = Request::new(());
            request.headers_mut().insert("x-thread-id", value);
            let id = std::str::from_utf8(&bytes).ok().map(|text| text.trim_matches([' ', '\t']));
            let id = id.filter(|text| ThreadId::try_from(*text).is_ok());
            match send_now(CorrelationSources::new(), request) {
                Ok(context) => {
                    prop_assert_eq!(Some(context.thread_id().as_str()), id);
                    prop_assert_eq!(context.user_id().map(UserId::as_str), Some("alice"));
                }
                Err(refused) => {
                    prop_assert_eq!(id, None, "refused without a reason: {:?}", refused);
                    prop_assert_eq!(problem(&refused).0, "thread_id");
                }
            }
        }
    }

    #[test]
    fn b07_a_traceparent_by_the_grammar_is_kept(trace in 1u128.., parent in 1u64.., flags: u8) {
        let text = format!("00-{trace:032x}-{parent:016x}-{flags:02x}");
        let request = with(&[("traceparent", text.as_bytes())]);
        let context = send_now(CorrelationSources::new(), request).expect("by the grammar");
        prop_assert_eq!(context.request_id().as_str(), &text[3..52]);
        let kept = context.trace_parent().expect("kept");
        prop_assert_eq!((kept.trace_id(), kept.parent_id()), (trace, parent));
        prop_assert_eq!(kept.is_sampled(), flags % 2 == 1);
    }

    #[test]
    fn b07_whatever_a_traceparent_holds_is_read_or_ignored(
        bytes in prop_oneof![
            header_bytes(),
            "[0f]{2}-[0-9a-f]{31,33}-[0-9a-fA-F]{15,17}-[0-9a-g]{1,3}.{0,3}"
                .prop_map(String::into_bytes),
        ],
    ) {
        if let Ok(value) = HeaderValue::from_bytes(&bytes) {
            let mut request = Request::new(());
            request.headers_mut().insert("traceparent", value);
            let context = send_now(CorrelationSources::new(), request).expect("refuses nobody");
            if context.trace_parent().is_some() {
                let text = bytes.trim_ascii();
                prop_assert_eq!(context.request_id().as_str().as_bytes(), &text[3..52]);
                prop_assert_ne!(&text[..2], b"ff", "the version that is none");
            } else {
                prop_assert_eq!(context.request_id().as_str().len(), 36, "a new one");
            }
        }
    }

    #[test]
    fn b07_whatever_a_parameter_holds_is_kept_exactly_or_refused(value in header_bytes()) {
        let encoded: String = form_urlencoded::byte_serialize(&value).collect();
        let ids = CorrelationSources::new().query(CorrelationKind::Thread, "t");
        let id = String::from_utf8(value).ok().filter(|text| ThreadId::try_from(text.as_str()).is_ok());
        match send_now(ids, get(&format!("/?t={encoded}"))) {
            Ok(context) => prop_assert_eq!(Some(context.thread_id().to_string()), id),
            Err(refused) => {
                prop_assert_eq!(id, None, "refused without a reason: {:?}", refused);
                prop_assert_eq!(problem(&refused).0, "thread_id");
            }
        }
    }

    #[test]
    fn b07_no_query_string_makes_it_panic_or_invent(query in "([t&=;+a-c]|%[0-9a-fG]{0,2}){0,12}") {
        let ids = CorrelationSources::new().query(CorrelationKind::Thread, "t");
        if let Ok(context) = send_now(ids, get(&format!("/?{query}"))) {
            if context.was_sent(CorrelationKind::Thread) {
                let sent = context.thread_id().as_str();
                let pairs = form_urlencoded::parse(query.as_bytes());
                let found: Vec<_> = pairs.filter(|(name, _)| name == "t").collect();
                prop_assert!(matches!(&found[..], [(_, value)] if value == sent), "{found:?}");
            } else {
                let named = form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "t");
                prop_assert!(!named, "what was sent is not passed over");
            }
        }
    }
}
