//! The layer returns the id of a request to its client if it is configured to, and every layer
//! uses the same id for the request.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
};

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use tower::{ServiceBuilder, ServiceExt, service_fn, util::BoxCloneService};
use tower_http::request_id::{
    MakeRequestUuid, PropagateRequestIdLayer, RequestId as TowerHttpId, SetRequestIdLayer,
};
use tower_user_scope::{
    CredentialSource, Identity, Outcome, UserContext, UserId, UserScopeExt, UserScopeLayer,
    audit::AuditEvent,
    authorize::Anyone,
    context::{CorrelationKind, CorrelationSources},
    factory::ContextOnly,
    from_async_fn, from_fn,
    middleware::LayerBuilder,
    middleware::StrategyList,
    testing::Recorder,
};

const X_REQUEST_ID: &str = "x-request-id";
const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn user(headers: &HeaderMap) -> Outcome {
    match headers.get("x-user").map(HeaderValue::to_str) {
        Some(Ok(user)) => match UserId::try_from(user) {
            Ok(user) => Identity::proved(user).into(),
            Err(error) => Outcome::Invalid(error.into()),
        },
        _ => Outcome::Absent,
    }
}

fn builder() -> LayerBuilder<impl StrategyList<Pending: Send> + 'static, ContextOnly, Anyone> {
    UserScopeLayer::builder()
        .strategy(from_fn(CredentialSource::header("x-user"), |head| {
            user(&head.headers)
        }))
        .context_only()
}

fn request(headers: &[(&'static str, &'static str)]) -> Request<()> {
    let mut request = Request::new(());
    for (name, value) in headers {
        let name = HeaderName::from_static(name);
        let value = HeaderValue::from_static(value);
        request.headers_mut().append(name, value);
    }
    request
}

/// The ids of a request that the inner service saw.
#[derive(Clone, Debug, Default, PartialEq)]
struct Seen {
    context: String,
    header: Option<String>,
    tower_http: Option<String>,
}

type Shared<T> = Arc<Mutex<T>>;

fn text(value: &HeaderValue) -> String {
    value.to_str().expect("visible ASCII").to_owned()
}

/// Records the ids of the request and responds with these headers.
fn inner(
    seen: &Shared<Seen>,
    answers: HeaderMap,
) -> BoxCloneService<Request<()>, Response<()>, Infallible> {
    let seen = Arc::clone(seen);
    BoxCloneService::new(service_fn(move |request: Request<()>| {
        let context: &UserContext = request.user_context().expect("inside the layer");
        *seen.lock().unwrap_or_else(PoisonError::into_inner) = Seen {
            context: context.request_id().to_string(),
            header: request.headers().get(X_REQUEST_ID).map(text),
            tower_http: (request.extensions().get::<TowerHttpId>())
                .map(|id| text(id.header_value())),
        };
        let mut response = Response::new(());
        *response.headers_mut() = answers.clone();
        async { Ok::<_, Infallible>(response) }
    }))
}

fn taken(seen: &Shared<Seen>) -> Seen {
    std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner))
}

fn ids(headers: &HeaderMap, name: &str) -> Vec<String> {
    headers.get_all(name).iter().map(text).collect()
}

#[tokio::test]
async fn a_response_has_the_id_that_was_sent_or_made_or_came_with_the_trace() {
    let seen = Shared::default();
    let layer = builder().request_id_in_response().build().expect("valid");
    for (headers, expected) in [
        (&[("x-user", "alice")][..], None),
        (
            &[("x-user", "alice"), ("x-request-id", "r-17")],
            Some("r-17"),
        ),
        (
            &[("x-user", "alice"), ("traceparent", TRACEPARENT)],
            Some("0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"),
        ),
    ] {
        let service = ServiceBuilder::new()
            .layer(layer.clone())
            .service(inner(&seen, HeaderMap::new()));
        let response = service.oneshot(request(headers)).await.expect("infallible");
        let seen = taken(&seen);
        assert_eq!(ids(response.headers(), X_REQUEST_ID), [&*seen.context]);
        assert_eq!(seen.header.as_deref(), Some(&*seen.context), "for inside");
        if let Some(expected) = expected {
            assert_eq!(seen.context, expected);
        }
    }
}

