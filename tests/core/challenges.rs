//! What `WWW-Authenticate` says: the parameters that a layer adds to every `Bearer` challenge.

use std::convert::Infallible;

use axum::{Router, body::Body, routing::get};
use http::{HeaderValue, Request, Response, StatusCode, header, request::Parts};
use tower::{ServiceExt, service_fn};
use tower_layer::Layer;
use tower_user_scope::{
    ConfigError, CredentialSource, ExistingContext, Identity, InvalidError, MaybeFuture, Outcome,
    UserId, UserScopeLayer,
    authorize::{Grants, Require},
    from_fn,
    middleware::RequireLayer,
    rejection::BearerChallenge,
    strategy::{InvalidErrorKind, Presence, Strategy},
};

const METADATA: &str = "https://api.example/.well-known/oauth-protected-resource";

fn complete() -> BearerChallenge {
    BearerChallenge::new()
        .realm("the \"orders\" API")
        .scope(["orders:read", "orders:write"])
        .resource_metadata(METADATA)
}

const ADDED: &str = "realm=\"the \\\"orders\\\" API\", scope=\"orders:read orders:write\", \
    resource_metadata=\"https://api.example/.well-known/oauth-protected-resource\"";

/// Refuses every request, with this challenge.
#[derive(Clone)]
struct Challenging(&'static str);

impl Strategy for Challenging {
    type Future = std::future::Ready<Outcome>;

    fn name(&self) -> &'static str {
        "challenging"
    }

    fn resolve(&self, _: &Parts) -> MaybeFuture<Self::Future> {
        MaybeFuture::ready(InvalidError::new(InvalidErrorKind::Rejected("always")).into())
    }

    fn presence(&self, _: &Parts) -> Presence {
        Presence::Sent
    }

    fn challenge(&self, _: Option<&InvalidError>) -> Option<HeaderValue> {
        Some(HeaderValue::from_static(self.0))
    }
}

#[tokio::test]
async fn every_bearer_challenge_is_completed_and_no_other() {
    for (challenge, sent) in [
        ("Bearer", format!("Bearer {ADDED}")),
        ("Bearer ", format!("Bearer {ADDED}")),
        ("bearer", format!("bearer {ADDED}")),
        (
            "Bearer error=\"invalid_token\"",
            format!("Bearer error=\"invalid_token\", {ADDED}"),
        ),
        // What is there already stays.
        (
            "Bearer REALM=\"mine\", resource_metadata=\"x\"",
            "Bearer REALM=\"mine\", resource_metadata=\"x\", scope=\"orders:read orders:write\""
                .to_owned(),
        ),
        // A name within a value is no parameter.
        (
            "Bearer error_description=\"a \\\", scope=, realm=\"",
            format!("Bearer error_description=\"a \\\", scope=, realm=\", {ADDED}"),
        ),
        ("Basic realm=\"x\"", "Basic realm=\"x\"".to_owned()),
        ("BearerToken", "BearerToken".to_owned()),
    ] {
        let layer = UserScopeLayer::builder()
            .strategy(Challenging(challenge))
            .bearer_challenge(complete())
            .context_only()
            .build()
            .expect("good");
        let inner = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(())));
        let response = layer.layer(inner).oneshot(Request::new(())).await;
        let response = response.expect("infallible");
        assert_eq!(
            response.headers()[header::WWW_AUTHENTICATE],
            sent,
            "{challenge}"
        );
    }
}

#[tokio::test]
async fn a_scope_that_is_missing_is_named_and_not_the_layers() {
    let strategy = || {
        from_fn(CredentialSource::predicate(|_| true), |_| {
            let alice = "alice".parse::<UserId>().expect("an id");
            Identity::proved(alice).with_attribute(Grants::new()).into()
        })
    };
    let require = || Require::new().scope("orders:delete");
    let layer = UserScopeLayer::builder()
        .strategy(strategy())
        .authorize_with(require())
        .bearer_challenge(complete())
        .context_only()
        .build()
        .expect("good");
    let routed = UserScopeLayer::builder()
        .strategy(strategy())
        .context_only()
        .build()
        .expect("good");
    let on_a_route = RequireLayer::new(require()).bearer_challenge(complete());
    let on_a_route = on_a_route.expect("valid parameters");
    for app in [
        Router::new().route("/", get(async || "ok")).layer(layer),
        Router::new()
            .route("/", get(async || "ok").layer(on_a_route))
            .layer(routed),
    ] {
        assert_eq!(refusal(app).await, missing_scope_with(ADDED_TO_A_SCOPE));
    }
}

