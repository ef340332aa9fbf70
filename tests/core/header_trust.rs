//! B23, B24: an identity header is accepted from trusted senders only, read strictly, and removed
//! in every other case.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use axum::extract::ConnectInfo;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Request, Response};
use proptest::prelude::*;
use tower::{Service, ServiceExt, service_fn};
use tower_layer::Layer;
use tower_user_scope::{
    CredentialSource, Fallback, Identity, Outcome, PeerAddr, Rejection, TrustedHeader, UserContext,
    UserId, UserScopeExt, UserScopeLayer,
    audit::AuditEvent,
    context::{IdErrorKind, IdRules, TenantId},
    from_fn,
    middleware::WithoutTrailers,
    rejection::RejectionKind,
    strategy::{InvalidErrorKind, Strategy as _, StripReason, Trusting, UntrustedReason},
};

/// The request that the inner service got.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) context: UserContext,
    pub(crate) headers: HeaderMap,
}

pub(crate) type Answered = Result<Seen, Rejection>;
pub(crate) type Inner = tower::util::ServiceFn<fn(Request<()>) -> Ready>;
pub(crate) type Ready = std::future::Ready<Result<Response<()>, Infallible>>;

pub(crate) async fn send<L, S, B>(layer: &L, request: Request<()>) -> Answered
where
    L: Layer<Inner, Service = S>,
    S: Service<Request<()>, Response = Response<B>, Error = Infallible>,
{
    fn answer(request: Request<()>) -> Ready {
        let (head, ()) = request.into_parts();
        let mut response = Response::new(());
        if let Ok(context) = head.user_context().cloned() {
            let headers = head.headers;
            response.extensions_mut().insert(Seen { context, headers });
        }
        std::future::ready(Ok(response))
    }
    let inner: Inner = service_fn(answer);
    let response = layer.layer(inner).oneshot(request).await;
    let mut response = response.expect("infallible");
    let extensions = response.extensions_mut();
    extensions
        .remove::<Seen>()
        .ok_or_else(|| extensions.remove().expect("an answer or a reason"))
}

pub(crate) fn request(peer: Option<&str>, headers: &[(&str, &[u8])]) -> Request<()> {
    let mut request = Request::new(());
    for (name, value) in headers {
        let name = HeaderName::try_from(*name).expect("a header name");
        let value = HeaderValue::from_bytes(value).expect("a header value");
        request.headers_mut().append(name, value);
    }
    if let Some(peer) = peer {
        let ip: IpAddr = peer.parse().expect("an address");
        let peer = PeerAddr(SocketAddr::new(ip, 4711));
        request.extensions_mut().insert(peer);
    }
    request
}

pub(crate) const PROXY: Option<&str> = Some("10.0.0.7");
pub(crate) const STRANGER: Option<&str> = Some("203.0.113.9");
const ALICE: (&str, &[u8]) = ("x-user-id", b"alice");
const SECRET: &str = "a secret of enough bytes";

fn by_address() -> TrustedHeader<Trusting> {
    TrustedHeader::new("x-user-id")
        .from_proxies(["10.0.0.0/8", "fd00::/8", "192.0.2.7"])
        .expect("networks")
}

/// A layer with this strategy alone, and its reasons to remove headers.
pub(crate) fn layer_of(
    header: TrustedHeader<Trusting>,
) -> (impl Layer<Inner, Service = impl Answers>, Stripped) {
    let stripped = Stripped::default();
    let layer = UserScopeLayer::builder()
        .strategy(header)
        .observer(stripped.observer())
        .context_only()
        .build()
        .expect("a valid configuration");
    (layer, stripped)
}

/// The bounds of `send` on a service.
pub(crate) trait Answers:
    Service<Request<()>, Response = Response<Self::Body>, Error = Infallible>
{
    type Body;
}

impl<S, B> Answers for S
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible>,
{
    type Body = B;
}

#[derive(Clone, Default)]
pub(crate) struct Stripped(Arc<Mutex<Vec<(String, StripReason)>>>);

