//! What is said instead of an answer: the right status, over HTTP and gRPC, and nothing that
//! helps an attacker.

use std::{convert::Infallible, future::Future, pin::Pin, time::Duration};

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header, request::Parts,
};
use http_body_util::{BodyExt, Full};
use tower::{ServiceExt, service_fn};
use tower_layer::Layer;
use tower_user_scope::{
    Builder, Denied, Eventually, FactoryUnavailable, Fallback, Forbidden, Identity, Invalid,
    InvalidReason, Outcome, Presence, Reason, Rejection, Strategy, TrustedHeader, Unavailable,
    UserId, UserScopeLayer, from_fn,
};

/// Planted wherever the application can put something that no client may see.
const CANARY: &str = "canary-7f3a";

type BoxFuture<T> = Pin<Box<dyn Future<Output = T>>>;

/// One kind of refusal: sends a request through a layer of its own.
struct Kind {
    name: &'static str,
    status: StatusCode,
    grpc_status: &'static str,
    is_reason: fn(&Reason) -> bool,
    send: fn(Request<()>) -> BoxFuture<Response<Bytes>>,
}

async fn collect<L, S, B>(layer: L, request: Request<()>) -> Response<Bytes>
where
    L: Layer<Inner, Service = S>,
    S: tower::Service<Request<()>, Response = Response<B>, Error = Infallible>,
    B: http_body::Body<Data = Bytes, Error = Infallible>,
{
    let response = match layer.layer(inner()).oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    let (head, body) = response.into_parts();
    let Ok(body) = body.collect().await;
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

/// A strategy that says what it was told to, and has a challenge of its own.
#[derive(Debug)]
struct Says(fn() -> Outcome, Presence);

impl Strategy for Says {
    type Future = std::future::Ready<Outcome>;

    fn name(&self) -> &'static str {
        "says"
    }

    fn resolve(&self, _: &Parts) -> Eventually<Self::Future> {
        Eventually::now((self.0)())
    }

    fn presence(&self, _: &Parts) -> Presence {
        self.1
    }

    fn challenge(&self, refused: Option<&Invalid>) -> Option<HeaderValue> {
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

/// Sends through a layer that only has to say its strategies.
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
            is_reason: |reason| matches!(reason, Reason::Nobody),
            send: through!(.strategy(Says(|| Outcome::Absent, Presence::NotSent)).context_only()),
        },
        Kind {
            name: "a credential that nobody took up",
            status: StatusCode::UNAUTHORIZED,
            grpc_status: "16",
            is_reason: |reason| {
                matches!(
                    reason,
                    Reason::NotBelieved {
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
            is_reason: |reason| matches!(reason, Reason::Invalid { invalid, .. } if invalid.reason() == InvalidReason::Malformed),
            send: through!(.strategy(Says(
                || Invalid::new(InvalidReason::Malformed).with_source(error()).into(),
                Presence::Sent
            )).context_only()),
        },
        Kind {
            name: "a credential that is rejected",
            status: StatusCode::UNAUTHORIZED,
            grpc_status: "16",
            is_reason: |reason| matches!(reason, Reason::Invalid { invalid, .. } if invalid.reason() == InvalidReason::Rejected(CANARY)),
            send: through!(.strategy(Says(
                || Invalid::new(InvalidReason::Rejected(CANARY)).with_source(error()).into(),
                Presence::Sent
            )).context_only()),
        },
        Kind {
            name: "two principals",
            status: StatusCode::UNAUTHORIZED,
            grpc_status: "16",
            is_reason: |reason| matches!(reason, Reason::Conflict { .. }),
            send: through!(.strategy(Says(alice, Presence::Sent))
                .strategy(Says(bob, Presence::Sent))
                .unanimous()
                .context_only()),
        },
        Kind {
            name: "a store that is down",
            status: StatusCode::SERVICE_UNAVAILABLE,
            grpc_status: "14",
            is_reason: |reason| matches!(reason, Reason::Unavailable { .. }),
            send: through!(.strategy(Says(|| Unavailable::new(error()).into(), Presence::Sent))
                .context_only()),
        },
        Kind {
            name: "a bad correlation id",
            status: StatusCode::BAD_REQUEST,
            grpc_status: "3",
            is_reason: |reason| matches!(reason, Reason::Correlation(_)),
            send: |mut request| {
                let bad = HeaderValue::from_static("canary-7f3a, again");
                request.headers_mut().insert("x-thread-id", bad);
                through!(.strategy(Says(alice, Presence::Sent)).context_only())(request)
            },
        },
        Kind {
            name: "asserted where proof is asked for",
            status: StatusCode::UNAUTHORIZED,
            grpc_status: "16",
            is_reason: |reason| matches!(reason, Reason::Evidence(_)),
            send: through!(.strategy(Says(bob, Presence::Sent)).require_proved().context_only()),
        },
        Kind {
            name: "forbidden",
            status: StatusCode::FORBIDDEN,
            grpc_status: "7",
            is_reason: |reason| matches!(reason, Reason::Forbidden { forbidden, .. } if forbidden.reason() == CANARY),
            send: through!(.strategy(Says(alice, Presence::Sent))
                .authorize(|_, _| Err(Forbidden::new(CANARY).into()))
                .context_only()),
        },
        Kind {
            name: "forbidden to nobody in particular",
            status: StatusCode::UNAUTHORIZED,
            grpc_status: "16",
            is_reason: |reason| {
                matches!(
                    reason,
                    Reason::Forbidden {
                        authenticated: false,
                        ..
                    }
                )
            },
            send: through!(.fallback(Fallback::anonymous())
                .authorize(|_, _| Err(Forbidden::new(CANARY).into()))
                .context_only()),
        },
        Kind {
            name: "an authorization that can't be checked",
            status: StatusCode::SERVICE_UNAVAILABLE,
            grpc_status: "14",
            is_reason: |reason| matches!(reason, Reason::AuthorizationUnavailable(_)),
            send: through!(.strategy(Says(alice, Presence::Sent))
                .authorize_async(|_, _| async { Err(Denied::from(Unavailable::new(error()))) })
                .context_only()),
        },
        Kind {
            name: "a factory that fails",
            status: StatusCode::INTERNAL_SERVER_ERROR,
            grpc_status: "13",
            is_reason: |reason| matches!(reason, Reason::Factory(_)),
            send: through!(.strategy(Says(alice, Presence::Sent))
                .try_factory(|_| Err::<(), _>(error()))),
        },
        Kind {
            name: "a factory that can't be reached",
            status: StatusCode::SERVICE_UNAVAILABLE,
            grpc_status: "14",
            is_reason: |reason| matches!(reason, Reason::Factory(_)),
            send: through!(.strategy(Says(alice, Presence::Sent))
                .factory_async(|_| async { Err::<(), _>(FactoryUnavailable::new(error())) })),
        },
        Kind {
            name: "a factory that takes too long",
            status: StatusCode::SERVICE_UNAVAILABLE,
            grpc_status: "14",
            is_reason: |reason| matches!(reason, Reason::Factory(_)),
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

#[tokio::test(start_paused = true)]
async fn each_reason_has_its_status_and_a_problem_document() {
    for kind in kinds() {
        let name = kind.name;
        let response = (kind.send)(Request::new(())).await;
        assert_eq!(response.status(), kind.status, "status of {name}");
        let reason = rejection(&response, name).reason();
        assert!((kind.is_reason)(reason), "reason of {name}: {reason:?}");

        let headers = response.headers();
        assert_eq!(
            headers[header::CONTENT_TYPE],
            "application/problem+json",
            "{name}"
        );
        assert_eq!(headers[header::CACHE_CONTROL], "no-store", "{name}");
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
        let challenged =
            kind.status == StatusCode::UNAUTHORIZED || matches!(reason, Reason::Invalid { .. });
        assert_eq!(
            headers.contains_key(header::WWW_AUTHENTICATE),
            challenged,
            "{name}: a challenge where sending another credential would help"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn over_grpc_each_reason_is_a_trailers_only_status() {
    for kind in kinds() {
        let name = kind.name;
        let response = (kind.send)(grpc("application/grpc+proto")).await;
        assert_eq!(
            response.status(),
            StatusCode::OK,
            "{name}: the status is gRPC's"
        );
        let headers = response.headers();
        assert_eq!(headers[header::CONTENT_TYPE], "application/grpc", "{name}");
        assert_eq!(headers[header::CACHE_CONTROL], "no-store", "{name}");
        assert_eq!(
            response.headers()["grpc-status"],
            kind.grpc_status,
            "{name}"
        );
        assert!(response.headers().contains_key("grpc-message"), "{name}");
        assert!(response.body().is_empty(), "{name}: nothing but trailers");
        let reason = rejection(&response, name).reason();
        assert!((kind.is_reason)(reason), "reason of {name}: {reason:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_response_holds_a_byte_of_a_credential_an_id_or_a_reason() {
    for kind in kinds() {
        for content_type in ["text/plain", "application/grpc"] {
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

/// A request as gRPC makes one, with this content type.
fn grpc(content_type: &'static str) -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = Method::POST;
    *request.version_mut() = Version::HTTP_2;
    let value = HeaderValue::from_static(content_type);
    request.headers_mut().insert(header::CONTENT_TYPE, value);
    request
}

#[tokio::test]
async fn only_what_grpc_itself_would_send_is_answered_with_a_status_of_200() {
    let (grpc_type, web) = (Some("application/grpc"), Some("application/grpc-web"));
    let text = Some("application/grpc-web-text");
    for (content_type, method, version, answered) in [
        ("application/grpc", Method::POST, Version::HTTP_2, grpc_type),
        (
            "application/grpc+proto",
            Method::POST,
            Version::HTTP_2,
            grpc_type,
        ),
        (
            "application/grpc;a=\"<b>\"",
            Method::POST,
            Version::HTTP_2,
            grpc_type,
        ),
        ("Application/GRPC", Method::POST, Version::HTTP_2, grpc_type),
        (
            "application/grpc-web+proto",
            Method::POST,
            Version::HTTP_11,
            web,
        ),
        ("application/grpc-web", Method::POST, Version::HTTP_2, web),
        (
            "application/grpc-web-text+proto",
            Method::POST,
            Version::HTTP_11,
            text,
        ),
        // Whoever asks a gate for a 2xx must not get one by a header.
        ("application/grpc", Method::GET, Version::HTTP_2, None),
        ("application/grpc", Method::HEAD, Version::HTTP_2, None),
        ("application/grpc", Method::POST, Version::HTTP_11, None),
        ("application/grpc-web", Method::GET, Version::HTTP_11, None),
        ("application/grpcish", Method::POST, Version::HTTP_2, None),
        (
            "application/grpc-other",
            Method::POST,
            Version::HTTP_2,
            None,
        ),
        ("application/json", Method::POST, Version::HTTP_2, None),
        ("text/application/grpc", Method::POST, Version::HTTP_2, None),
    ] {
        let mut request = grpc(content_type);
        let name = format!("{content_type} {method} {version:?}");
        (*request.method_mut(), *request.version_mut()) = (method, version);
        let send = through!(.strategy(Says(|| Outcome::Absent, Presence::NotSent)).context_only());
        let response = send(request).await;
        let is_grpc = response.headers().contains_key("grpc-status");
        assert_eq!(is_grpc, answered.is_some(), "{name}");
        let status = if is_grpc {
            StatusCode::OK
        } else {
            StatusCode::UNAUTHORIZED
        };
        assert_eq!(response.status(), status, "{name}");
        if let Some(answered) = answered {
            assert_eq!(response.headers()[header::CONTENT_TYPE], answered, "{name}");
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
async fn the_challenges_of_all_strategies_are_merged_and_the_refusing_ones_is_sharper() {
    let nobody = UserScopeLayer::builder()
        .strategy(from_fn(tower_user_scope::Reads::header("x-none"), |_| {
            Outcome::Absent
        }))
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
            || Invalid::new(InvalidReason::Expired).into(),
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
    let builder: Builder = UserScopeLayer::builder();
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
        matches!(rejection(&response, "own").reason(), Reason::Nobody),
        "outer layers still learn why"
    );
}
