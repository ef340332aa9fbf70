//! Everything that is accepted, refused or removed is an event with a typed reason, and no
//! event, log line or `Debug` holds a credential.

use std::{
    cell::RefCell,
    convert::Infallible,
    io::Write,
    sync::{Arc, Mutex, Once, PoisonError},
};

use http::{HeaderValue, Request, Response};
use tower::{ServiceExt, service_fn};
use tower_layer::Layer;
use tower_user_scope::{
    AuditEvent, DevelopmentUser, ExistingContext, Fallback, FromExtension, Identity, Invalid,
    InvalidReason, Outcome, PeerAddr, Reads, Reason, Strategy, StripReason, TrustedHeader,
    Unavailable, Untrusted, UserContext, UserId, UserIdTelemetry, UserScopeLayer, Verdict, from_fn,
};
#[cfg(feature = "hashed-user-ids")]
use tower_user_scope::{ConfigError, UserIdKey};

const SECRET: &str = "canary-of-the-proxys-secret";
const KEY: &str = "canary-of-somebodys-key";

/// Events by their typed parts, in order.
#[derive(Clone, Default)]
struct Events(Arc<Mutex<Vec<String>>>);

impl Events {
    fn observe(&self) -> impl Fn(&AuditEvent<'_>) + Send + Sync + 'static {
        let events = self.clone();
        move |event| {
            let line = match event {
                AuditEvent::Consulted {
                    strategy, verdict, ..
                } => match verdict {
                    Verdict::Absent => format!("{strategy}: absent"),
                    other => format!("{strategy}: {}", other.as_str()),
                },
                AuditEvent::Accepted { context, .. } => format!(
                    "accepted {:?} by {} ({})",
                    context.user_id().map(UserId::as_str),
                    context.strategy(),
                    context.evidence().as_str()
                ),
                AuditEvent::Refused { rejection, .. } => match rejection.reason() {
                    Reason::Nobody => "refused: nobody".to_owned(),
                    Reason::NotBelieved { strategy, .. } => {
                        format!("refused: disbelief {strategy}")
                    }
                    Reason::Invalid { invalid, .. } => format!("refused: {:?}", invalid.reason()),
                    Reason::Conflict { first, second, .. } => format!("refused: {first}/{second}"),
                    Reason::Unavailable { strategy, .. } => format!("refused: {strategy} down"),
                    other => format!("refused: {other:?}"),
                },
                AuditEvent::HeaderStripped {
                    strategy,
                    header,
                    reason,
                    peer,
                    ..
                } => {
                    format!("{strategy} stripped {header} ({reason:?}) of {peer:?}")
                }
                AuditEvent::CredentialPassedOver {
                    strategy, invalid, ..
                } => {
                    format!("{strategy} passed over {:?}", invalid.reason())
                }
                AuditEvent::Conflict { first, second, .. } => format!("conflict {first}/{second}"),
                AuditEvent::ScopeClosed { ending, .. } => format!("closed {ending:?}"),
                other => format!("{other:?}"),
            };
            let mut lines = events.0.lock().unwrap_or_else(PoisonError::into_inner);
            lines.push(line);
        }
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

thread_local! {
    /// What `tracing` wrote on this thread, which is a test's own.
    static WRITTEN: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

struct ToThisThread;

impl Write for ToThisThread {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        WRITTEN.with_borrow_mut(|written| written.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Everything is written from here on, down to the finest level. Each test of this file begins
/// with it: a line that is passed before there is a subscriber may be thought off for good.
fn capture() {
    static SUBSCRIBER: Once = Once::new();
    SUBSCRIBER.call_once(|| {
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_span_events(tracing_subscriber::fmt::format::FmtSpan::NEW)
            .with_writer(|| ToThisThread)
            .init();
    });
    WRITTEN.take();
}

fn written() -> String {
    String::from_utf8_lossy(&WRITTEN.take()).into_owned()
}

fn key() -> impl Strategy + std::fmt::Debug {
    from_fn(Reads::header("x-api-key"), |head| {
        let who = |name: &str| match UserId::try_from(name) {
            Ok(id) => Identity::proved(id).into(),
            Err(error) => Outcome::Invalid(error.into()),
        };
        match head.headers.get("x-api-key").map(HeaderValue::as_bytes) {
            None => Outcome::Absent,
            Some(b"alices") => who("alice"),
            Some(b"bobs") => who("bob"),
            Some(b"down") => {
                Unavailable::new(std::io::Error::other("the store's own words")).into()
            }
            Some(_) => Invalid::new(InvalidReason::Rejected("unknown")).into(),
        }
    })
}

fn header() -> TrustedHeader<tower_user_scope::strategy::Trusting> {
    TrustedHeader::new("x-user-id")
        .from_proxies(["10.0.0.0/8"])
        .expect("a network")
        .shared_secret("x-proxy-secret", SECRET)
}

fn request(peer: [u8; 4], headers: &[(&'static str, &'static str)]) -> Request<()> {
    let mut request = Request::new(());
    for (name, value) in headers {
        let value = HeaderValue::from_static(value);
        request.headers_mut().append(*name, value);
    }
    let peer = PeerAddr((peer, 4711).into());
    request.extensions_mut().insert(peer);
    request
}

async fn send<L, S>(layer: &L, request: Request<()>)
where
    L: Layer<tower::util::ServiceFn<fn(Request<()>) -> Answer>, Service = S>,
    S: tower::Service<Request<()>, Error = Infallible>,
{
    fn answer(_: Request<()>) -> Answer {
        tracing::info!("the handler's own line");
        std::future::ready(Ok(Response::new(())))
    }
    let inner = service_fn(answer as fn(Request<()>) -> Answer);
    layer
        .layer(inner)
        .oneshot(request)
        .await
        .expect("infallible");
}

type Answer = std::future::Ready<Result<Response<()>, Infallible>>;

const PROXY: [u8; 4] = [10, 0, 0, 7];
const STRANGER: [u8; 4] = [203, 0, 113, 9];
const TRUSTED: (&str, &str) = ("x-proxy-secret", SECRET);

#[tokio::test]
async fn each_thing_that_happens_is_an_event_with_a_typed_reason() {
    capture();
    let events = Events::default();
    let layer = UserScopeLayer::builder()
        .strategy(header())
        .strategy(key().optional().named("key"))
        .unanimous()
        .observer(events.observe())
        .context_only()
        .build()
        .expect("a valid configuration");
    let stranger = "Some(203.0.113.9)";
    let cases: Vec<(Request<()>, Vec<String>)> = vec![
        (
            request(PROXY, &[("x-user-id", "alice"), TRUSTED]),
            vec![
                "trusted_header: found".into(),
                "key: absent".into(),
                "accepted Some(\"alice\") by trusted_header (asserted)".into(),
                "closed Cancelled".into(),
            ],
        ),
        (
            request(STRANGER, &[("x-user-id", "alice"), ("x_user_id", "alice")]),
            vec![
                "trusted_header: absent".into(),
                "key: absent".into(),
                format!(
                    "trusted_header stripped x-user-id ({:?}) of {stranger}",
                    StripReason::Untrusted(Untrusted::PeerNotListed)
                ),
                format!("trusted_header stripped x_user_id (LookAlike) of {stranger}"),
                "refused: disbelief trusted_header".into(),
            ],
        ),
        (
            request(
                PROXY,
                &[("x-user-id", "alice"), TRUSTED, ("x-api-key", "bobs")],
            ),
            vec![
                "trusted_header: found".into(),
                "key: found".into(),
                "conflict trusted_header/key".into(),
                "trusted_header stripped x-user-id (NotBelieved) of Some(10.0.0.7)".into(),
                "refused: trusted_header/key".into(),
            ],
        ),
        (
            request(STRANGER, &[("x-api-key", KEY)]),
            vec![
                "trusted_header: absent".into(),
                "key: invalid".into(),
                "key passed over Rejected(\"unknown\")".into(),
                "refused: nobody".into(),
            ],
        ),
        (
            request(STRANGER, &[("x-api-key", "down")]),
            vec![
                "trusted_header: absent".into(),
                "key: unavailable".into(),
                "refused: key down".into(),
            ],
        ),
    ];
    for (request, expected) in cases {
        let headers = format!("{:?}", request.headers());
        send(&layer, request).await;
        assert_eq!(events.take(), expected, "for {headers}");
    }
}

#[tokio::test]
async fn a_development_user_and_a_fallback_are_marked_in_every_event() {
    capture();
    let events = Events::default();
    let layer = UserScopeLayer::builder()
        .strategy(DevelopmentUser::new("dev"))
        .fallback(Fallback::anonymous())
        .observer(events.observe())
        .context_only()
        .build()
        .expect("a valid configuration");
    send(&layer, request([127, 0, 0, 1], &[])).await;
    send(&layer, request(STRANGER, &[])).await;
    let accepted: Vec<_> = events
        .take()
        .into_iter()
        .filter(|line| line.starts_with("acc"))
        .collect();
    assert_eq!(
        accepted,
        [
            "accepted Some(\"dev\") by development_user (development)",
            "accepted None by anonymous_fallback (fallback)",
        ]
    );
}

#[tokio::test]
async fn b32_no_log_line_and_no_debug_output_holds_a_credential() {
    capture();
    let builder = UserScopeLayer::builder()
        .strategy(header())
        .strategy(key())
        .strategy(FromExtension::<String>::new(|id| id.parse()))
        .strategy(ExistingContext::new())
        .context_only();
    let configured = format!("{builder:?}");
    let layer = builder.build().expect("a valid configuration");
    let built = format!("{layer:?}");
    for headers in [
        &[("x-user-id", "alice"), TRUSTED][..],
        &[("x-user-id", "alice"), ("x-proxy-secret", KEY)],
        &[("x-user-id", KEY)],
        &[("x-api-key", KEY)],
        &[("x-api-key", "alices"), TRUSTED],
    ] {
        send(&layer, request(PROXY, headers)).await;
    }
    let seen = [configured, built, written()].concat();
    assert!(seen.contains("request refused"), "the log was captured");
    assert!(!seen.contains("canary"), "a credential got out: {seen}");
}

#[tokio::test]
async fn user_ids_are_in_the_log_only_where_the_application_says_so() {
    for (how, shown) in [
        (UserIdTelemetry::Omitted, false),
        (UserIdTelemetry::Plain, true),
    ] {
        capture();
        let layer = UserScopeLayer::builder()
            .strategy(key())
            .user_ids_in_telemetry(how.clone())
            .context_only()
            .build()
            .expect("a valid configuration");
        send(&layer, request(STRANGER, &[("x-api-key", "alices")])).await;
        let text = written();
        assert_eq!(text.contains("user.id=\"alice\""), shown, "{how:?}: {text}");
    }
}

/// The hash is what `printf alice | openssl dgst -sha256 -mac HMAC -macopt hexkey:KEY` says, where
/// the key is that of RFC 4231's fourth test case, `0102030405..19`.
#[cfg(feature = "hashed-user-ids")]
#[tokio::test]
async fn user_ids_are_in_the_log_as_a_keyed_hash_where_the_application_says_so() {
    let secret: Vec<u8> = (1..=25).collect();
    let id = UserIdKey::new(&secret);
    capture();
    let layer = UserScopeLayer::builder()
        .strategy(key())
        .user_ids_in_telemetry(UserIdTelemetry::Hashed(id.clone()))
        .context_only()
        .build()
        .expect("a valid configuration");
    send(&layer, request(STRANGER, &[("x-api-key", "alices")])).await;
    let text = written();
    let accepted = text.lines().filter(|line| line.contains("user.id="));
    assert!(accepted.clone().count() > 0, "nobody is named: {text}");
    for line in accepted {
        assert!(
            line.contains("user.id=\"d6df281669f12d9f53962ac9f27c5f99\""),
            "{line}"
        );
    }
    assert_eq!(format!("{id:?}"), "UserIdKey(..)");
}

#[cfg(feature = "hashed-user-ids")]
#[test]
fn a_key_for_user_ids_that_can_be_guessed_is_an_error_of_build() {
    for (len, good) in [(0, false), (15, false), (16, true)] {
        let built = UserScopeLayer::builder()
            .strategy(key())
            .user_ids_in_telemetry(UserIdTelemetry::Hashed(UserIdKey::new(vec![7; len])))
            .context_only()
            .build();
        let weak = ConfigError::WeakSecret { len, min: 16 };
        assert_eq!(built.err(), (!good).then_some(weak), "{len} bytes");
    }
}

#[tokio::test]
async fn b32_the_handlers_lines_stand_in_their_users_span() {
    capture();
    let layer = UserScopeLayer::builder()
        .strategy(key().named("key"))
        .user_ids_in_telemetry(UserIdTelemetry::Plain)
        .context_only()
        .build()
        .expect("a valid configuration");
    for key in ["alices", "bobs"] {
        let headers = [
            ("x-api-key", key),
            ("x-request-id", "q-1"),
            ("x-thread-id", "t-1"),
        ];
        send(&layer, request(STRANGER, &headers)).await;
    }
    let text = written();
    let lines: Vec<_> = text
        .lines()
        .filter(|line| line.contains("own line"))
        .collect();
    assert_eq!(lines.len(), 2, "{text}");
    for (line, user) in lines.iter().zip(["alice", "bob"]) {
        for field in [
            format!("user.id=\"{user}\""),
            "user_scope.strategy=\"key\"".to_owned(),
            "user_scope.evidence=\"proved\"".to_owned(),
            "request_id=\"q-1\"".to_owned(),
            "thread_id=\"t-1\"".to_owned(),
        ] {
            assert!(line.contains(&field), "{field} is in: {line}");
        }
    }
}

#[tokio::test]
async fn a_refusal_says_in_the_log_what_the_response_does_not() {
    capture();
    let layer = UserScopeLayer::builder()
        .strategy(key().named("key"))
        .context_only()
        .build()
        .expect("a valid configuration");
    send(&layer, request(STRANGER, &[])).await;
    send(&layer, request(STRANGER, &[("x-api-key", "down")])).await;
    let text = written();
    for (part, why) in [
        ("tower_user_scope::audit", "the target of audit events"),
        ("DevelopmentUser", "what to add on a developer's machine"),
        ("the store's own words", "the root cause of what is down"),
        ("peer=203.0.113.9", "who sent it"),
        ("status=503", "what was answered"),
    ] {
        assert!(text.contains(part), "{why}: {text}");
    }
}

#[tokio::test]
async fn a_context_is_handed_to_the_observer_whatever_telemetry_shows() {
    capture();
    let seen: Arc<Mutex<Option<UserContext>>> = Arc::default();
    let kept = seen.clone();
    let layer = UserScopeLayer::builder()
        .strategy(key())
        .observer(move |event: &AuditEvent<'_>| {
            if let AuditEvent::Accepted { context, .. } = event {
                *kept.lock().unwrap_or_else(PoisonError::into_inner) = Some((*context).clone());
            }
        })
        .context_only()
        .build()
        .expect("a valid configuration");
    send(&layer, request(STRANGER, &[("x-api-key", "alices")])).await;
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner).take();
    assert!(seen.is_some_and(|context| context.require_user().is_ok_and(|id| *id == "alice")));
}

#[test]
fn a_development_user_warns_when_the_layer_is_built() {
    capture();
    let built = UserScopeLayer::builder()
        .strategy(DevelopmentUser::new("dev"))
        .context_only()
        .build();
    assert!(built.is_ok());
    let text = written();
    assert!(
        text.contains("WARN") && text.contains("DevelopmentUser is on"),
        "{text}"
    );
}
