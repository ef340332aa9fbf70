//! A closure that runs on another thread has the scope of the user whose work it is.

use std::{
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex},
    thread,
};

use axum::{Extension, Router, body::Body, routing::get};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use tower::{ServiceExt, service_fn};
use tower_layer::Layer;
use tower_user_scope::{
    ExistingContext, Identity, Scoped, UserContext, UserId, UserScopeExt, UserScopeLayer,
    scope::IsolationError,
};

struct Agents {
    owner: String,
}

fn context(user: &str) -> UserContext {
    let id = UserId::try_from(user).expect("a valid user id");
    UserContext::builder(Identity::proved(id)).build()
}

fn name() -> Option<String> {
    UserContext::current()?.user_id().map(ToString::to_string)
}

fn agents(user: &UserContext) -> Agents {
    Agents {
        owner: user.user_id().map_or_else(String::new, ToString::to_string),
    }
}

/// Returns alice's handle, which a handler let out of its request. The layer requires a scope.
async fn escaped() -> Scoped<Agents> {
    let layer = UserScopeLayer::builder()
        .strategy(ExistingContext::new())
        .factory(agents)
        .require_scope()
        .build()
        .expect("a valid configuration");
    let out = Arc::new(Mutex::new(None));
    let seen = Arc::clone(&out);
    let service = layer.layer(service_fn(move |request: Request<()>| {
        let mine = request.scoped::<Agents>().expect("inside the layer");
        *seen.lock().expect("no panic in here") = Some(mine.clone());
        async { Ok::<_, Infallible>(Response::new(())) }
    }));
    let mut request = Request::new(());
    request.extensions_mut().insert(context("alice"));
    service.oneshot(request).await.expect("infallible");
    let handle = out.lock().expect("no panic in here").take();
    handle.expect("the handler ran")
}

#[test]
fn the_scope_before_is_restored_also_after_a_panic() {
    let (alice, bob) = (context("alice"), context("bob"));
    let seen = alice.enter(|| {
        let inner = bob.enter(name);
        let panicked = catch_unwind(AssertUnwindSafe(|| bob.enter(|| panic!("planted"))));
        assert!(panicked.is_err(), "the panic goes on to the caller");
        [inner, name()]
    });
    assert_eq!(seen, [Some("bob".to_owned()), Some("alice".to_owned())]);
    assert_eq!(UserContext::current(), None, "none outside");
}

#[tokio::test]
async fn on_a_thread_a_closure_uses_its_own_users_factory_and_no_other() {
    type Case = (&'static str, fn() -> Option<UserContext>);
    let cases: [Case; 3] = [
        ("alice", || Some(context("alice"))),
        ("other user", || Some(context("bob"))),
        ("no scope", || None),
    ];
    let handle = escaped().await;
    for (expected, scope) in cases {
        let handle = handle.clone();
        let used = move || Scoped::try_get(&handle).map(|agents| agents.owner.clone());
        let worker = thread::spawn(move || match scope() {
            Some(context) => context.enter(used),
            None => used(),
        });
        let result = match worker.join().expect("no panic") {
            Ok(owner) => owner,
            Err(IsolationError::OtherUser { .. }) => "other user".to_owned(),
            Err(IsolationError::NoScope { .. }) => "no scope".to_owned(),
            Err(other) => other.to_string(),
        };
        assert_eq!(result, expected);
    }
}

#[tokio::test]
async fn blocking_work_of_a_handler_works_where_a_scope_is_required() {
    async fn report(context: UserContext, agents: Scoped<Agents>) -> String {
        let work = move || context.enter(|| format!("{} {:?}", agents.owner, name()));
        tokio::task::spawn_blocking(work).await.expect("no panic")
    }
    let layer = UserScopeLayer::builder()
        .strategy(ExistingContext::new())
        .factory(agents)
        .require_scope()
        .build()
        .expect("a valid configuration");
    let app = Router::new()
        .route("/", get(report))
        .layer(layer)
        .layer(Extension(context("alice")));
    let request = Request::get("/").body(Body::empty()).expect("a request");
    let response = app.oneshot(request).await.expect("infallible");
    assert_eq!(response.status(), StatusCode::OK);
    let body = response.into_body().collect().await.expect("a body");
    assert_eq!(body.to_bytes(), r#"alice Some("alice")"#);
}
