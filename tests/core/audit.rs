//! Each request or header that is accepted, refused or removed is an event with a typed reason. No
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
#[cfg(feature = "telemetry")]
use tower_user_scope::{ConfigError, audit::UserIdKey};
use tower_user_scope::{
    CredentialSource, DevelopmentUser, ExistingContext, Fallback, FromExtension, Identity,
    InvalidError, Outcome, PeerAddr, TrustedHeader, UnavailableError, UserContext, UserId,
    UserScopeLayer,
    audit::{AuditEvent, UserIdTelemetry},
    context::CorrelationSources,
    from_fn,
    rejection::RejectionKind,
    strategy::{InvalidErrorKind, Strategy, StripReason, UntrustedReason, Verdict},
    testing::Recorder,
};

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
                AuditEvent::Refused { rejection, .. } => match rejection.kind() {
                    RejectionKind::NoCredential => "refused: nobody".to_owned(),
                    RejectionKind::NotAccepted { strategy, .. } => {
                        format!("refused: disbelief {strategy}")
                    }
                    RejectionKind::Invalid { invalid, .. } => {
                        format!("refused: {:?}", invalid.kind())
                    }
                    RejectionKind::Conflict { first, second, .. } => {
                        format!("refused: {first}/{second}")
                    }
                    RejectionKind::Unavailable { strategy, .. } => {
                        format!("refused: {strategy} down")
                    }
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
                AuditEvent::InvalidCredentialIgnored {
                    strategy, invalid, ..
                } => {
                    format!("{strategy} ignored {:?}", invalid.kind())
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
    /// What `tracing` wrote on this thread. Each test has its own thread.
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

/// Captures all log lines from here on, at every level. Each test that reads the log starts
/// with this.
pub(crate) fn capture() {
    static SUBSCRIBER: Once = Once::new();
    SUBSCRIBER.call_once(|| {
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_span_events(tracing_subscriber::fmt::format::FmtSpan::NEW)
            .with_writer(|| ToThisThread)
            .init();
        // Another test may have reached a line before there was a subscriber, which disabled the line.
        tracing::callsite::rebuild_interest_cache();
    });
    WRITTEN.take();
}

pub(crate) fn written() -> String {
    String::from_utf8_lossy(&WRITTEN.take()).into_owned()
}

fn key() -> impl Strategy + std::fmt::Debug {
    from_fn(CredentialSource::header("x-api-key"), |head| {
        let who = |name: &str| match UserId::try_from(name) {
            Ok(id) => Identity::proved(id).into(),
            Err(error) => Outcome::Invalid(error.into()),
        };
        match head.headers.get("x-api-key").map(HeaderValue::as_bytes) {
            None => Outcome::Absent,
            Some(b"alices") => who("alice"),
            Some(b"bobs") => who("bob"),
            Some(b"down") => {
                UnavailableError::new(std::io::Error::other("the store's own words")).into()
            }
            Some(_) => InvalidError::new(InvalidErrorKind::Rejected("unknown")).into(),
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
async fn each_decision_is_an_event_with_a_typed_reason() {
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
                    StripReason::Untrusted(UntrustedReason::PeerNotListed)
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
                "trusted_header stripped x-user-id (Unused) of Some(10.0.0.7)".into(),
                "refused: trusted_header/key".into(),
            ],
        ),
        (
            request(STRANGER, &[("x-api-key", KEY)]),
            vec![
                "trusted_header: absent".into(),
                "key: invalid".into(),
                "key ignored Rejected(\"unknown\")".into(),
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
async fn each_event_is_one_line_without_a_users_id_or_a_credential() {
    let recorder = Recorder::new();
    let odd = from_fn(CredentialSource::header("x-odd"), |head| {
        match head.headers.get("x-odd") {
            None => Outcome::Absent,
            Some(_) => InvalidError::new(InvalidErrorKind::Rejected("odd"))
                .with_source(std::io::Error::other("two\nlines\u{1b}[31m"))
                .into(),
        }
    });
    let layer = UserScopeLayer::builder()
        .strategy(header())
        .strategy(key().optional().named("key"))
        .strategy(odd.named("odd"))
        .unanimous()
        .observer(recorder.clone())
        .context_only()
        .build()
        .expect("a valid configuration");
    let asked = [
        "trusted_header: absent",
        "key: absent",
        "odd: absent",
        "key: invalid",
        "odd: invalid",
        "trusted_header: found",
        "key: found",
    ];
    for (peer, headers, expected) in [
        (
            PROXY,
            &[("x-user-id", "alice"), TRUSTED, ("x-request-id", "r-1")][..],
            &[
                "request r-1 accepted: a user, asserted by trusted_header",
                "request r-1: scope cancelled with 200 OK after",
            ][..],
        ),
        (
            STRANGER,
            &[("x-user-id", "alice"), ("x-request-id", "r-1")],
            &[
                "trusted_header: removes x-user-id, peer_not_listed: the peer is 203.0.113.9, \
                 wanted is 10.0.0.0/8",
                "request r-1, GET / refused with 401 Unauthorized: a credential was sent that \
                 strategy `trusted_header` does not accept, from 203.0.113.9",
            ],
        ),
        (
            STRANGER,
            &[("x-api-key", KEY)],
            &[
                "key: ignored, because its credential was rejected: unknown",
                "GET / refused with 401 Unauthorized: no credential was found, from 203.0.113.9",
            ],
        ),
        (
            PROXY,
            &[("x-user-id", "alice"), TRUSTED, ("x-api-key", "bobs")],
            &[
                "trusted_header and key: found different principals",
                "trusted_header: removes x-user-id, unused",
                "GET / refused with 401 Unauthorized: strategies `trusted_header` and `key` found \
                 different principals, from 10.0.0.7",
            ],
        ),
        (
            STRANGER,
            &[("x-odd", "1")],
            &[
                "GET / refused with 401 Unauthorized: the credential of strategy `odd` was \
               rejected: odd: two\\nlines\\u{1b}[31m, from 203.0.113.9",
            ],
        ),
    ] {
        send(&layer, request(peer, headers)).await;
        let lines: Vec<_> = recorder.take().iter().map(ToString::to_string).collect();
        for line in &lines {
            for word in ["alice", "canary", "\n"] {
                assert!(!line.contains(word), "{line}");
            }
        }
        let told: Vec<_> = lines
            .iter()
            .filter(|line| !asked.contains(&line.as_str()))
            .collect();
        assert_eq!(told.len(), expected.len(), "{told:#?}");
        for (line, expected) in told.into_iter().zip(expected) {
            // The time that a scope was open differs in each run.
            let line = line.rsplit_once(" after ").map_or(line.as_str(), |_| {
                line.split_inclusive(" after").next().unwrap_or_default()
            });
            assert_eq!(line, *expected);
        }
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

/// The hash is the output of `printf alice | openssl dgst -sha256 -mac HMAC -macopt hexkey:KEY`, where
/// the key is the one of RFC 4231's fourth test case, `0102030405..19`.
#[cfg(feature = "telemetry")]
#[tokio::test]
async fn user_ids_are_in_the_log_as_a_keyed_hash_where_the_application_says_so() {
    let secret: Vec<u8> = (1..=25).collect();
    let id = UserIdKey::new(&secret);
    capture();
    let layer = UserScopeLayer::builder()
        .strategy(key())
        .user_ids_in_telemetry(UserIdTelemetry::Hashed(id.clone()))
        .authorize(|_, head| match head.uri.path() {
            "/admin" => {
                Err(tower_user_scope::authorize::ForbiddenError::new("not_an_admin").into())
            }
            _ => Ok(()),
        })
        .context_only()
        .build()
        .expect("a valid configuration");
    send(&layer, request(STRANGER, &[("x-api-key", "alices")])).await;
    let mut forbidden = request(STRANGER, &[("x-api-key", "alices")]);
    *forbidden.uri_mut() = http::Uri::from_static("/admin");
    send(&layer, forbidden).await;
    let text = written();
    for event in ["user_scope{", "request accepted", "request refused"] {
        let mut lines = text.lines().filter(|line| line.contains(event));
        assert!(
            lines.any(|line| line.contains("user.hash=")),
            "{event} names nobody: {text}"
        );
    }
    for line in text.lines().filter(|line| line.contains("user.")) {
        assert!(
            line.contains("user.hash=\"d6df281669f12d9f53962ac9f27c5f99\""),
            "{line}"
        );
        assert!(!line.contains("user.id="), "no hash is an id: {line}");
    }
    assert_eq!(format!("{id:?}"), "UserIdKey(..)");
}

#[cfg(feature = "telemetry")]
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
                *kept.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some(context.clone().into_owned());
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

/// The user of a refused request, its id, and its method and path.
#[derive(Debug, Default, PartialEq, Eq)]
struct WhoWasRefused {
    user: Option<String>,
    request_id: Option<String>,
    asked: String,
    peer: Option<std::net::IpAddr>,
}

#[tokio::test]
async fn a_refusal_says_who_asked_what_in_which_request_from_where() {
    let stranger = || Some([203, 0, 113, 9].into());
    for (what, sent, headers, user, request_id, asked) in [
        (
            "forbidden",
            "/admin/users?token=canary",
            &[("x-api-key", "alices"), ("x-request-id", "q-1")][..],
            Some("alice"),
            Some("q-1"),
            "GET /admin/users",
        ),
        (
            "nobody",
            "/admin",
            &[("x-request-id", "q-2")],
            None,
            Some("q-2"),
            "GET /admin",
        ),
        (
            "nobody, in a trace",
            "/",
            &[(
                "traceparent",
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            )],
            None,
            Some("4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"),
            "GET /",
        ),
        ("nobody, with no id", "/", &[], None, None, "GET /"),
        (
            "nobody, with two ids",
            "/",
            &[("x-request-id", "q-3"), ("x-request-id", "q-4")],
            None,
            None,
            "GET /",
        ),
        (
            "a request id that is none",
            "/",
            &[("x-api-key", "alices"), ("x-request-id", "q 5")],
            Some("alice"),
            None,
            "GET /",
        ),
        (
            "a thread id that is none",
            "/",
            &[
                ("x-api-key", "alices"),
                ("x-request-id", "q-6"),
                ("x-thread-id", "t 6"),
            ],
            Some("alice"),
            Some("q-6"),
            "GET /",
        ),
        (
            "a factory that fails",
            "/none",
            &[("x-api-key", "bobs"), ("x-request-id", "q-7")],
            Some("bob"),
            Some("q-7"),
            "GET /none",
        ),
    ] {
        capture();
        let seen: Arc<Mutex<Vec<WhoWasRefused>>> = Arc::default();
        let kept = seen.clone();
        let layer = UserScopeLayer::builder()
            .strategy(key())
            .user_ids_in_telemetry(UserIdTelemetry::Plain)
            .authorize(|_, head| {
                if head.uri.path().starts_with("/admin") {
                    return Err(
                        tower_user_scope::authorize::ForbiddenError::new("not_an_admin").into(),
                    );
                }
                Ok(())
            })
            .try_factory(|_| Err::<(), _>("none"))
            .observer(move |event: &AuditEvent<'_>| {
                if let AuditEvent::Refused {
                    subject,
                    request_id,
                    method: Some(method),
                    path: Some(path),
                    peer,
                    ..
                } = event
                {
                    let who = WhoWasRefused {
                        user: subject
                            .as_ref()
                            .map(|subject| format!("{:?}", subject.principal())),
                        request_id: request_id.as_ref().map(ToString::to_string),
                        asked: format!("{method} {path}"),
                        peer: *peer,
                    };
                    kept.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(who);
                }
            })
            .build()
            .expect("a valid configuration");
        let mut request = request(STRANGER, headers);
        *request.uri_mut() = sent.parse().expect("a path");
        send(&layer, request).await;
        let expected = WhoWasRefused {
            user: user.map(|user| {
                let id = UserId::try_from(user).expect("an id");
                format!("{:?}", tower_user_scope::Principal::User(id))
            }),
            request_id: request_id.map(str::to_owned),
            asked: asked.to_owned(),
            peer: stranger(),
        };
        let seen = std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner));
        assert_eq!(seen, [expected], "{what}");

        let text = written();
        let line = text.lines().find(|line| line.contains("request refused"));
        let line = line.expect("it is logged");
        let (method, path) = asked.split_once(' ').expect("two words");
        for (field, value) in [
            ("user.id=", user.map(|user| format!("{user:?} "))),
            ("request_id=", request_id.map(|id| format!("{id} "))),
            ("method=", Some(format!("{method:?} "))),
            ("path=", Some(format!("{path:?} "))),
            ("peer=", Some("203.0.113.9".to_owned())),
        ] {
            match value {
                Some(value) => assert!(
                    line.contains(&(field.to_owned() + &value)),
                    "{what}: {line}"
                ),
                None => assert!(!line.contains(field), "{what}: {line}"),
            }
        }
        assert!(!text.contains("canary"), "no query: {text}");
    }
}

/// The log line of a refused request has the ids that its context would have had.
#[tokio::test]
async fn a_refusal_has_no_id_of_a_trace_that_is_not_read() {
    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    for read in [true, false] {
        capture();
        let layer = UserScopeLayer::builder()
            .strategy(key())
            .correlation(CorrelationSources::new().trace_context(read))
            .context_only()
            .build()
            .expect("a valid configuration");
        send(&layer, request(STRANGER, &[("traceparent", TRACE)])).await;
        let text = written();
        let line = text.lines().find(|line| line.contains("request refused"));
        let line = line.expect("it is logged");
        assert_eq!(line.contains("request_id="), read, "{line}");
    }
}

#[tokio::test]
async fn a_client_can_neither_fill_nor_rewrite_a_refusals_line() {
    capture();
    let layer = UserScopeLayer::builder()
        .strategy(key())
        .context_only()
        .build()
        .expect("a valid configuration");
    for path in [
        format!("/{}", "a".repeat(60_000)),
        "/\u{202e}\u{9b}31m\"x".to_owned(),
    ] {
        let mut request = request(STRANGER, &[]);
        *request.uri_mut() = path.parse().expect("the parser lets it through");
        *request.method_mut() = "M".repeat(5_000).parse().expect("a token");
        send(&layer, request).await;
    }
    let text = written();
    let lines: Vec<_> = text
        .lines()
        .filter(|line| line.contains("request refused"))
        .collect();
    assert_eq!(lines.len(), 2, "{text}");
    for line in &lines {
        assert!(line.len() < 1_000, "{} bytes", line.len());
        assert!(line.is_ascii(), "{line}");
    }
    assert!(
        lines[1].contains(r#"path="/%E2%80%AE%C2%9B31m\"x""#),
        "{}",
        lines[1]
    );
}

#[tokio::test]
async fn an_explanation_writes_no_line() {
    let layer = UserScopeLayer::builder()
        .strategy(header())
        .strategy(key().optional().named("key"))
        .context_only()
        .build()
        .expect("a valid configuration");
    capture();
    let headers = [("x-user-id", "alice"), ("x-api-key", "nobodys")];
    let (head, ()) = request(STRANGER, &headers).into_parts();
    let why = layer.explain(&head).await;
    assert!(why.answer().is_err(), "{why}");
    assert_eq!(written(), "");
}

/// Each log line that the guide quotes, with an ellipsis for each omission.
#[tokio::test]
async fn the_lines_of_the_log_that_the_guide_quotes_are_written() {
    capture();
    let layer = UserScopeLayer::builder()
        .strategy(
            TrustedHeader::new("x-user-id")
                .from_proxies(["10.0.0.0/8"])
                .expect("a network"),
        )
        .context_only()
        .build()
        .expect("a valid configuration");
    let mut request = Request::new(());
    *request.uri_mut() = "/admin".parse().expect("a path");
    let alice = HeaderValue::from_static("alice");
    request.headers_mut().insert("x-user-id", alice);
    send(&layer, request).await;
    let text = written();
    let guide = include_str!("../../src/guide/operating.md");
    let quoted = guide
        .lines()
        .filter(|line| line.contains("tower_user_scope::audit: "));
    assert_eq!(quoted.clone().count(), 2, "what is quoted");
    for quote in quoted {
        let is_quoted = |line: &str| {
            let mut rest = line;
            quote.split('\u{2026}').map(str::trim).all(|part| {
                let found = rest.split_once(part);
                rest = found.map_or("", |(_, rest)| rest);
                found.is_some()
            })
        };
        assert!(text.lines().any(is_quoted), "{quote}\nis not in\n{text}");
    }
}

#[tokio::test]
async fn a_lazy_factory_that_fails_says_so_in_the_log_whatever_the_handler_makes_of_it() {
    capture();
    let layer = UserScopeLayer::builder()
        .strategy(key().named("key"))
        .lazy_factory(|_| Err::<u8, _>("the quota is gone"))
        .build()
        .expect("a valid configuration");
    let inner = service_fn(async |request: Request<()>| {
        let factory = request
            .extensions()
            .get::<tower_user_scope::Scoped<tower_user_scope::factory::Lazy<u8>>>();
        let failed = factory.expect("inside the layer").get().is_err();
        let mut response = Response::new(());
        response.extensions_mut().insert(failed);
        Ok::<_, Infallible>(response)
    });
    let request = request(STRANGER, &[("x-api-key", "alices")]);
    let response = layer.layer(inner).oneshot(request).await;
    let failed = response.expect("infallible").extensions().get().copied();
    assert_eq!(failed, Some(true), "and the handler answered all the same");
    let text = written();
    for part in [
        "tower_user_scope::audit",
        "ERROR",
        "lazy factory failed",
        "the quota is gone",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}