#[tokio::test]
async fn a_layer_that_is_not_asked_to_sends_no_id_and_adds_no_header() {
    let seen = Shared::default();
    let layer = builder().build().expect("valid");
    let service = layer_around(&layer, &seen);
    let response = service.oneshot(request(&[("x-user", "alice")])).await;
    let response = response.expect("infallible");
    assert!(response.headers().is_empty(), "{:?}", response.headers());
    assert_eq!(taken(&seen).header, None);
}

fn layer_around<L>(layer: &L, seen: &Shared<Seen>) -> L::Service
where
    L: tower_layer::Layer<BoxCloneService<Request<()>, Response<()>, Infallible>>,
{
    layer.layer(inner(seen, HeaderMap::new()))
}

#[tokio::test]
async fn the_header_is_the_one_that_ids_are_read_from_or_the_one_that_is_named() {
    let x_trace = || HeaderName::from_static("x-trace");
    let sources = || CorrelationSources::new().header(CorrelationKind::Request, x_trace());
    let none = || CorrelationSources::new().without_header(CorrelationKind::Request);
    let headers = &[
        ("x-user", "alice"),
        ("x-trace", "t-1"),
        ("x-request-id", "r-1"),
    ][..];
    for (case, layer, name, id) in [
        (
            "read from x-trace",
            builder().correlation(sources()).request_id_in_response(),
            "x-trace",
            Some("t-1"),
        ),
        (
            "whatever the order of the calls",
            builder().request_id_in_response().correlation(sources()),
            "x-trace",
            Some("t-1"),
        ),
        (
            "named, so what the client sent there is another id",
            (builder().correlation(sources()))
                .request_id_in_response_header(HeaderName::from_static(X_REQUEST_ID)),
            X_REQUEST_ID,
            Some("t-1"),
        ),
        (
            "read from none",
            builder().correlation(none()).request_id_in_response(),
            X_REQUEST_ID,
            None,
        ),
    ] {
        let seen = Shared::default();
        let layer = layer.build().expect("valid");
        let service = layer_around(&layer, &seen);
        let response = service.oneshot(request(headers)).await.expect("infallible");
        let seen = taken(&seen);
        assert_eq!(ids(response.headers(), name), [&*seen.context], "{case}");
        if let Some(id) = id {
            assert_eq!(seen.context, id, "{case}");
        } else {
            assert_ne!(seen.context, "r-1", "{case}");
            assert_eq!(seen.header.as_deref(), Some(&*seen.context), "{case}");
        }
    }
}

#[tokio::test]
async fn a_request_that_waits_for_its_strategy_gets_its_id_too() {
    let seen = Shared::default();
    let layer = UserScopeLayer::builder()
        .strategy(from_async_fn(CredentialSource::header("x-user"), |head| {
            let outcome = user(&head.headers);
            async {
                tokio::task::yield_now().await;
                outcome
            }
        }))
        .request_id_in_response()
        .context_only()
        .build()
        .expect("valid");
    let service = layer_around(&layer, &seen);
    let response = service.oneshot(request(&[("x-user", "alice")])).await;
    let response = response.expect("infallible");
    assert_eq!(
        ids(response.headers(), X_REQUEST_ID),
        [taken(&seen).context]
    );
}