const MISSING: &str = "Bearer error=\"insufficient_scope\", scope=\"orders:delete\"";
const ADDED_TO_A_SCOPE: &str = ", realm=\"the \\\"orders\\\" API\", \
    resource_metadata=\"https://api.example/.well-known/oauth-protected-resource\"";

fn missing_scope_with(rest: &str) -> String {
    format!("{MISSING}{rest}")
}

/// The challenge of a 403.
async fn refusal(app: Router) -> String {
    let request = Request::get("/").body(Body::empty()).expect("good");
    let response = app.oneshot(request).await.expect("infallible");
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    let challenge = &response.headers()[header::WWW_AUTHENTICATE];
    challenge.to_str().expect("ASCII").to_owned()
}

#[tokio::test]
async fn a_route_has_the_challenge_of_the_layer_around_it_unless_it_has_its_own() {
    let users = |challenge: Option<BearerChallenge>, existing: bool| {
        let alice = from_fn(CredentialSource::predicate(|_| true), |_| {
            let alice = "alice".parse::<UserId>().expect("an id");
            Identity::proved(alice).with_attribute(Grants::new()).into()
        });
        let strategy = if existing {
            ExistingContext::new().boxed()
        } else {
            alice.boxed()
        };
        let builder = UserScopeLayer::builder().strategies([strategy]);
        let builder = match challenge {
            Some(challenge) => builder.bearer_challenge(challenge),
            None => builder,
        };
        builder.context_only().build().expect("good")
    };
    let route = || RequireLayer::new(Require::new().scope("orders:delete"));
    let routed = |route| Router::new().route("/", get(async || "ok").layer(route));
    let realm = |name: &str| BearerChallenge::new().realm(name);

    let app = routed(route()).layer(users(Some(complete()), false));
    assert_eq!(refusal(app).await, missing_scope_with(ADDED_TO_A_SCOPE));
    let app = routed(route()).layer(users(None, false));
    assert_eq!(refusal(app).await, MISSING);
    let own = route().bearer_challenge(realm("own")).expect("valid");
    let app = routed(own).layer(users(Some(complete()), false));
    assert_eq!(refusal(app).await, missing_scope_with(", realm=\"own\""));
    // Of two layers, the nearest one that has a challenge.
    for (inner, rest) in [
        (Some(realm("inner")), ", realm=\"inner\""),
        (None, ", realm=\"outer\""),
    ] {
        let app = routed(route())
            .layer(users(inner, true))
            .layer(users(Some(realm("outer")), false));
        assert_eq!(refusal(app).await, missing_scope_with(rest));
    }
}

#[test]
fn a_value_that_its_parameter_cannot_have_is_an_error() {
    let new = BearerChallenge::new;
    for (challenge, parameter) in [
        (new(), None),
        (complete(), None),
        (
            new()
                .error("invalid_token")
                .error_description("it has ended"),
            None,
        ),
        (new().realm("").realm("api"), None),
        (new().realm(""), Some("realm")),
        (new().realm("a\r\nset-cookie: b"), Some("realm")),
        (new().realm("Ä"), Some("realm")),
        (new().scope(["a", ""]), Some("scope")),
        (new().scope(["a\"b"]), Some("scope")),
        (new().scope([""; 0]), Some("scope")),
        (new().error("a\\b"), Some("error")),
        (new().error_description("\u{7f}"), Some("error_description")),
        (
            new().resource_metadata("/.well-known/x"),
            Some("resource_metadata"),
        ),
        (
            new().resource_metadata("https://a b"),
            Some("resource_metadata"),
        ),
        (
            new().resource_metadata("https://a\", x=\""),
            Some("resource_metadata"),
        ),
    ] {
        let error = parameter.map(|parameter| ConfigError::Challenge { parameter });
        assert_eq!(challenge.header_value().err(), error, "{challenge:?}");
        let layer = UserScopeLayer::builder()
            .strategy(Challenging("Bearer"))
            .bearer_challenge(challenge.clone())
            .context_only()
            .build();
        assert_eq!(layer.err(), error, "{challenge:?}");
        let route = RequireLayer::new(Require::new()).bearer_challenge(challenge);
        assert_eq!(route.err(), error);
    }
}

#[test]
fn a_strategy_of_an_applications_own_builds_its_challenge() {
    let challenge = BearerChallenge::new()
        .error("invalid_token")
        .error_description("ended");
    assert_eq!(
        challenge.header_value().expect("valid"),
        "Bearer error=\"invalid_token\", error_description=\"ended\""
    );
    assert_eq!(
        BearerChallenge::new().header_value().expect("valid"),
        "Bearer"
    );
}
