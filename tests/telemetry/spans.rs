//! A request's span has its outcome when it ends, the handler's spans are its children, and two
//! services have one trace.

use std::convert::Infallible;

use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use opentelemetry::{
    propagation::{Extractor, Injector, TextMapPropagator},
    trace::{SpanId, Status, TracerProvider as _},
};
use opentelemetry_sdk::{
    propagation::TraceContextPropagator,
    trace::{InMemorySpanExporter, SdkTracerProvider, SpanData},
};
use tower::{Service, ServiceExt, service_fn};
use tower_layer::Layer;
use tower_user_scope::{
    CredentialSource, Identity, Outcome, UserId, UserScopeLayer,
    audit::{UserIdKey, UserIdTelemetry},
    from_fn,
    strategy::Strategy,
};
use tracing::{Instrument, instrument::WithSubscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::layer::SubscriberExt;

use crate::support;

struct Headers<'a>(&'a mut HeaderMap);

impl Injector for Headers<'_> {
    fn set(&mut self, key: &str, value: String) {
        let name = key.parse::<http::HeaderName>().expect("a name");
        self.0.insert(name, value.parse().expect("a value"));
    }
}

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

/// The spans of some work, which have ended.
struct Spans(Vec<SpanData>);

impl Spans {
    /// Returns the only span of this name.
    fn named(&self, name: &str) -> &SpanData {
        let mut found = self.0.iter().filter(|span| span.name == name);
        let span = found.next().unwrap_or_else(|| panic!("no span {name}"));
        assert!(found.next().is_none(), "two spans {name}");
        span
    }

    fn parent_of(&self, span: &SpanData) -> &SpanData {
        let is_parent = |other: &&SpanData| other.span_context.span_id() == span.parent_span_id;
        let parent = self.0.iter().find(is_parent);
        parent.unwrap_or_else(|| panic!("{} has no parent", span.name))
    }
}

fn spans_of<F: Future<Output = ()>>(work: impl FnOnce() -> F) -> Spans {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(exporter.clone())
        .build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("tests"));
    let subscriber = tracing_subscriber::registry().with(layer);
    support::block_on(async { work().await }.with_subscriber(subscriber));
    provider.force_flush().expect("spans");
    let spans = exporter.get_finished_spans().expect("spans");
    Spans(spans)
}

fn user_header() -> impl Strategy + Clone {
    from_fn(CredentialSource::header("x-user"), |head| {
        let Some(user) = head.headers.get("x-user") else {
            return Outcome::Absent;
        };
        match user.to_str().map(UserId::try_from) {
            Ok(Ok(id)) => Identity::proved(id).into(),
            _ => Outcome::Absent,
        }
    })
}

/// Runs a request of alice as a server does, with a span that continues the caller's trace.
async fn serve<H, F>(
    name: &'static str,
    ids: UserIdTelemetry,
    mut request: Request<()>,
    handler: H,
) -> StatusCode
where
    H: Fn(Request<()>) -> F + Clone,
    F: Future<Output = Response<String>>,
{
    let layer = UserScopeLayer::builder()
        .strategy(user_header())
        .user_ids_in_telemetry(ids)
        .context_only()
        .build()
        .expect("a valid configuration");
    let mut service = layer.layer(service_fn(move |request| {
        let answer = handler(request);
        async move { Ok::<_, Infallible>(answer.await) }
    }));
    // `otel.name`, because the names of `tracing` spans are constants.
    let span = tracing::info_span!("server", otel.name = name);
    let parent = TraceContextPropagator::new().extract(&Headers(request.headers_mut()));
    let _ = span.set_parent(parent);
    let response = async {
        let response = service.ready().await.expect("ready").call(request).await;
        response.expect("infallible")
    };
    let response = response.instrument(span).await;
    let status = response.status();
    response.into_body().collect().await.expect("a body");
    status
}