impl Stripped {
    fn observer(&self) -> impl Fn(&AuditEvent<'_>) + Send + Sync + 'static {
        let stripped = self.clone();
        move |event| {
            if let AuditEvent::HeaderStripped { header, reason, .. } = event {
                let mut all = stripped.0.lock().unwrap_or_else(PoisonError::into_inner);
                all.push((header.to_string(), *reason));
            }
        }
    }

    pub(crate) fn take(&self) -> Vec<(String, StripReason)> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[tokio::test]
async fn one_request_can_not_fill_the_log_with_what_is_removed_from_it() {
    // All characters of header names that fold into one character.
    const FOLDED: &str = "!#$%&'*+-.^_`|~";
    let (events, more) = (Arc::new(Mutex::new(0)), Arc::new(Mutex::new(0)));
    let (count, rest) = (Arc::clone(&events), Arc::clone(&more));
    let layer = UserScopeLayer::builder()
        .strategy(by_address())
        .strategy(from_fn(CredentialSource::predicate(|_| true), |_| {
            let id = UserId::try_from("alice").expect("an id");
            Identity::proved(id).into()
        }))
        .observer(move |event: &AuditEvent<'_>| {
            if let AuditEvent::HeaderStripped { more, .. } = event {
                *count.lock().unwrap_or_else(PoisonError::into_inner) += 1;
                *rest.lock().unwrap_or_else(PoisonError::into_inner) += more;
            }
        })
        .context_only()
        .build()
        .expect("good");
    let mut sent = request(STRANGER, &[]);
    for first in FOLDED.chars() {
        for second in FOLDED.chars() {
            let name = format!("x{first}user{second}id");
            let name = HeaderName::try_from(name).expect("a header name");
            sent.headers_mut()
                .insert(name, HeaderValue::from_static("bob"));
        }
    }
    let names = sent.headers().keys_len();
    assert_eq!(names, FOLDED.len() * FOLDED.len());
    let seen = send(&layer, sent).await.expect("alice");
    assert_eq!(seen.headers.len(), 0, "all of them are removed");
    let events = *events.lock().unwrap_or_else(PoisonError::into_inner);
    let more = *more.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(events <= 8, "{events} events of one request");
    assert_eq!(events + more, names, "and all of them are counted");
}

#[tokio::test]
async fn many_look_alikes_of_one_header_hide_no_other_strategys_header_from_the_log() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = Arc::clone(&told);
    let layer = UserScopeLayer::builder()
        .strategy(TrustedHeader::new("x-user-id").only_if(|_| false))
        .strategy(TrustedHeader::new("x-admin-id").only_if(|_| false))
        .fallback(Fallback::anonymous())
        .observer(move |event: &AuditEvent<'_>| {
            if let AuditEvent::HeaderStripped { header, .. } = event {
                let mut told = tell.lock().unwrap_or_else(PoisonError::into_inner);
                told.push(header.clone().into_owned());
            }
        })
        .context_only()
        .build()
        .expect("good");
    let mut sent = request(STRANGER, &[("x-admin-id", b"root")]);
    for between in "!#$%&'*+-.".chars() {
        let name = HeaderName::try_from(format!("x{between}user_id")).expect("a header name");
        let bob = HeaderValue::from_static("bob");
        sent.headers_mut().insert(name, bob);
    }
    assert!(send(&layer, sent).await.is_err(), "nobody is believed");
    let told = told.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(
        told.iter().any(|name| name.as_str() == "x-admin-id"),
        "{told:?}"
    );
}

#[tokio::test]
async fn b24_only_a_listed_peer_is_believed() {
    let (layer, stripped) = layer_of(by_address());
    for (peer, why_not) in [
        (Some("10.0.0.7"), None),
        (Some("10.255.255.255"), None),
        (Some("fd00::1"), None),
        (Some("192.0.2.7"), None),
        (Some("::ffff:10.0.0.7"), None),
        (Some("11.0.0.7"), Some(UntrustedReason::PeerNotListed)),
        (Some("192.0.2.8"), Some(UntrustedReason::PeerNotListed)),
        (Some("127.0.0.1"), Some(UntrustedReason::PeerNotListed)),
        (Some("::1"), Some(UntrustedReason::PeerNotListed)),
        (None, Some(UntrustedReason::UnknownPeer)),
    ] {
        let answered = send(&layer, request(peer, &[ALICE])).await;
        match why_not {
            None => {
                let seen = answered.unwrap_or_else(|refused| panic!("{peer:?}: {refused}"));
                assert!(seen.context.require_user().is_ok_and(|id| *id == "alice"));
                assert!(
                    seen.context.evidence().is_asserted(),
                    "a header proves nothing"
                );
                assert_eq!(stripped.take(), [], "{peer:?}: nothing to remove");
            }
            Some(why) => {
                let refused = answered.expect_err("an untrusted peer identifies nobody");
                assert!(
                    matches!(refused.kind(), RejectionKind::NotAccepted { .. }),
                    "{refused:?}"
                );
                let expected = ("x-user-id".to_owned(), StripReason::Untrusted(why));
                assert_eq!(stripped.take(), [expected], "{peer:?}: removed and audited");
            }
        }
    }
}

