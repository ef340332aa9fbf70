//! The responses to refused requests have the right status, over HTTP and gRPC, and nothing that helps an
//! attacker.

use std::{convert::Infallible, future::Future, pin::Pin, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header, request::Parts,
};
use http_body_util::{BodyExt, Full};
use tower::{ServiceExt, service_fn};
use tower_layer::Layer;
use tower_user_scope::{
    Fallback, Identity, InvalidError, MaybeFuture, Outcome, Rejection, TrustedHeader,
    UnavailableError, UserId, UserScopeLayer,
    authorize::{AuthorizeError, ForbiddenError},
    context::TenantSource,
    factory::FactoryUnavailableError,
    from_fn,
    middleware::LayerBuilder,
    rejection::RejectionKind,
    strategy::{InvalidErrorKind, Presence, Strategy},
};

/// A text in every place where an application can put something that clients must not see.
const CANARY: &str = "canary-7f3a";

type BoxFuture<T> = Pin<Box<dyn Future<Output = T>>>;

/// One kind of refusal: sends a request through its own layer.
struct Kind {
    name: &'static str,
    status: StatusCode,
    grpc_status: &'static str,
    is_reason: fn(&RejectionKind) -> bool,
    send: fn(Request<()>) -> BoxFuture<Response<Bytes>>,
}

async fn collect<L, S, B>(layer: L, request: Request<()>) -> Response<Bytes>
where
    L: Layer<Inner, Service = S>,
    S: tower::Service<Request<()>, Response = Response<B>, Error = Infallible>,
    B: http_body::Body<Data = Bytes, Error: std::fmt::Debug>,
{
    let response = match layer.layer(inner()).oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    let (head, body) = response.into_parts();
    let body = body.collect().await.expect("a body");
    Response::from_parts(head, body.to_bytes())
}

type Inner = tower::util::ServiceFn<fn(Request<()>) -> std::future::Ready<Answer>>;
type Answer = Result<Response<Full<Bytes>>, Infallible>;

fn inner() -> Inner {
    fn answer(_: Request<()>) -> std::future::Ready<Answer> {
        std::future::ready(Ok(Response::new(Full::new(Bytes::from_static(b"inner")))))
    }
    service_fn(answer)
}

/// A strategy with a given outcome and its own challenge.
#[derive(Debug)]
struct Says(fn() -> Outcome, Presence);

impl Strategy for Says {
    type Future = std::future::Ready<Outcome>;

    fn name(&self) -> &'static str {
        "says"
    }

    fn resolve(&self, _: &Parts) -> MaybeFuture<Self::Future> {
        MaybeFuture::ready((self.0)())
    }

    fn presence(&self, _: &Parts) -> Presence {
        self.1
    }

    fn challenge(&self, refused: Option<&InvalidError>) -> Option<HeaderValue> {
        Some(HeaderValue::from_static(match refused {
            Some(_) => r#"Says realm="api", error="invalid_token""#,
            None => r#"Says realm="api""#,
        }))
    }
}

fn alice() -> Outcome {
    match UserId::try_from("alice-7f3a") {
        Ok(id) => Identity::proved(id).into(),
        Err(error) => Outcome::Invalid(error.into()),
    }
}

fn bob() -> Outcome {
    match UserId::try_from("bob-7f3a") {
        Ok(id) => Identity::asserted(id).into(),
        Err(error) => Outcome::Invalid(error.into()),
    }
}

fn error() -> std::io::Error {
    std::io::Error::other(CANARY)
}

/// Sends a request through a layer with these strategies and no factory.
macro_rules! through {
    ($($build:tt)*) => {
        |request| Box::pin(async move {
            let layer = (UserScopeLayer::builder()$($build)*)
                .build()
                .expect("a valid configuration");
            collect(layer, request).await
        })
    };
}

