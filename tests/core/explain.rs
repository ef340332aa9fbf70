//! `explain` reports what would happen to a request, without handling it.

use std::{convert::Infallible, net::IpAddr};

use http::{Request, Response, request::Parts};
use tower::{ServiceExt, service_fn};
use tower_layer::Layer;
use tower_user_scope::{
    CredentialSource, ExistingContext, Fallback, Identity, InvalidError, Outcome, PeerAddr,
    Rejection, TrustedHeader, UserContext, UserId, UserScopeLayer,
    audit::AuditEvent,
    from_async_fn, from_fn,
    strategy::{InvalidErrorKind, Strategy},
    testing::{Recorder, uncovered},
};

fn waiting_key() -> impl Strategy<Future: Send> + Clone {
    from_async_fn(CredentialSource::header("x-key"), |head| {
        let key = head.headers.get("x-key").cloned();
        async move {
            tokio::task::yield_now().await;
            match key {
                None => Outcome::Absent,
                Some(key) if key == "good" => {
                    Identity::proved(UserId::try_from("alice").expect("an id")).into()
                }
                Some(_) => InvalidError::new(InvalidErrorKind::Rejected("key")).into(),
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
             optional: ignored, because its credential was rejected: key\nkey: invalid\n\
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
        // The last event belongs to the scope, which closes with the response.
        drop(response);
        let _ = recorder.take();
    }
}

#[tokio::test]
async fn an_explanation_reports_what_would_be_removed_and_removes_nothing() {
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
    let removed = removed.filter(|step| matches!(step, AuditEvent::HeaderStripped { .. }));
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

/// The explanation by a layer that trusts these networks, for a request from this address.
async fn explained(
    networks: &[String],
    peer: Option<[u8; 4]>,
) -> (String, Vec<AuditEvent<'static>>) {
    let recorder = Recorder::new();
    let layer = UserScopeLayer::builder()
        .strategy(
            TrustedHeader::new("x-user-id")
                .from_proxies(networks)
                .expect("good")
                .shared_secret("x-secret", "a canary of enough bytes"),
        )
        .observer(recorder.clone())
        .context_only()
        .build()
        .expect("good");
    let mut head = head(&[
        ("x-user-id", "alice"),
        ("x-secret", "a guess of enough bytes"),
    ]);
    if let Some(peer) = peer {
        let address = (IpAddr::from(peer), 4711).into();
        head.extensions.insert(PeerAddr(address));
    }
    let why = layer.explain(&head).await.to_string();
    let inner = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(())));
    let request = Request::from_parts(head, ());
    let _ = layer.layer(inner).oneshot(request).await;
    (why, recorder.take())
}

#[tokio::test]
async fn a_wrong_peer_is_explained_by_its_address_and_the_networks_that_were_wanted() {
    let few = ["10.0.0.0/8".to_owned(), "fd00::/8".to_owned()];
    let many: Vec<String> = (0..100).map(|at| format!("10.{at}.0.0/16")).collect();
    let (wrong, none) = (Some([203, 0, 113, 9]), None);
    let eight = "10.0.0.0/16, 10.1.0.0/16, 10.2.0.0/16, 10.3.0.0/16, 10.4.0.0/16, 10.5.0.0/16, \
                 10.6.0.0/16, 10.7.0.0/16 and 92 more";
    for (networks, peer, expected) in [
        (
            &few[..],
            wrong,
            "removes x-user-id, peer_not_listed: the peer is 203.0.113.9, wanted is 10.0.0.0/8, \
             fd00::/8\n"
                .to_owned(),
        ),
        (
            &few,
            none,
            "removes x-user-id, unknown_peer: wanted is 10.0.0.0/8, fd00::/8\n".to_owned(),
        ),
        (&many, wrong, format!("wanted is {eight}\n")),
        // The explanation shows no secret, neither the one that was sent nor the right one.
        (
            &few,
            Some([10, 0, 0, 7]),
            "removes x-user-id, secret_mismatch\n".to_owned(),
        ),
    ] {
        let (why, told) = explained(networks, peer).await;
        assert!(why.contains(&expected), "{peer:?}: {why}");
        for secret in ["canary", "guess"] {
            assert!(!why.contains(secret) && !format!("{told:?}").contains(secret));
        }
    }
}

#[tokio::test]
async fn an_ignored_trace_is_reported() {
    let layer = UserScopeLayer::builder()
        .strategy(waiting_key())
        .context_only()
        .build()
        .expect("good");
    let head = head(&[("x-key", "good"), ("traceparent", "00-0-0-0")]);
    let why = layer.explain(&head).await;
    assert_eq!(
        why.to_string(),
        "key: found\ntraceparent does not follow the W3C grammar and is ignored\n\
         goes on as a user, proved by key"
    );
}

#[tokio::test]
async fn beside_an_outer_context_an_explanation_says_what_happens_there() {
    let outer = || {
        let alice = UserId::try_from("alice").expect("an id");
        UserContext::builder(Identity::proved(alice)).build()
    };
    let mut with_outer = head(&[]);
    with_outer.extensions.insert(outer());

    // A layer that does not read the header leaves it in the request.
    let layer = UserScopeLayer::builder()
        .strategy(from_fn(
            CredentialSource::extension::<UserContext>(),
            |head| match head.extensions.get::<UserContext>() {
                Some(_) => InvalidError::new(InvalidErrorKind::Rejected("outer")).into(),
                None => Outcome::Absent,
            },
        ))
        .fallback(Fallback::anonymous())
        .context_only()
        .build()
        .expect("good");
    let why = layer.explain(&with_outer).await;
    assert_eq!(
        why.to_string(),
        "from_fn: absent\ngoes on as a anonymous, fallback by anonymous_fallback"
    );
    assert!(with_outer.extensions.get::<UserContext>().is_some());

    // The explanation of a layer that continues the context says so.
    let layer = UserScopeLayer::builder()
        .strategy(ExistingContext::new())
        .fallback(Fallback::anonymous())
        .context_only()
        .build()
        .expect("good");
    let why = layer.explain(&with_outer).await;
    assert_eq!(
        why.to_string(),
        "existing_context: found\ngoes on as a user, proved by existing_context"
    );
}