#[tokio::test]
async fn the_peer_is_read_from_each_servers_own_type() {
    let (layer, _) = layer_of(by_address());
    let address: SocketAddr = "10.0.0.7:4711".parse().expect("an address");
    let inserts: &[fn(&mut Extensions, SocketAddr)] = &[
        |extensions, address| {
            extensions.insert(PeerAddr(address));
        },
        |extensions, address| {
            extensions.insert(ConnectInfo(address));
        },
        #[cfg(feature = "tonic")]
        |extensions, address| {
            extensions.insert(tonic::transport::server::TcpConnectInfo {
                local_addr: None,
                remote_addr: Some(address),
            });
        },
    ];
    for (number, insert) in inserts.iter().enumerate() {
        let mut request = request(None, &[ALICE]);
        insert(request.extensions_mut(), address);
        assert!(
            send(&layer, request).await.is_ok(),
            "server number {number}"
        );
    }
}

#[tokio::test]
async fn every_condition_has_to_hold() {
    let secret: (&str, &[u8]) = ("x-proxy-secret", SECRET.as_bytes());
    let wrong: (&str, &[u8]) = ("x-proxy-secret", b"another secret, as long!");
    let on: (&str, &[u8]) = ("x-condition", b"on");
    let all = || {
        by_address()
            .shared_secret("x-proxy-secret", SECRET)
            .only_if(|head| head.headers.contains_key("x-condition"))
    };
    for (peer, headers, why_not) in [
        (PROXY, &[ALICE, secret, on][..], None),
        (
            STRANGER,
            &[ALICE, secret, on],
            Some(UntrustedReason::PeerNotListed),
        ),
        (PROXY, &[ALICE, on], Some(UntrustedReason::SecretMissing)),
        (
            PROXY,
            &[ALICE, secret, secret, on],
            Some(UntrustedReason::SecretMissing),
        ),
        (
            PROXY,
            &[ALICE, wrong, on],
            Some(UntrustedReason::SecretMismatch),
        ),
        (PROXY, &[ALICE, secret], Some(UntrustedReason::Condition)),
    ] {
        let (layer, stripped) = layer_of(all());
        let answered = send(&layer, request(peer, headers)).await;
        assert_eq!(
            answered.is_ok(),
            why_not.is_none(),
            "{headers:?}: {answered:?}"
        );
        let reasons: Vec<_> = stripped
            .take()
            .into_iter()
            .map(|(_, reason)| reason)
            .collect();
        let expected: Vec<_> = why_not.map(StripReason::Untrusted).into_iter().collect();
        assert_eq!(reasons, expected, "{headers:?}");
        if let Ok(seen) = answered {
            assert!(
                !seen.headers.contains_key("x-proxy-secret"),
                "it never reaches a handler"
            );
            assert!(
                seen.headers.contains_key("x-user-id"),
                "what was believed does"
            );
        }
    }
}

#[tokio::test]
async fn with_dangerously_trust_any_peer_every_peer_is_trusted() {
    let (layer, _) = layer_of(TrustedHeader::new("x-user-id").dangerously_trust_any_peer());
    for peer in [None, STRANGER] {
        assert!(
            send(&layer, request(peer, &[ALICE])).await.is_ok(),
            "{peer:?}"
        );
    }
}

