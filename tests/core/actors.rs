//! B71: an actor and the user that it acts for are told apart. The user decides what is seen, both are
//! in the context and in the audit, and an operation may refuse actors.

use std::{convert::Infallible, error::Error};

use axum::{Router, body::Body, routing::get};
use http::{Request, Response, StatusCode};
use tower::{Layer, ServiceExt, service_fn};
use tower_user_scope::{
    CredentialSource, Identity, Outcome, Principal, Rejection, Scoped, UserContext, UserId,
    UserScopeLayer,
    audit::{AuditEvent, UserIdTelemetry},
    authorize::Require,
    context::{PortableContext, ServiceName},
    from_fn,
    middleware::RequireLayer,
    rejection::RejectionKind,
    strategy::{BoxStrategy, Strategy},
    testing::{Recorder, Scripted},
};

use crate::audit;

fn user(id: &str) -> UserId {
    id.parse().expect("a user id")
}

fn alice() -> Identity {
    Identity::proved(user("alice"))
}

/// Finds alice, and who acts for her.
fn finds_alice(actor: Option<&'static str>) -> BoxStrategy {
    Scripted::new(move |_| {
        Outcome::Found(match actor {
            Some(actor) => alice().with_actor(user(actor)),
            None => alice(),
        })
    })
    .boxed()
}

async fn resolve(strategies: Vec<BoxStrategy>) -> Result<UserContext, Rejection> {
    let layer = UserScopeLayer::builder()
        .strategies(strategies)
        .unanimous()
        .context_only()
        .build()
        .expect("a valid configuration");
    let service = layer.layer(service_fn(async |request: Request<()>| {
        let context = request.extensions().get::<UserContext>().cloned();
        let mut response = Response::new(String::new());
        response.extensions_mut().insert(context.expect("resolved"));
        Ok::<_, Infallible>(response)
    }));
    let mut response = service.oneshot(Request::new(())).await.expect("infallible");
    let extensions = response.extensions_mut();
    match extensions.remove::<Rejection>() {
        Some(rejection) => Err(rejection),
        None => Ok(extensions
            .remove::<UserContext>()
            .expect("from the handler")),
    }
}

#[test]
fn an_actor_changes_neither_the_subject_nor_a_key() {
    let alone = UserContext::builder(alice()).build();
    let admin = UserContext::builder(alice().with_actor(user("admin"))).build();
    assert_eq!(admin.subject(), alone.subject());
    assert_eq!(admin.scoped_key("cart"), alone.scoped_key("cart"));
    assert_eq!(admin.user_id(), Some(&user("alice")));
    assert_eq!(admin.actor(), Some(&Principal::User(user("admin"))));
    assert_eq!(alone.actor(), None);
    let child = admin.child().expect("not deep");
    assert_eq!(child.actor(), admin.actor(), "a child keeps the actor");
}

#[test]
fn contexts_of_one_user_are_equal_only_if_the_actor_is_the_same() {
    let request_id: tower_user_scope::context::RequestId = "request-1".parse().expect("an id");
    let thread_id: tower_user_scope::context::ThreadId = "thread-1".parse().expect("an id");
    let run_id: tower_user_scope::context::RunId = "run-1".parse().expect("an id");
    let connection_id: tower_user_scope::context::ConnectionId = "socket-1".parse().expect("an id");
    let context = |identity| {
        UserContext::builder(identity)
            .request_id(request_id.clone())
            .thread_id(thread_id.clone())
            .run_id(run_id.clone())
            .connection_id(connection_id.clone())
            .build()
    };
    let (alone, admin) = (context(alice()), context(alice().with_actor(user("admin"))));
    assert_eq!(alone, context(alice()));
    assert_eq!(admin, context(alice().with_actor(user("admin"))));
    assert_ne!(admin, alone);
    assert_ne!(admin, context(alice().with_actor(user("root"))));
}

#[test]
fn an_actor_crosses_a_service_boundary() -> Result<(), Box<dyn Error>> {
    let billing: ServiceName = "billing".parse()?;
    for identity in [
        alice(),
        alice().with_actor(user("admin")),
        alice().with_actor(billing),
    ] {
        let here = UserContext::builder(identity).build();
        let wire = serde_json::to_string(&PortableContext::from(&here))?;
        let there = serde_json::from_str::<PortableContext>(&wire)?.vouched_for("queue")?;
        assert_eq!(there.actor(), here.actor(), "{wire}");
        assert_eq!(there.subject(), here.subject(), "{wire}");
    }
    Ok(())
}

#[tokio::test]
async fn strategies_agree_on_the_actor_or_the_request_is_refused() {
    for (first, second, actor) in [
        (None, None, Ok(None)),
        (Some("admin"), None, Ok(Some("admin"))),
        (None, Some("admin"), Ok(Some("admin"))),
        (Some("admin"), Some("admin"), Ok(Some("admin"))),
        (Some("admin"), Some("root"), Err(())),
    ] {
        let case = (first, second);
        match resolve(vec![finds_alice(first), finds_alice(second)]).await {
            Ok(context) => {
                let found = actor.expect("a conflict");
                assert_eq!(
                    context.actor(),
                    found.map(|id| Principal::User(user(id))).as_ref(),
                    "{case:?}"
                );
            }
            Err(rejection) => {
                assert_eq!(actor, Err(()), "{case:?}");
                assert!(
                    matches!(rejection.kind(), RejectionKind::Conflict { .. }),
                    "{case:?}"
                );
            }
        }
    }
}

