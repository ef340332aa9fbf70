//! Nested layers: nothing that an outer layer leaves in a request bypasses an inner layer.

use std::{convert::Infallible, sync::Arc};

use http::{Request, Response, StatusCode};
use tower::{Service, ServiceExt, service_fn, util::MapRequest};
use tower_layer::Layer;
use tower_user_scope::{
    CredentialSource, ExistingContext, Fallback, Identity, InvalidError, MaybeFuture, Outcome,
    Scoped, TrustedHeader, UserContext, UserId, UserScopeExt, UserScopeLayer,
    context::ThreadId,
    from_fn,
    strategy::{InvalidErrorKind, Strategy},
};

fn user(id: &str) -> UserId {
    UserId::try_from(id).expect("an id")
}

fn thread(id: &str) -> ThreadId {
    ThreadId::try_from(id).expect("an id")
}

/// A key is its owner's name, `BAD` is invalid, and some keys are bound to one thread.
fn api_key() -> impl Strategy<Future: Send> + Clone {
    from_fn(CredentialSource::header("x-key"), |head| {
        let Some(key) = head.headers.get("x-key") else {
            return Outcome::Absent;
        };
        match key.to_str().expect("text").split_once('/') {
            Some((owner, only)) => Identity::proved(user(owner))
                .with_thread_id(thread(only))
                .into(),
            None if key == "BAD" => InvalidError::new(InvalidErrorKind::Rejected("key")).into(),
            None => Identity::proved(user(key.to_str().expect("text"))).into(),
        }
    })
}

fn header() -> impl Strategy<Future: Send> + Clone {
    from_fn(CredentialSource::header("x-user-id"), |head| {
        match head.headers.get("x-user-id") {
            Some(id) => Identity::asserted(user(id.to_str().expect("text"))).into(),
            None => Outcome::Absent,
        }
    })
}