#[tokio::test]
async fn a_refusal_has_the_id_of_its_audit_event() {
    for (case, headers, status, expected) in [
        (
            "nobody, and an id",
            &[("x-request-id", "r-17")][..],
            401,
            Some("r-17"),
        ),
        ("nobody, and no id", &[], 401, None),
        (
            "nobody, and a bad id",
            &[("x-request-id", "a<b")],
            401,
            None,
        ),
        (
            "somebody, and a bad id",
            &[("x-user", "alice"), ("x-request-id", "a<b")],
            400,
            None,
        ),
        (
            "two ids",
            &[
                ("x-user", "alice"),
                ("x-request-id", "r-1"),
                ("x-request-id", "r-2"),
            ],
            400,
            None,
        ),
    ] {
        let recorder = Recorder::new();
        let layer = builder()
            .request_id_in_response()
            .observer(recorder.clone())
            .build()
            .expect("valid");
        let seen = Shared::default();
        let service = layer_around(&layer, &seen);
        let response = service.oneshot(request(headers)).await.expect("infallible");
        assert_eq!(
            response.status(),
            StatusCode::from_u16(status).expect("a status")
        );
        let audited = recorder.take().into_iter().find_map(|event| match event {
            AuditEvent::Refused { request_id, .. } => request_id,
            _ => None,
        });
        let audited = audited.unwrap_or_else(|| panic!("{case}: the event has an id"));
        assert_eq!(
            ids(response.headers(), X_REQUEST_ID),
            [audited.as_str()],
            "{case}"
        );
        if let Some(expected) = expected {
            assert_eq!(audited.as_str(), expected, "{case}");
        } else {
            assert!(
                !audited.as_str().contains('<'),
                "{case}: nothing bad comes back"
            );
        }
    }
}

#[tokio::test]
async fn what_the_inner_service_sets_stays_as_it_does_with_tower_http() {
    let mut answers = HeaderMap::new();
    answers.insert(X_REQUEST_ID, HeaderValue::from_static("of-the-handler"));
    let seen = Shared::default();
    let ours = builder().request_id_in_response().build().expect("valid");
    let ours = ServiceBuilder::new()
        .layer(ours)
        .service(inner(&seen, answers.clone()));
    let theirs = ServiceBuilder::new()
        .layer(PropagateRequestIdLayer::x_request_id())
        .layer(builder().build().expect("valid"))
        .service(inner(&seen, answers));
    let sent = || request(&[("x-user", "alice"), ("x-request-id", "r-17")]);
    let ours = ours.oneshot(sent()).await.expect("infallible");
    let theirs = theirs.oneshot(sent()).await.expect("infallible");
    assert_eq!(ids(ours.headers(), X_REQUEST_ID), ["of-the-handler"]);
    assert_eq!(ids(theirs.headers(), X_REQUEST_ID), ["of-the-handler"]);
}

/// The layer, with tower-http's two layers around it or inside of it: there is one id.
#[tokio::test]
async fn it_agrees_with_tower_http_outside_and_inside() {
    let set = || SetRequestIdLayer::x_request_id(MakeRequestUuid);
    let propagate = PropagateRequestIdLayer::x_request_id;
    let ours = || builder().request_id_in_response().build().expect("valid");
    for sent in [None, Some(("x-request-id", "r-17"))] {
        let headers: Vec<_> = [("x-user", "alice")].into_iter().chain(sent).collect();
        let seen = Shared::default();
        let inner = inner(&seen, HeaderMap::new());
        let outside = ServiceBuilder::new()
            .layer(set())
            .layer(propagate())
            .layer(ours())
            .service(inner.clone());
        let inside = ServiceBuilder::new()
            .layer(ours())
            .layer(set())
            .layer(propagate())
            .service(inner.clone());
        let around = ServiceBuilder::new()
            .layer(propagate())
            .layer(ours())
            .layer(set())
            .service(inner.clone());
        let apart = ServiceBuilder::new()
            .layer(set())
            .layer(ours())
            .layer(propagate())
            .service(inner);
        let answers = [
            (
                "outside",
                outside.oneshot(request(&headers)).await,
                taken(&seen),
            ),
            (
                "inside",
                inside.oneshot(request(&headers)).await,
                taken(&seen),
            ),
            (
                "around",
                around.oneshot(request(&headers)).await,
                taken(&seen),
            ),
            (
                "apart",
                apart.oneshot(request(&headers)).await,
                taken(&seen),
            ),
        ];
        for (case, response, seen) in answers {
            let response = response.expect("infallible");
            let id = seen.context.clone();
            assert_eq!(ids(response.headers(), X_REQUEST_ID), [&*id], "{case}");
            let all = Seen {
                context: id.clone(),
                header: Some(id.clone()),
                tower_http: Some(id.clone()),
            };
            assert_eq!(seen, all, "{case}");
            if let Some((_, sent)) = sent {
                assert_eq!(id, sent, "{case}");
            }
        }
    }
}