fn kinds() -> Vec<Kind> {
    vec![
        Kind {
            name: "nobody",
            status: StatusCode::UNAUTHORIZED,
            grpc_status: "16",
            is_reason: |reason| matches!(reason, RejectionKind::NoCredential),
            send: through!(.strategy(Says(|| Outcome::Absent, Presence::NotSent)).context_only()),
        },
        Kind {
            name: "a credential that nobody took up",
            status: StatusCode::UNAUTHORIZED,
            grpc_status: "16",
            is_reason: |reason| {
                matches!(
                    reason,
                    RejectionKind::NotAccepted {
                        strategy: "says",
                        ..
                    }
                )
            },
            send: through!(.strategy(Says(|| Outcome::Absent, Presence::Sent))
                .fallback(Fallback::anonymous())
                .context_only()),
        },
        Kind {
            name: "a malformed credential",
            status: StatusCode::BAD_REQUEST,
            grpc_status: "3",
            is_reason: |reason| matches!(reason, RejectionKind::Invalid { invalid, .. } if invalid.kind() == InvalidErrorKind::Malformed),
            send: through!(.strategy(Says(
                || InvalidError::new(InvalidErrorKind::Malformed).with_source(error()).into(),
                Presence::Sent
            )).context_only()),
        },
        Kind {
            name: "a credential that is rejected",
            status: StatusCode::UNAUTHORIZED,
            grpc_status: "16",
            is_reason: |reason| matches!(reason, RejectionKind::Invalid { invalid, .. } if invalid.kind() == InvalidErrorKind::Rejected(CANARY)),
            send: through!(.strategy(Says(
                || InvalidError::new(InvalidErrorKind::Rejected(CANARY)).with_source(error()).into(),
                Presence::Sent
            )).context_only()),
        },
        Kind {
            name: "two principals",
            status: StatusCode::UNAUTHORIZED,
            grpc_status: "16",
            is_reason: |reason| matches!(reason, RejectionKind::Conflict { .. }),
            send: through!(.strategy(Says(alice, Presence::Sent))
                .strategy(Says(bob, Presence::Sent))
                .unanimous()
                .context_only()),
        },
        Kind {
            name: "a store that is down",
            status: StatusCode::SERVICE_UNAVAILABLE,
            grpc_status: "14",
            is_reason: |reason| matches!(reason, RejectionKind::Unavailable { .. }),
            send: through!(.strategy(Says(|| UnavailableError::new(error()).into(), Presence::Sent))
                .context_only()),
        },
        Kind {
            name: "a bad correlation id",
            status: StatusCode::BAD_REQUEST,
            grpc_status: "3",
            is_reason: |reason| matches!(reason, RejectionKind::Correlation(_)),
            send: |mut request| {
                let bad = HeaderValue::from_static("canary-7f3a, again");
                request.headers_mut().insert("x-thread-id", bad);
                through!(.strategy(Says(alice, Presence::Sent)).context_only())(request)
            },
        },
        Kind {
            name: "a bad tenant",
            status: StatusCode::BAD_REQUEST,
            grpc_status: "3",
            is_reason: |reason| matches!(reason, RejectionKind::Tenant(_)),
            send: |mut request| {
                let bad = HeaderValue::from_static("null");
                let name = HeaderName::from_static("x-tenant-id");
                request.headers_mut().insert(&name, bad);
                let source = TenantSource::header(name);
                through!(.strategy(Says(alice, Presence::Sent)).tenant(source).context_only())(
                    request,
                )
            },
        },
        Kind {
            name: "asserted where proof is asked for",
            status: StatusCode::UNAUTHORIZED,
            grpc_status: "16",
            is_reason: |reason| matches!(reason, RejectionKind::Evidence(_)),
            send: through!(.strategy(Says(bob, Presence::Sent)).require_proved().context_only()),
        },
        Kind {
            name: "forbidden",
            status: StatusCode::FORBIDDEN,
            grpc_status: "7",
            is_reason: |reason| matches!(reason, RejectionKind::Forbidden { forbidden, .. } if forbidden.reason() == CANARY),
            send: through!(.strategy(Says(alice, Presence::Sent))
                .authorize(|_, _| Err(ForbiddenError::new(CANARY).into()))
                .context_only()),
        },
        Kind {
            name: "forbidden to nobody in particular",
            status: StatusCode::UNAUTHORIZED,
            grpc_status: "16",
            is_reason: |reason| {
                matches!(
                    reason,
                    RejectionKind::Forbidden {
                        authenticated: false,
                        ..
                    }
                )
            },
            send: through!(.fallback(Fallback::anonymous())
                .authorize(|_, _| Err(ForbiddenError::new(CANARY).into()))
                .context_only()),
        },
        Kind {
            name: "an authorization that can't be checked",
            status: StatusCode::SERVICE_UNAVAILABLE,
            grpc_status: "14",
            is_reason: |reason| matches!(reason, RejectionKind::AuthorizationUnavailable(_)),
            send: through!(.strategy(Says(alice, Presence::Sent))
                .authorize_async(|_, _| async { Err(AuthorizeError::from(UnavailableError::new(error()))) })
                .context_only()),
        },
        Kind {
            name: "a factory that fails",
            status: StatusCode::INTERNAL_SERVER_ERROR,
            grpc_status: "13",
            is_reason: |reason| matches!(reason, RejectionKind::Factory(_)),
            send: through!(.strategy(Says(alice, Presence::Sent))
                .try_factory(|_| Err::<(), _>(error()))),
        },
        Kind {
            name: "a factory that can't be reached",
            status: StatusCode::SERVICE_UNAVAILABLE,
            grpc_status: "14",
            is_reason: |reason| matches!(reason, RejectionKind::Factory(_)),
            send: through!(.strategy(Says(alice, Presence::Sent))
                .factory_async(|_| async { Err::<(), _>(FactoryUnavailableError::new(error())) })),
        },
        Kind {
            name: "a factory that takes too long",
            status: StatusCode::SERVICE_UNAVAILABLE,
            grpc_status: "14",
            is_reason: |reason| matches!(reason, RejectionKind::Factory(_)),
            send: through!(.strategy(Says(alice, Presence::Sent))
                .factory_async(|_| std::future::pending::<Result<(), Infallible>>())
                .factory_time_limit(Duration::from_secs(5))),
        },
    ]
}