fn attribute(span: &SpanData, name: &str) -> Option<String> {
    let found = span
        .attributes
        .iter()
        .find(|attribute| attribute.key.as_str() == name);
    found.map(|attribute| attribute.value.to_string())
}

fn request() -> Request<()> {
    Request::builder()
        .header("x-user", "alice")
        .body(())
        .expect("a request")
}

#[test]
fn a_span_has_its_outcome_and_its_status() {
    for (status, ends_well) in [
        (StatusCode::OK, true),
        (StatusCode::NOT_FOUND, true),
        (StatusCode::BAD_GATEWAY, false),
    ] {
        let spans = spans_of(|| async {
            let answered = serve(
                "front",
                UserIdTelemetry::Omitted,
                request(),
                move |_| async move {
                    let mut response = Response::new(String::from("body"));
                    *response.status_mut() = status;
                    response
                },
            );
            assert_eq!(answered.await, status);
        });
        let span = spans.named("user_scope");
        assert_eq!(
            attribute(span, "user_scope.ending").as_deref(),
            Some("completed")
        );
        assert_eq!(
            attribute(span, "http.response.status_code").as_deref(),
            Some(status.as_str())
        );
        assert_eq!(
            matches!(span.status, Status::Error { .. }),
            !ends_well,
            "{status}"
        );
    }
}

#[test]
fn a_response_that_is_not_read_to_its_end_is_cancelled_in_the_span() {
    let spans = spans_of(|| async {
        let layer = UserScopeLayer::builder()
            .strategy(user_header())
            .context_only()
            .build();
        let service =
            layer
                .expect("a valid configuration")
                .layer(service_fn(async |_: Request<()>| {
                    Ok::<_, Infallible>(Response::new(String::from("body")))
                }));
        drop(service.oneshot(request()).await.expect("infallible"));
    });
    assert_eq!(
        attribute(spans.named("user_scope"), "user_scope.ending").as_deref(),
        Some("cancelled")
    );
}

#[test]
fn the_user_is_in_the_span_as_one_setting_says() {
    let key = UserIdKey::new([7; 32]);
    let hash = key.hash(&"alice".parse().expect("an id"));
    for (ids, id, hash) in [
        (UserIdTelemetry::Omitted, None, None),
        (UserIdTelemetry::Plain, Some("alice"), None),
        (UserIdTelemetry::Hashed(key), None, Some(&*hash)),
    ] {
        let spans = spans_of(|| async {
            serve("front", ids, request(), |_| async {
                Response::new(String::new())
            })
            .await;
        });
        let span = spans.named("user_scope");
        assert_eq!(attribute(span, "user.id").as_deref(), id);
        assert_eq!(attribute(span, "user.hash").as_deref(), hash);
    }
}

#[test]
fn two_services_have_one_trace() {
    async fn back(request: Request<()>) {
        serve("back", UserIdTelemetry::Omitted, request, |_| {
            async { Response::new(String::new()) }.instrument(tracing::info_span!("look up"))
        })
        .await;
    }
    let spans = spans_of(|| async {
        serve("front", UserIdTelemetry::Omitted, request(), |_| {
            let work = async {
                let mut onward = request();
                let context = tracing::Span::current().context();
                TraceContextPropagator::new()
                    .inject_context(&context, &mut Headers(onward.headers_mut()));
                back(onward).await;
                Response::new(String::new())
            };
            work.instrument(tracing::info_span!("handle"))
        })
        .await;
    });
    let trace = spans.named("front").span_context.trace_id();
    assert_eq!(spans.0.len(), 6);
    for span in &spans.0 {
        assert_eq!(span.span_context.trace_id(), trace, "{}", span.name);
    }
    assert_eq!(spans.named("front").parent_span_id, SpanId::INVALID);
    // From the innermost outwards, over both services.
    let mut span = spans.named("look up");
    for parent in ["user_scope", "back", "handle", "user_scope", "front"] {
        span = spans.parent_of(span);
        assert_eq!(span.name, parent);
    }
}
