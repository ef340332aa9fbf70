//! What would happen to a request is what happens to it, told without making it.

use std::convert::Infallible;

use http::{Request, Response, request::Parts};
use tower::{ServiceExt, service_fn};
use tower_layer::Layer;
use tower_user_scope::{
    ExplainedStep, Fallback, Identity, Invalid, InvalidReason, Outcome, Reads, Rejection, Strategy,
    TrustedHeader, UserContext, UserId, UserScopeLayer, from_async_fn,
    testing::{Recorder, uncovered},
};

fn waiting_key() -> impl Strategy<Future: Send> + Clone {
    from_async_fn(Reads::header("x-key"), |head| {
        let key = head.headers.get("x-key").cloned();
        async move {
            tokio::task::yield_now().await;
            match key {
                None => Outcome::Absent,
                Some(key) if key == "good" => {
                    Identity::proved(UserId::try_from("alice").expect("an id")).into()
                }
                Some(_) => Invalid::new(InvalidReason::Rejected("key")).into(),
            }
        }
    })
    .named("key")
}

fn head(headers: &[(&'static str, &'static str)]) -> Parts {
    let mut request = Request::builder();
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).expect("a request").into_parts().0
}

#[tokio::test]
async fn an_explanation_says_what_happens() {
    let recorder = Recorder::new();
    let layer = UserScopeLayer::builder()
        .strategy(
            TrustedHeader::new("x-user-id")
                .from_proxies(["10.0.0.0/8"])
                .expect("good"),
        )
        .strategy(waiting_key().optional().named("optional"))
        .strategy(waiting_key())
        .fallback(Fallback::service("internal"))
        .observer(recorder.clone())
        .context_only()
        .build()
        .expect("good");
    for (headers, expected) in [
        (
            &[("x-key", "good")][..],
            "trusted_header: absent\noptional: found\ngoes on as a user, proved by optional",
        ),
        (
            &[("x-key", "bad")],
            "trusted_header: absent\noptional: invalid\n\
             optional: passed over, because its credential was rejected: key\nkey: invalid\n\
             refused with 401 Unauthorized: the credential of strategy `key` was rejected: key",
        ),
        (
            &[],
            "trusted_header: absent\noptional: absent\nkey: absent\n\
             goes on as a service, fallback by service_fallback",
        ),
    ] {
        let head = head(headers);
        let why = layer.explain(&head).await;
        assert_eq!(why.to_string(), expected, "{headers:?}");
        assert!(recorder.events().is_empty(), "nothing has happened");

        let inner = service_fn(async |request: Request<()>| {
            let mut response = Response::new(());
            let context = request.extensions().get::<UserContext>().cloned();
            response.extensions_mut().insert(context.expect("accepted"));
            Ok::<_, Infallible>(response)
        });
        let request = Request::from_parts(head, ());
        let response = layer
            .layer(inner)
            .oneshot(request)
            .await
            .expect("infallible");
        let extensions = response.extensions();
        match why.answer() {
            Ok(context) => {
                let real = extensions.get::<UserContext>().expect("it was accepted");
                assert_eq!(context.subject(), real.subject());
                assert_eq!(context.strategy(), real.strategy());
            }
            Err(rejection) => {
                let real = extensions.get::<Rejection>().expect("it was refused");
                assert_eq!(rejection.to_string(), real.to_string());
            }
        }
        // The last event is of the scope, which closes with the response.
        drop(response);
        let _ = recorder.take();
    }
}

#[tokio::test]
async fn what_would_be_removed_is_told_and_stays() {
    let layer = UserScopeLayer::builder()
        .strategy(
            TrustedHeader::new("x-user-id")
                .from_proxies(["10.0.0.0/8"])
                .expect("good"),
        )
        .context_only()
        .build()
        .expect("good");
    let head = head(&[("x-user-id", "alice"), ("x_user_id", "bob")]);
    let why = layer.explain(&head).await;
    let removed = why.steps().iter();
    let removed = removed.filter(|step| matches!(step, ExplainedStep::Stripped { .. }));
    assert_eq!(removed.count(), 2, "{why}");
    assert_eq!(head.headers.len(), 2, "the request is as it was");
}

#[tokio::test]
async fn routes_that_no_layer_covers_are_found_whatever_it_lets_in() {
    for fallback in [None, Some(Fallback::anonymous())] {
        let builder = UserScopeLayer::builder().strategy(waiting_key());
        let builder = match fallback {
            Some(fallback) => builder.fallback(fallback),
            None => builder,
        };
        let layer = builder.context_only().build().expect("good");
        let app: axum::Router = axum::Router::new()
            .route("/in", axum::routing::get(async || "in"))
            .layer(layer)
            .route("/out", axum::routing::get(async || "out"));
        let open = uncovered(app, ["/in", "/out", "/nowhere"], axum::body::Body::empty).await;
        assert_eq!(open, ["/out"]);
    }
}