fn rejection<'a>(response: &'a Response<Bytes>, name: &str) -> &'a Rejection {
    let rejection = response.extensions().get::<Rejection>();
    rejection.unwrap_or_else(|| panic!("the rejection is in the response's extensions: {name}"))
}

/// What could not be checked may be asked for again; for nothing else that would help.
fn retry_after(kind: &Kind) -> Option<&'static HeaderValue> {
    static SECONDS: HeaderValue = HeaderValue::from_static("5");
    (kind.status == StatusCode::SERVICE_UNAVAILABLE).then_some(&SECONDS)
}

#[tokio::test(start_paused = true)]
async fn each_reason_has_its_status_and_a_problem_document() {
    for kind in kinds() {
        let name = kind.name;
        let response = (kind.send)(Request::new(())).await;
        assert_eq!(response.status(), kind.status, "status of {name}");
        let reason = rejection(&response, name).kind();
        assert!((kind.is_reason)(reason), "reason of {name}: {reason:?}");

        let headers = response.headers();
        assert_eq!(
            headers[header::CONTENT_TYPE],
            "application/problem+json",
            "{name}"
        );
        assert_eq!(headers[header::CACHE_CONTROL], "no-store", "{name}");
        assert_eq!(
            headers.get(header::RETRY_AFTER),
            retry_after(&kind),
            "{name}"
        );
        let problem: serde_json::Value =
            serde_json::from_slice(response.body()).expect("a JSON document");
        assert_eq!(problem["type"], "about:blank", "{name}");
        assert_eq!(problem["status"], kind.status.as_u16(), "{name}");
        assert_eq!(
            problem["title"].as_str(),
            kind.status.canonical_reason(),
            "{name}: with about:blank, the title is the status's phrase"
        );
        // A malformed credential is challenged too (RFC 6750 section 3.1, `invalid_request`).
        let challenged = kind.status == StatusCode::UNAUTHORIZED
            || matches!(reason, RejectionKind::Invalid { .. });
        assert_eq!(
            headers.contains_key(header::WWW_AUTHENTICATE),
            challenged,
            "{name}: a challenge where sending another credential would help"
        );
    }
}

/// The content types of gRPC requests and of their responses.
const GRPC: [(&str, &str); 10] = [
    ("application/grpc", "application/grpc"),
    ("application/grpc+proto", "application/grpc"),
    ("Application/GRPC+json", "application/grpc"),
    ("application/grpc ;a=\"<b>\"", "application/grpc"),
    ("application/grpc-web", "application/grpc-web"),
    ("application/grpc-web+proto", "application/grpc-web"),
    ("application/grpc-web;x=y", "application/grpc-web"),
    ("application/grpc-web-text", "application/grpc-web-text"),
    (
        "application/grpc-web-text+proto",
        "application/grpc-web-text",
    ),
    ("application/GRPC-web-TEXT ; a", "application/grpc-web-text"),
];

/// The text of the trailers frame of a gRPC-Web body (gRPC's PROTOCOL-WEB.md).
fn trailers(body: &[u8]) -> String {
    let (head, text) = body.split_at_checked(5).expect("a frame");
    let len = u32::try_from(text.len())
        .expect("a short one")
        .to_be_bytes();
    assert_eq!(head, [&[0x80][..], &len].concat(), "one frame of trailers");
    String::from_utf8(text.to_vec()).expect("ASCII")
}