#[tokio::test]
async fn b24_a_header_that_was_not_believed_reaches_no_handler_on_any_path() {
    fn bob() -> impl tower_user_scope::strategy::Strategy<Future: Send> + Send + Sync + 'static {
        from_fn(CredentialSource::header("x-key"), |head| {
            match (head.headers.contains_key("x-key"), UserId::try_from("bob")) {
                (true, Ok(bob)) => Identity::proved(bob).into(),
                _ => Outcome::Absent,
            }
        })
    }
    let key: (&str, &[u8]) = ("x-key", b"k");
    macro_rules! path {
        ($name:literal, $($build:tt)*) => {{
            let builder = UserScopeLayer::builder();
            let layer = (builder$($build)*).context_only().build().expect("valid");
            for (peer, what) in [(STRANGER, "untrusted"), (PROXY, "not consulted")] {
                let sent = [("x_user_id", b"eve".as_slice()), ("X.User~Id", b"eve"), ALICE, key];
                let sent = if peer == PROXY && $name.contains("first decides") {
                    &sent[..2]
                } else {
                    &sent[..]
                };
                let sent = [sent, &[key]].concat();
                let answered = send(&layer, request(peer, &sent)).await;
                let seen = answered.unwrap_or_else(|refused| panic!("{}: {refused}", $name));
                let left: Vec<_> = seen
                    .headers
                    .keys()
                    .filter(|name| name.as_str().contains("user"))
                    .collect();
                assert!(left.is_empty(), "{}, {what}: {left:?} got through", $name);
            }
        }};
    }
    path!("an earlier strategy matched", .strategy(bob()).strategy(by_address()));
    path!("it does not apply", .strategy(by_address().when(|_| false)).strategy(bob()));
    path!("boxed", .strategies([bob().boxed(), by_address().boxed()]));
    path!("optional", .strategy(bob()).strategy(by_address().optional()));
    path!("renamed", .strategy(bob()).strategy(by_address().named("gateway")));
    path!("it comes first, and the first decides", .strategy(by_address()).strategy(bob()));
}

#[tokio::test]
async fn b24_look_alikes_are_removed_beside_a_header_that_is_believed() {
    let (layer, stripped) = layer_of(by_address());
    let sent = [
        ALICE,
        ("x_user_id", b"eve".as_slice()),
        ("x.user.id", b"eve"),
        ("x-user-ids", b"7"),
    ];
    let seen = send(&layer, request(PROXY, &sent)).await.expect("believed");
    assert!(seen.context.require_user().is_ok_and(|id| *id == "alice"));
    let left: Vec<_> = seen.headers.keys().map(HeaderName::as_str).collect();
    assert_eq!(
        left,
        ["x-user-id", "x-user-ids"],
        "the look-alikes are gone"
    );
    let removed = stripped.take();
    assert!(
        removed
            .iter()
            .all(|(_, why)| *why == StripReason::LookAlike),
        "{removed:?}"
    );
    assert_eq!(removed.len(), 2, "each is audited");
}

#[tokio::test]
async fn b26_a_header_that_is_not_believed_keeps_the_fallback_from_acting() {
    let layer = UserScopeLayer::builder()
        .strategy(by_address())
        .fallback(Fallback::service("internal"))
        .context_only()
        .build()
        .expect("valid");
    for sent in [&[ALICE][..], &[("x_user_id", b"alice")]] {
        let refused = send(&layer, request(STRANGER, sent))
            .await
            .expect_err("something was sent");
        assert!(
            matches!(refused.kind(), RejectionKind::NotAccepted { .. }),
            "{refused:?}"
        );
    }
    assert!(
        send(&layer, request(STRANGER, &[])).await.is_ok(),
        "nothing was sent"
    );
}

/// The lines of one header, and the user that they name or the error.
type Value<'a> = (&'a [&'a [u8]], Result<&'a str, InvalidErrorKind>);