#[tokio::test]
async fn an_asserted_identity_does_not_hide_the_actor_of_a_proved_one() {
    let asserted = Scripted::new(|_| Outcome::Found(Identity::asserted(user("alice")))).boxed();
    let context = resolve(vec![asserted, finds_alice(Some("admin"))])
        .await
        .expect("alice");
    assert!(context.evidence().is_proved());
    assert_eq!(context.actor(), Some(&Principal::User(user("admin"))));
}

/// The header `x-actor` names who acts for alice.
fn by_header() -> impl Strategy<Future: Send> + Clone {
    from_fn(CredentialSource::header("x-key"), |head| {
        if !head.headers.contains_key("x-key") {
            return Outcome::Absent;
        }
        let actor = head
            .headers
            .get("x-actor")
            .and_then(|actor| actor.to_str().ok());
        Outcome::Found(match actor {
            Some(actor) => alice().with_actor(user(actor)),
            None => alice(),
        })
    })
}

fn request(path: &str, actor: Option<&str>) -> Request<Body> {
    let mut request = Request::get(path).header("x-key", "k");
    if let Some(actor) = actor {
        request = request.header("x-actor", actor);
    }
    request.body(Body::empty()).expect("a request")
}

#[tokio::test]
async fn a_route_may_refuse_actors_and_the_event_names_both() {
    let recorder = Recorder::new();
    let own = RequireLayer::new(Require::new().no_actor()).observer(recorder.clone());
    let layer = UserScopeLayer::builder()
        .strategy(by_header())
        .factory(|context: &UserContext| context.user_id().cloned())
        .build()
        .expect("a valid configuration");
    let app: Router = Router::new()
        .route(
            "/orders",
            get(async |who: Scoped<Option<UserId>>| format!("{:?}", *who)),
        )
        .route("/password", get(async || "changed").layer(own))
        .layer(layer);
    for (path, actor, status) in [
        ("/orders", None, StatusCode::OK),
        ("/orders", Some("admin"), StatusCode::OK),
        ("/password", None, StatusCode::OK),
        ("/password", Some("admin"), StatusCode::FORBIDDEN),
    ] {
        let response = app
            .clone()
            .oneshot(request(path, actor))
            .await
            .expect("infallible");
        assert_eq!(response.status(), status, "{path} {actor:?}");
    }
    let refused = recorder.events().into_iter().find_map(|event| match event {
        AuditEvent::Refused {
            rejection,
            subject,
            actor,
            ..
        } => Some((rejection, subject, actor)),
        _ => None,
    });
    let (rejection, subject, actor) = refused.expect("an event");
    let RejectionKind::Forbidden { forbidden, .. } = rejection.kind() else {
        panic!("forbidden, and not {rejection}")
    };
    assert_eq!(forbidden.reason(), "acts_for_another");
    assert_eq!(
        subject.expect("alice").principal(),
        &Principal::User(user("alice"))
    );
    assert_eq!(actor.as_deref(), Some(&Principal::User(user("admin"))));
}

#[tokio::test]
async fn a_whole_layer_may_refuse_actors() {
    let layer = UserScopeLayer::builder()
        .strategy(by_header())
        .authorize_with(Require::new().no_actor())
        .context_only()
        .build()
        .expect("a valid configuration");
    let app: Router = Router::new().route("/", get(async || "")).layer(layer);
    for (actor, status) in [
        (None, StatusCode::OK),
        (Some("admin"), StatusCode::FORBIDDEN),
    ] {
        let response = app
            .clone()
            .oneshot(request("/", actor))
            .await
            .expect("infallible");
        assert_eq!(response.status(), status, "{actor:?}");
    }
}

#[tokio::test]
async fn the_log_names_an_actor_as_it_names_users() {
    audit::capture();
    for (telemetry, is_named) in [
        (UserIdTelemetry::Plain, true),
        (UserIdTelemetry::Omitted, false),
    ] {
        let layer = UserScopeLayer::builder()
            .strategy(by_header())
            .authorize(|_, head| match head.uri.path() {
                "/refused" => Err(tower_user_scope::authorize::ForbiddenError::new("never").into()),
                _ => Ok(()),
            })
            .context_only()
            .user_ids_in_telemetry(telemetry)
            .build()
            .expect("a valid configuration");
        let app: Router = Router::new()
            .fallback(get(async || tracing::info!("handled")))
            .layer(layer);
        let actor = if is_named {
            "impersonator-1"
        } else {
            "impersonator-2"
        };
        for path in ["/accepted", "/refused"] {
            app.clone()
                .oneshot(request(path, Some(actor)))
                .await
                .expect("infallible");
        }
        let log = audit::written();
        assert_eq!(log.matches("actor=\"user\"").count(), 2, "{log}");
        let named = log.lines().filter(|line| line.contains(actor));
        // The lines of the accepted request, of its handler, and of the refusal.
        assert_eq!(named.count(), if is_named { 3 } else { 0 }, "{log}");
    }
}