fn request(headers: &[(&'static str, &str)]) -> Request<()> {
    let mut request = Request::new(());
    for (name, value) in headers {
        let value = value.parse().expect("a header value");
        request.headers_mut().insert(*name, value);
    }
    request
}

async fn describe(request: Request<()>) -> Result<Response<String>, Infallible> {
    let context = request.user_context().expect("the layer is there");
    Ok(Response::new(format!(
        "{:?} in {}",
        context.principal(),
        context.thread_id()
    )))
}

async fn answer<S, B>(service: S, request: Request<()>) -> (StatusCode, String)
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible>,
    B: http_body::Body<Data = bytes::Bytes>,
    B::Error: std::fmt::Debug,
{
    use http_body_util::BodyExt as _;
    let response = service.oneshot(request).await.expect("infallible");
    let (head, body) = response.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    (head.status, String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test]
async fn an_outer_fallback_acts_only_where_nothing_was_sent_to_the_inner_layer_either() {
    let outer = UserScopeLayer::builder()
        .strategy(header())
        .fallback(Fallback::service("internal"))
        .context_only()
        .build()
        .expect("good");
    let inner = UserScopeLayer::builder()
        .strategy(ExistingContext::new())
        .strategy(api_key())
        .context_only()
        .build()
        .expect("good");
    for (sent, status, who) in [
        (
            &[][..],
            StatusCode::OK,
            "Service(ServiceName(\"internal\"))",
        ),
        (
            &[("x-key", "alice")],
            StatusCode::OK,
            "User(UserId(\"alice\"))",
        ),
        (&[("x-key", "BAD")], StatusCode::UNAUTHORIZED, ""),
        (
            &[("x-user-id", "bob")],
            StatusCode::OK,
            "User(UserId(\"bob\"))",
        ),
    ] {
        let service = outer.layer(inner.layer(service_fn(describe)));
        let (got, body) = answer(service, request(sent)).await;
        assert_eq!(got, status, "{sent:?}");
        assert!(
            body.starts_with(who) || status != StatusCode::OK,
            "{sent:?}: {body}"
        );
    }
}

#[tokio::test]
async fn a_credential_for_one_thread_is_for_that_thread_in_inner_layers_too() {
    let outer = UserScopeLayer::builder()
        .strategy(header())
        .context_only()
        .build()
        .expect("good");
    let inner = UserScopeLayer::builder()
        .strategy(ExistingContext::new())
        .strategy(api_key())
        .unanimous()
        .context_only()
        .build()
        .expect("good");
    let base = [("x-user-id", "alice"), ("x-key", "alice/t-2")];
    for (thread, status) in [
        (Some("t-1"), StatusCode::BAD_REQUEST),
        (Some("t-2"), StatusCode::OK),
        (None, StatusCode::OK),
    ] {
        let mut request = request(&base);
        if let Some(thread) = thread {
            let thread = thread.parse().expect("a header value");
            request.headers_mut().insert("x-thread-id", thread);
        }
        let service = outer.layer(inner.layer(service_fn(describe)));
        let (got, body) = answer(service, request).await;
        assert_eq!(got, status, "{thread:?}: {body}");
        assert!(
            status != StatusCode::OK || body.ends_with(" in t-2"),
            "{thread:?}: {body}"
        );
    }
    // A context from the builder, for another thread.
    let by_hand = UserContext::builder(Identity::asserted(user("alice")))
        .thread_id(thread("t-1"))
        .build();
    let mut sent = request(&base[1..]);
    sent.extensions_mut().insert(by_hand);
    let (status, _) = answer(inner.layer(service_fn(describe)), sent).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn credentials_for_different_threads_are_refused_together() {
    let second = from_fn(CredentialSource::header("x-second"), |head| {
        match head.headers.get("x-second") {
            Some(only) => {
                let only = thread(only.to_str().expect("text"));
                Identity::asserted(user("alice"))
                    .with_thread_id(only)
                    .into()
            }
            None => Outcome::Absent,
        }
    });
    let layer = UserScopeLayer::builder()
        .strategy(second)
        .strategy(api_key())
        .unanimous()
        .context_only()
        .build()
        .expect("good");
    for (only, status) in [("t-1", StatusCode::BAD_REQUEST), ("t-2", StatusCode::OK)] {
        let sent = request(&[("x-second", only), ("x-key", "alice/t-2")]);
        let (got, body) = answer(layer.layer(service_fn(describe)), sent).await;
        assert_eq!(got, status, "{only}: {body}");
    }
}

#[test]
fn a_context_made_by_hand_is_for_what_its_identity_is_for() {
    let identity = Identity::proved(user("alice")).with_thread_id(thread("t-1"));
    let context = UserContext::builder(identity).build();
    assert_eq!(context.thread_id(), &thread("t-1"));
}

struct Factory(String);

/// The values of an outer layer that an inner handler finds.
async fn leftovers(request: Request<()>) -> Result<Response<String>, Infallible> {
    let extensions = request.extensions();
    let bare = extensions
        .get::<Arc<Factory>>()
        .map(|factory| factory.0.clone());
    let scoped = extensions.get::<Scoped<Factory>>().is_some();
    Ok(Response::new(format!("{bare:?} {scoped}")))
}

#[tokio::test]
async fn an_outer_factory_is_gone_whatever_a_middleware_made_of_the_context() {
    type Change = fn(&mut Request<()>);
    let outer = UserScopeLayer::builder()
        .strategy(header())
        .factory(|user| Factory(user.scoped_key("factory")))
        .insert_as_arc()
        .build()
        .expect("good");
    let inner = UserScopeLayer::builder()
        .strategy(api_key())
        .context_only()
        .build()
        .expect("good");
    let changes: [(&str, Change); 4] = [
        ("nothing", |_| {}),
        ("a child", |request| {
            let child = request
                .user_context()
                .expect("outer")
                .child()
                .expect("shallow");
            request.extensions_mut().insert(child);
        }),
        ("another context", |request| {
            let other = UserContext::builder(Identity::asserted(user("carol"))).build();
            request.extensions_mut().insert(other);
        }),
        ("no context", |request| {
            request.extensions_mut().remove::<UserContext>();
        }),
    ];
    for (what, change) in changes {
        let between = MapRequest::new(inner.layer(service_fn(leftovers)), move |mut request| {
            change(&mut request);
            request
        });
        let sent = request(&[("x-user-id", "alice"), ("x-key", "bob")]);
        let (_, body) = answer(outer.layer(between), sent).await;
        assert_eq!(
            body, "None false",
            "where a middleware puts {what} in its place"
        );
    }
}

/// Calls the inner layer outside of every scope, as the worker of a `Buffer` does.
#[tokio::test]
async fn an_outer_factory_is_gone_outside_the_outer_scope_too_where_its_context_became_a_child() {
    let outer = UserScopeLayer::builder()
        .strategy(header())
        .factory(|user| Factory(user.scoped_key("factory")))
        .insert_as_arc()
        .build()
        .expect("good");
    let inner = UserScopeLayer::builder()
        .strategy(api_key())
        .context_only()
        .build()
        .expect("good");
    let (queue, mut queued) = tokio::sync::mpsc::unbounded_channel();
    let enqueue = service_fn(move |mut request: Request<()>| {
        let child = request
            .user_context()
            .expect("outer")
            .child()
            .expect("shallow");
        request.extensions_mut().insert(child);
        queue.send(request).expect("somebody listens");
        std::future::ready(Ok::<_, Infallible>(Response::new(String::new())))
    });
    let sent = request(&[("x-user-id", "alice"), ("x-key", "bob")]);
    let _ = answer(outer.layer(enqueue), sent).await;
    let queued = queued.recv().await.expect("it was sent");
    let (_, body) = answer(inner.layer(service_fn(leftovers)), queued).await;
    assert_eq!(body, "None false");
}

#[tokio::test]
async fn a_context_that_passes_through_many_layers_does_not_grow() {
    let layer = UserScopeLayer::builder()
        .strategy(ExistingContext::new())
        .factory(|user| Factory(user.scoped_key("factory")))
        .build()
        .expect("good");
    let mut context = UserContext::builder(Identity::asserted(user("alice"))).build();
    for _ in 0..50_000 {
        let inner = service_fn(async |request: Request<()>| {
            let mut response = Response::new(String::new());
            let context = request.user_context().expect("the layer is there").clone();
            response.extensions_mut().insert(context);
            Ok::<_, Infallible>(response)
        });
        let mut request = Request::new(());
        request.extensions_mut().insert(context.clone());
        let response = layer
            .layer(inner)
            .oneshot(request)
            .await
            .expect("infallible");
        context = response
            .extensions()
            .get::<UserContext>()
            .expect("it was inserted")
            .clone();
    }
    // Fifty thousand nested contexts would overflow the stack here.
    drop(context);
}

#[tokio::test]
async fn every_observer_gets_every_event() {
    use tower_user_scope::testing::Recorder;
    let (first, second) = (Recorder::new(), Recorder::new());
    let layer = UserScopeLayer::builder()
        .strategy(TrustedHeader::new("x-user-id").dangerously_trust_any_peer())
        .observer(first.clone())
        .observer(second.clone())
        .context_only()
        .build()
        .expect("good");
    let sent = request(&[("x-user-id", "alice")]);
    let _ = answer(layer.layer(service_fn(describe)), sent).await;
    assert!(!first.events().is_empty());
    assert_eq!(first.events().len(), second.events().len());
}

#[tokio::test]
async fn what_an_outer_layer_put_beside_its_context_is_gone_beside_a_fresh_identity() {
    #[derive(Clone)]
    struct Bare;
    async fn beside(request: Request<()>) -> Result<Response<String>, Infallible> {
        let extensions = request.extensions();
        let context = request.user_context().expect("the layer is there");
        Ok(Response::new(format!(
            "{} {} {} {}",
            context.user_id().map_or("nobody", UserId::as_str),
            extensions.get::<Bare>().is_some(),
            extensions.get::<Arc<Bare>>().is_some(),
            extensions.get::<Scoped<Bare>>().is_some(),
        )))
    }
    let outer = || {
        UserScopeLayer::builder()
            .strategy(header())
            .factory(|_| Bare)
    };
    // The layer reads outer contexts, so they are in the request while its strategies run.
    let inner = UserScopeLayer::builder()
        .strategy(api_key())
        .strategy(ExistingContext::new())
        .context_only()
        .build()
        .expect("good");
    for (outer, kept) in [
        (outer(), "alice false false true"),
        (outer().insert_as_arc(), "alice false true true"),
        (outer().insert_as_value(), "alice true false true"),
        (
            outer().insert_as_arc().insert_as_value(),
            "alice true true true",
        ),
    ] {
        let outer = outer.build().expect("good");
        for (headers, expected) in [
            (
                &[("x-user-id", "alice"), ("x-key", "bob")][..],
                "bob false false false",
            ),
            (&[("x-user-id", "alice")], kept),
        ] {
            let service = outer.layer(inner.layer(service_fn(beside)));
            let (_, body) = answer(service, request(headers)).await;
            assert_eq!(body, expected, "{headers:?}, else {kept}");
        }
    }
}

/// Otherwise a request would get the ids of an earlier one.
#[tokio::test]
async fn an_identity_that_is_taken_from_a_context_continues_no_other_context() {
    let earlier = UserContext::builder(Identity::asserted(user("alice"))).build();
    let mut request = request(&[]);
    request.extensions_mut().insert(earlier.clone());
    let (head, ()) = request.into_parts();
    let MaybeFuture::Ready(Outcome::Found(found)) = ExistingContext::new().resolve(&head) else {
        panic!("the context is there");
    };
    let kept = UserContext::builder(found).build();
    for known in [kept.clone(), kept.child().expect("not deep")] {
        let layer = UserScopeLayer::builder()
            .strategy(from_fn(CredentialSource::predicate(|_| true), move |_| {
                known.identity().clone().into()
            }))
            .context_only()
            .build()
            .expect("good");
        let inner = service_fn(async |request: Request<()>| {
            let context = request.user_context().expect("the layer is there");
            Ok::<_, Infallible>(Response::new(context.request_id().to_string()))
        });
        let (_, id) = answer(layer.layer(inner), self::request(&[])).await;
        assert_ne!(id, earlier.request_id().as_str());
        assert_ne!(id, kept.request_id().as_str());
    }
}

#[tokio::test]
async fn the_fallback_of_an_outer_layer_comes_before_that_of_an_inner_layer() {
    let layer = |name: &str| {
        UserScopeLayer::builder()
            .strategy(api_key())
            .strategy(ExistingContext::new())
            .fallback(Fallback::service(name))
            .context_only()
            .build()
            .expect("good")
    };
    let service = layer("outer").layer(layer("inner").layer(service_fn(describe)));
    let (_, body) = answer(service, request(&[])).await;
    assert!(body.contains("\"outer\""), "{body}");
}