#[tokio::test]
async fn b23_a_value_is_read_strictly_and_not_repaired() {
    let long = [b'x'; 257];
    let id = |problem| Err(InvalidErrorKind::Id(problem));
    let cases: &[Value<'_>] = &[
        (&[b"alice"], Ok("alice")),
        (&[b" \talice\t "], Ok("alice")),
        (&["j\u{fc}rgen".as_bytes()], Ok("j\u{fc}rgen")),
        (&[b"Alice Doe"], Ok("Alice Doe")),
        (&[b"alice", b"bob"], Err(InvalidErrorKind::Repeated)),
        (&[b"alice", b"alice"], Err(InvalidErrorKind::Repeated)),
        (&[b"alice, bob"], Err(InvalidErrorKind::Repeated)),
        (&[b"alice,"], Err(InvalidErrorKind::Repeated)),
        (&[b"alice\xff"], Err(InvalidErrorKind::NotText)),
        (&[b""], id(IdErrorKind::Empty)),
        (&[b" \t "], id(IdErrorKind::Empty)),
        (&[b"undefined"], id(IdErrorKind::Placeholder)),
        (&[b"[object Object]"], id(IdErrorKind::Placeholder)),
        (&[&long], id(IdErrorKind::TooLong { limit: 256 })),
        (
            &["\u{a0}alice".as_bytes()],
            id(IdErrorKind::SurroundingWhitespace),
        ),
        (
            &["al\u{202e}ice".as_bytes()],
            id(IdErrorKind::ForbiddenCharacter { at: 2 }),
        ),
    ];
    let (layer, _) = layer_of(by_address());
    for name in ["x-user-id", "X-User-Id", "X-USER-ID"] {
        for (values, expected) in cases {
            let headers: Vec<_> = values.iter().map(|value| (name, *value)).collect();
            let answered = send(&layer, request(PROXY, &headers)).await;
            match (answered, expected) {
                (Ok(seen), Ok(user)) => {
                    let id = seen.context.require_user().expect("a user").as_str();
                    assert_eq!(id, *user, "{values:?}");
                }
                (Err(refused), Err(expected)) => match refused.kind() {
                    RejectionKind::Invalid { invalid, .. } => {
                        assert_eq!(invalid.kind(), *expected, "{values:?}");
                    }
                    other => panic!("{values:?}: another reason: {other:?}"),
                },
                (answered, _) => panic!("{values:?}: {answered:?}, not {expected:?}"),
            }
        }
    }
}

#[tokio::test]
async fn b08_a_tenant_header_is_believed_and_removed_with_the_users() {
    let (layer, stripped) = layer_of(by_address().tenant_header("x-tenant-id"));
    let tenant: (&str, &[u8]) = ("x-tenant-id", b"acme");
    let seen = send(&layer, request(PROXY, &[ALICE, tenant]))
        .await
        .expect("believed");
    assert_eq!(seen.context.tenant_id().map(TenantId::as_str), Some("acme"));
    let seen = send(&layer, request(PROXY, &[ALICE]))
        .await
        .expect("believed");
    assert_eq!(seen.context.tenant_id(), None, "a user without a tenant");

    for bad in [
        &[tenant][..],
        &[ALICE, tenant, tenant],
        &[ALICE, ("x-tenant-id", b"null")],
    ] {
        let refused = send(&layer, request(PROXY, bad))
            .await
            .expect_err("ambiguous");
        assert!(
            matches!(refused.kind(), RejectionKind::Invalid { .. }),
            "{bad:?}: {refused:?}"
        );
    }
    let _ = stripped.take();
    assert!(
        send(&layer, request(STRANGER, &[ALICE, tenant]))
            .await
            .is_err()
    );
    let removed: Vec<_> = stripped.take().into_iter().map(|(name, _)| name).collect();
    assert_eq!(removed, ["x-user-id", "x-tenant-id"], "both are removed");
}