#[tokio::test(start_paused = true)]
async fn over_grpc_each_reason_has_its_own_status_beside_the_real_one() {
    for kind in kinds() {
        for (asked, answered) in GRPC {
            // gRPC that was translated arrives over HTTP/1.1.
            for version in [Version::HTTP_2, Version::HTTP_11] {
                let name = format!("{} over {asked}, {version:?}", kind.name);
                let mut request = grpc(asked);
                *request.version_mut() = version;
                let response = (kind.send)(request).await;
                assert_eq!(response.status(), kind.status, "{name}");
                let headers = response.headers();
                assert_eq!(headers[header::CONTENT_TYPE], answered, "{name}");
                assert_eq!(headers[header::CACHE_CONTROL], "no-store", "{name}");
                assert_eq!(
                    headers.get(header::RETRY_AFTER),
                    retry_after(&kind),
                    "{name}"
                );
                assert_eq!(headers["grpc-status"], kind.grpc_status, "{name}");
                let message = headers["grpc-message"].to_str().expect("ASCII");
                assert!(!message.is_empty(), "{name}");
                let said = format!(
                    "grpc-status:{}\r\ngrpc-message:{message}\r\n",
                    kind.grpc_status
                );
                let body = response.body();
                match answered {
                    // Some clients report UNKNOWN if there is a body beside the status.
                    "application/grpc" => assert!(body.is_empty(), "{name}"),
                    "application/grpc-web" => assert_eq!(trailers(body), said, "{name}"),
                    _ => {
                        let frame = BASE64_STANDARD.decode(body).expect("base64");
                        assert_eq!(trailers(&frame), said, "{name}");
                    }
                }
                let reason = rejection(&response, &name).kind();
                assert!((kind.is_reason)(reason), "reason of {name}: {reason:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_response_holds_a_byte_of_a_credential_an_id_or_a_reason() {
    for kind in kinds() {
        for content_type in ["text/plain", "application/grpc", "application/grpc-web"] {
            let mut request = grpc(content_type);
            let headers = request.headers_mut();
            headers.insert(header::AUTHORIZATION, HeaderValue::from_static(CANARY));
            let response = (kind.send)(request).await;
            let seen = format!("{:?} {:?}", response.headers(), response.body());
            for secret in [CANARY, "7f3a", "alice", "bob"] {
                assert!(
                    !seen.contains(secret),
                    "{} over {content_type} tells `{secret}`: {seen}",
                    kind.name
                );
            }
        }
    }
}

/// A gRPC request with this content type.
fn grpc(content_type: &'static str) -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = Method::POST;
    *request.version_mut() = Version::HTTP_2;
    let value = HeaderValue::from_static(content_type);
    request.headers_mut().insert(header::CONTENT_TYPE, value);
    request
}

#[tokio::test]
async fn a_content_type_that_resembles_grpc_is_answered_with_a_problem_document() {
    for content_type in [
        "application/grpcish",
        "application/grpc-other",
        "application/grpc-webby",
        "application/grpc-web-text2",
        "application/grpc_web",
        "text/application/grpc",
        "application/json",
        "application/connect+proto",
        "application/grpc, application/json",
        ";application/grpc",
        "+application/grpc",
        "",
    ] {
        let send = through!(.strategy(Says(|| Outcome::Absent, Presence::NotSent)).context_only());
        let response = send(grpc(content_type)).await;
        assert_eq!(
            response.status(),
            StatusCode::UNAUTHORIZED,
            "{content_type}"
        );
        let headers = response.headers();
        assert!(!headers.contains_key("grpc-status"), "{content_type}");
        assert_eq!(
            headers[header::CONTENT_TYPE],
            "application/problem+json",
            "{content_type}"
        );
    }
}

/// Any request line, and any values of the headers that select a protocol.
fn any_request() -> impl proptest::strategy::Strategy<Value = Request<()>> {
    use proptest::{collection::vec, sample::select, strategy::Strategy as _};
    let method = proptest::prop_oneof![
        select(vec![
            "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"
        ])
        .prop_map(str::to_owned),
        "[A-Z]{1,9}",
    ];
    let version = select(vec![
        Version::HTTP_09,
        Version::HTTP_10,
        Version::HTTP_11,
        Version::HTTP_2,
        Version::HTTP_3,
    ]);
    let content_type = proptest::prop_oneof![
        select(GRPC.to_vec()).prop_map(|(asked, _)| asked.to_owned()),
        "application/(grpc|connect|json)(-web)?(-text)?[ -~]{0,9}",
        "[ -~]{0,20}",
    ];
    let other = select(vec![
        ("accept", "application/grpc-web-text"),
        ("accept", "*/*"),
        ("te", "trailers"),
        ("x-grpc-web", "1"),
        ("grpc-timeout", "1S"),
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("expect", "100-continue"),
        ("if-none-match", "*"),
        ("range", "bytes=0-0"),
        ("x-http-method-override", "GET"),
    ]);
    (method, version, vec(content_type, 0..3), vec(other, 0..4)).prop_map(
        |(method, version, content_types, others)| {
            let mut request = Request::new(());
            *request.method_mut() = method.parse().expect("a token");
            *request.version_mut() = version;
            let headers = request.headers_mut();
            for value in content_types {
                let value = value.parse().expect("visible ASCII");
                headers.append(header::CONTENT_TYPE, value);
            }
            for (name, value) in others {
                headers.append(name, HeaderValue::from_static(value));
            }
            request
        },
    )
}

proptest::proptest! {
    #[test]
    fn no_client_can_choose_that_a_refusal_is_a_success(request in any_request()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        for kind in kinds() {
            let response = runtime.block_on((kind.send)(request.clone()));
            assert_eq!(response.status(), kind.status, "{}: {request:?}", kind.name);
        }
    }
}

fn challenges(response: &Response<Bytes>) -> Vec<&str> {
    let values = response.headers().get_all(header::WWW_AUTHENTICATE);
    let texts = values.iter().map(HeaderValue::to_str);
    texts
        .collect::<Result<_, _>>()
        .expect("challenges are ASCII")
}

#[tokio::test]
async fn the_challenges_of_all_strategies_are_merged_and_the_refusing_one_names_its_error() {
    let nobody = UserScopeLayer::builder()
        .strategy(from_fn(
            tower_user_scope::CredentialSource::header("x-none"),
            |_| Outcome::Absent,
        ))
        .strategy(Says(|| Outcome::Absent, Presence::NotSent))
        .strategy(Says(|| Outcome::Absent, Presence::NotSent))
        .context_only()
        .build()
        .expect("a valid configuration");
    let response = collect(nobody, Request::new(())).await;
    assert_eq!(
        challenges(&response),
        [r#"Says realm="api""#],
        "one for a scheme"
    );

    let refused = UserScopeLayer::builder()
        .strategy(Says(
            || InvalidError::new(InvalidErrorKind::Expired).into(),
            Presence::Sent,
        ))
        .context_only()
        .build()
        .expect("a valid configuration");
    let response = collect(refused, Request::new(())).await;
    assert_eq!(
        challenges(&response),
        [r#"Says realm="api", error="invalid_token""#],
        "an error only where a credential was sent"
    );
}

#[tokio::test]
async fn a_list_without_a_scheme_still_has_a_challenge() {
    let layer = UserScopeLayer::builder()
        .strategy(TrustedHeader::new("x-user-id").only_if(|_| true))
        .context_only()
        .build()
        .expect("a valid configuration");
    let response = collect(layer, Request::new(())).await;
    assert_eq!(
        challenges(&response),
        ["UserScope"],
        "RFC 9110 section 15.5.2"
    );
}

#[tokio::test]
async fn the_mapping_can_be_replaced_wholesale() {
    fn own(rejection: &Rejection, head: &Parts) -> Response<Bytes> {
        let mut response = Response::new(Bytes::from_static(b"own words"));
        *response.status_mut() = StatusCode::IM_A_TEAPOT;
        let path = HeaderValue::from_str(head.uri.path()).expect("a path is ASCII");
        let name = HeaderName::from_static("x-path");
        response.headers_mut().insert(name, path);
        assert_eq!(rejection.status(), StatusCode::UNAUTHORIZED);
        response
    }
    let builder: LayerBuilder = UserScopeLayer::builder();
    let layer = builder
        .strategy(Says(|| Outcome::Absent, Presence::NotSent))
        .context_only()
        .rejection_response(own)
        .build()
        .expect("a valid configuration");
    let request = Request::get("/here").body(()).expect("a request");
    let response = collect(layer, request).await;
    assert_eq!(
        response.status(),
        StatusCode::IM_A_TEAPOT,
        "the application's status"
    );
    assert_eq!(
        response.headers()["x-path"],
        "/here",
        "made with the request at hand"
    );
    assert_eq!(response.body(), "own words", "and its body");
    assert!(
        matches!(
            rejection(&response, "own").kind(),
            RejectionKind::NoCredential
        ),
        "outer layers still learn why"
    );
}