#[tokio::test]
async fn ids_are_checked_by_the_rules_that_the_application_states() {
    let rules = IdRules::new().placeholders(["guest"]).max_len(5);
    let (layer, _) = layer_of(by_address().id_rules(rules));
    for (value, good) in [
        ("alice", true),
        ("null", true),
        ("guest", false),
        ("alice2", false),
    ] {
        let answered = send(&layer, request(PROXY, &[("x-user-id", value.as_bytes())])).await;
        assert_eq!(answered.is_ok(), good, "{value}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn whatever_is_sent_identifies_its_exact_text_from_the_proxy_and_nobody_from_elsewhere(
        bytes in prop_oneof![any::<Vec<u8>>(), "[ -~\t]{0,24}".prop_map(String::into_bytes)],
    ) {
        let Ok(value) = HeaderValue::from_bytes(&bytes) else { return Ok(()) };
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let (layer, _) = layer_of(by_address());
        let headers = [("x-user-id", value.as_bytes())];
        let stranger = runtime.block_on(send(&layer, request(STRANGER, &headers)));
        prop_assert!(stranger.is_err());
        if let Ok(seen) = runtime.block_on(send(&layer, request(PROXY, &headers))) {
            let text = String::from_utf8(bytes).expect("what identifies is text");
            let id = seen.context.require_user().expect("a user").as_str();
            prop_assert_eq!(id, text.trim_matches([' ', '\t']));
            prop_assert!(!id.contains(','));
        }
    }
}

#[tokio::test]
async fn a_secret_can_be_changed_while_proxies_still_send_the_old_one() {
    const NEW: &str = "a newer secret, and a longer one";
    let (layer, stripped) =
        layer_of(TrustedHeader::new("x-user-id").shared_secrets("x-proxy-secret", [NEW, SECRET]));
    let cut = &NEW.as_bytes()[..SECRET.len()];
    let long = [NEW.as_bytes(), &[b'x'; 8_000]].concat();
    for (secret, is_believed) in [
        (NEW.as_bytes(), true),
        (SECRET.as_bytes(), true),
        (cut, false),
        (long.as_slice(), false),
        (b"", false),
        (b"another secret of enough bytes", false),
    ] {
        let sent = [ALICE, ("x-proxy-secret", secret)];
        let answered = send(&layer, request(None, &sent)).await;
        let removed = stripped.take();
        assert_eq!(answered.is_ok(), is_believed, "{secret:?}: {answered:?}");
        if let Ok(seen) = answered {
            assert_eq!(removed, [], "a good request reports nothing");
            assert!(!seen.headers.contains_key("x-proxy-secret"));
        } else {
            let why = StripReason::Untrusted(UntrustedReason::SecretMismatch);
            assert_eq!(removed, [("x-user-id".to_owned(), why)], "{secret:?}");
        }
    }
}

#[tokio::test]
async fn a_trailer_that_is_announced_under_an_identity_headers_name_is_refused() {
    fn everybody() -> impl tower_user_scope::strategy::Strategy<Future: Send> + Send + Sync + 'static
    {
        from_fn(CredentialSource::predicate(|_| true), |_| {
            Identity::proved(UserId::try_from("bob").expect("an id")).into()
        })
    }
    type Builders = [(
        &'static str,
        fn() -> Vec<tower_user_scope::strategy::BoxStrategy>,
    ); 4];
    let header = || {
        by_address()
            .tenant_header("x-tenant-id")
            .shared_secret("x-proxy-secret", SECRET)
    };
    let lists: Builders = [
        ("alone", || vec![by_address().boxed()]),
        ("after somebody was found", || {
            vec![everybody().boxed(), by_address().boxed()]
        }),
        ("optional", || {
            vec![everybody().boxed(), by_address().optional().boxed()]
        }),
        ("where it does not apply", || {
            vec![everybody().boxed(), by_address().when(|_| false).boxed()]
        }),
    ];
    for (name, list) in lists {
        let layer = UserScopeLayer::builder()
            .strategies(list())
            .fallback(Fallback::anonymous())
            .context_only()
            .build()
            .expect("valid");
        for announced in ["x-user-id", "X-User-ID", "a, x_user_id ,b", "x.user-id"] {
            for peer in [PROXY, STRANGER, None] {
                let sent = [("trailer", announced.as_bytes())];
                let refused = send(&layer, request(peer, &sent)).await;
                let refused = refused.expect_err("whoever announces it");
                assert_eq!(refused.status(), 400, "{name}: {announced}");
                assert!(
                    matches!(refused.kind(), RejectionKind::Invalid { strategy: "trusted_header", invalid, .. }
                        if invalid.kind() == InvalidErrorKind::Trailer),
                    "{name}: {announced}: {refused:?}"
                );
            }
        }
        for other in ["x-checksum", "x-user-ids", "", ",,"] {
            let sent = [("trailer", other.as_bytes())];
            let answered = send(&layer, request(STRANGER, &sent)).await;
            assert!(answered.is_ok(), "{name}: {other:?}");
        }
    }
    let (layer, _) = layer_of(header());
    for announced in ["x-tenant-id", "x-proxy-secret"] {
        let sent = [ALICE, ("trailer", announced.as_bytes())];
        let refused = send(&layer, request(PROXY, &sent)).await;
        assert_eq!(refused.expect_err(announced).status(), 400, "{announced}");
    }
}

#[tokio::test]
async fn a_body_without_trailers_ends_before_them_and_hands_on_the_rest() {
    use http_body::Body as _;
    use http_body_util::{BodyExt, Full};

    let trailers = || {
        let alice = HeaderValue::from_static("alice");
        HeaderMap::from_iter([(HeaderName::from_static("x-user-id"), alice)])
    };
    let with = Full::new(bytes::Bytes::from_static(b"data"))
        .with_trailers(async move { Some(Ok(trailers())) });
    let mut body = Box::pin(WithoutTrailers::new(with));
    assert!(!body.is_end_stream());
    let data = body.frame().await.expect("a frame").expect("infallible");
    assert_eq!(data.into_data().expect("data"), "data");
    assert!(body.frame().await.is_none(), "in the place of trailers");
    assert!(body.is_end_stream());
    assert_eq!(body.size_hint().exact(), Some(0));
    assert!(body.frame().await.is_none(), "and nothing after");

    let without = WithoutTrailers::new(Full::new(bytes::Bytes::from_static(b"data")));
    assert_eq!(without.size_hint().exact(), Some(4));
    let collected = without.collect().await.expect("infallible");
    assert_eq!(collected.to_bytes(), "data");
}

/// A body ends with its trailers, an error or `None`, even if a wrong implementation goes on.
#[tokio::test]
async fn a_body_without_trailers_is_not_polled_after_its_end() {
    use std::{
        pin::Pin,
        task::{Context, Poll},
    };

    use bytes::Bytes;
    use http_body::{Body, Frame};
    use http_body_util::BodyExt as _;

    struct GoesOn(std::vec::IntoIter<Option<Result<Frame<Bytes>, &'static str>>>);

    impl Body for GoesOn {
        type Data = Bytes;
        type Error = &'static str;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
            Poll::Ready(self.0.next().expect("polled after its end"))
        }
    }

    let data = || Some(Ok(Frame::data(Bytes::from_static(b"data"))));
    for (end, is_error) in [
        (Some(Ok(Frame::trailers(HeaderMap::new()))), false),
        (Some(Err("broken")), true),
        (None, false),
    ] {
        let frames = vec![data(), data(), end];
        let mut body = WithoutTrailers::new(GoesOn(frames.into_iter()));
        for _ in 0..2 {
            assert!(matches!(body.frame().await, Some(Ok(frame)) if frame.is_data()));
            assert!(!body.is_end_stream());
        }
        if is_error {
            assert!(matches!(body.frame().await, Some(Err("broken"))));
        } else {
            assert!(body.frame().await.is_none());
        }
        assert!(body.is_end_stream());
        assert_eq!(body.size_hint().exact(), Some(0));
        assert!(body.frame().await.is_none(), "and nothing after");
    }
}

/// The code that responds to a request with bad trailers must not see the header either.
#[tokio::test]
async fn a_refusal_for_an_announced_trailer_is_made_without_the_identity_header() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let names = Arc::clone(&seen);
    let layer = UserScopeLayer::builder()
        .strategy(by_address())
        .rejection_response(move |rejection: &Rejection, head: &http::request::Parts| {
            let mut names = names.lock().unwrap_or_else(PoisonError::into_inner);
            names.extend(head.headers.keys().map(ToString::to_string));
            let mut response = Response::new(bytes::Bytes::new());
            *response.status_mut() = rejection.status();
            response
        })
        .context_only()
        .build()
        .expect("valid");
    for peer in [None, STRANGER] {
        let sent = [ALICE, ("x_user_id", b"bob"), ("trailer", b"x-user-id")];
        let refused = send(&layer, request(peer, &sent)).await;
        assert_eq!(refused.expect_err("announced").status(), 400, "{peer:?}");
    }
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(*seen, ["trailer", "trailer"]);
}

#[tokio::test]
async fn only_the_header_of_an_untrusted_peer_says_which_peers_are_trusted() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = Arc::clone(&told);
    let layer = UserScopeLayer::builder()
        .strategy(by_address())
        .observer(move |event: &AuditEvent<'_>| {
            if let AuditEvent::HeaderStripped { header, wanted, .. } = event {
                let mut told = tell.lock().unwrap_or_else(PoisonError::into_inner);
                told.push((header.to_string(), wanted.is_some()));
            }
        })
        .context_only()
        .build()
        .expect("valid");
    let sent = [ALICE, ("x_user_id", b"bob")];
    assert!(send(&layer, request(STRANGER, &sent)).await.is_err());
    let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
    told.sort();
    let expected = [
        ("x-user-id".to_owned(), true),
        ("x_user_id".to_owned(), false),
    ];
    assert_eq!(*told, expected);
}
