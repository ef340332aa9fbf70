//! B40: handlers of a shared object get the object of their user without a changed line.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{Extension, Router, body::Body, routing::get};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use tower::ServiceExt;
use tower_user_scope::{
    ExistingContext, PeerAddr, Scoped, TrustedHeader, UserContext, UserScopeLayer,
    scope::IsolationError,
};

/// The application's own type, as it was while one value served all users.
#[derive(Clone)]
struct Agents {
    owner: String,
    built: Arc<AtomicUsize>,
}

/// Handlers that were written for a singleton. All tests below use the same ones.
mod handlers {
    use super::{Agents, Arc, Extension};

    pub(super) async fn shared(Extension(agents): Extension<Arc<Agents>>) -> String {
        format!("an agent of {}", agents.owner)
    }

    pub(super) async fn by_value(Extension(agents): Extension<Agents>) -> String {
        format!("an agent of {}", agents.owner)
    }
}

/// A new handler beside them.
async fn scoped(agents: Scoped<Agents>) -> String {
    format!("an agent of {}", agents.owner)
}

fn routes() -> Router {
    Router::new()
        .route("/shared", get(handlers::shared))
        .route("/by-value", get(handlers::by_value))
        .route("/scoped", get(scoped))
}

fn singleton() -> Agents {
    Agents {
        owner: "whoever asked last".to_owned(),
        built: Arc::default(),
    }
}

async fn ask(app: &Router, path: &str, user: &str) -> (StatusCode, String) {
    let mut request = Request::get(path)
        .header("x-user-id", user)
        .body(Body::empty())
        .expect("a request");
    let proxy = PeerAddr(([10, 0, 0, 7], 4711).into());
    request.extensions_mut().insert(proxy);
    let response = app.clone().oneshot(request).await.expect("infallible");
    let status = response.status();
    let body = response.into_body().collect().await.expect("a body");
    let body = String::from_utf8(body.to_bytes().to_vec()).expect("text");
    (status, body)
}

#[tokio::test]
async fn b40_the_same_handlers_serve_a_singleton_and_then_each_user() {
    let before = routes()
        .layer(Extension(Arc::new(singleton())))
        .layer(Extension(singleton()));
    for path in ["/shared", "/by-value"] {
        let (status, body) = ask(&before, path, "alice").await;
        assert_eq!(status, StatusCode::OK, "{path} worked before");
        assert_eq!(
            body, "an agent of whoever asked last",
            "{path}: the problem"
        );
    }

    let built = Arc::new(AtomicUsize::new(0));
    let counted = built.clone();
    let layer = UserScopeLayer::builder()
        .strategy(
            TrustedHeader::new("x-user-id")
                .from_proxies(["10.0.0.0/8"])
                .expect("a network"),
        )
        .factory(move |user: &UserContext| {
            counted.fetch_add(1, Ordering::SeqCst);
            Agents {
                owner: user.user_id().map_or_else(String::new, ToString::to_string),
                built: counted.clone(),
            }
        })
        .insert_as_arc()
        .insert_as_value()
        .build()
        .expect("a valid configuration");
    // The old singletons may stay: handlers see the value that is inserted last.
    let after = routes()
        .layer(layer)
        .layer(Extension(Arc::new(singleton())))
        .layer(Extension(singleton()));
    for path in ["/shared", "/by-value", "/scoped"] {
        for user in ["alice", "bob", "alice"] {
            let (status, body) = ask(&after, path, user).await;
            assert_eq!(status, StatusCode::OK, "{path} still works");
            assert_eq!(body, format!("an agent of {user}"), "{path}: their own");
        }
    }
    assert_eq!(built.load(Ordering::SeqCst), 9, "a fresh one each time");
}

#[tokio::test]
async fn all_shapes_of_one_request_are_one_instance() {
    async fn compare(
        Extension(shared): Extension<Arc<Agents>>,
        scoped: Scoped<Agents>,
    ) -> Result<String, String> {
        let handle = Scoped::try_get(&scoped).map_err(|error: IsolationError| error.to_string())?;
        let same = std::ptr::eq(handle, &raw const *shared);
        Ok(format!("{same} {}", shared.built.load(Ordering::SeqCst)))
    }
    let layer = UserScopeLayer::builder()
        .strategy(TrustedHeader::new("x-user-id").only_if(|_| true))
        .factory(|_: &UserContext| singleton())
        .insert_as_arc()
        .build()
        .expect("a valid configuration");
    let app = Router::new().route("/", get(compare)).layer(layer);
    assert_eq!(ask(&app, "/", "alice").await.1, "true 0", "by pointer");
}

#[tokio::test]
async fn an_outer_layers_handles_are_removed_in_every_shape() {
    let layer = |owner: &'static str| {
        let factory = move |_: &UserContext| Agents {
            owner: owner.to_owned(),
            built: Arc::default(),
        };
        UserScopeLayer::builder()
            .strategy(TrustedHeader::new("x-user-id").only_if(|_| true))
            .factory(factory)
    };
    let outer = layer("outer").insert_as_arc().insert_as_value().build();
    let inner = layer("inner").build();
    let app = routes()
        .layer(inner.expect("a valid configuration"))
        .layer(outer.expect("a valid configuration"));
    for (path, status) in [
        ("/scoped", StatusCode::OK),
        ("/shared", StatusCode::INTERNAL_SERVER_ERROR),
        ("/by-value", StatusCode::INTERNAL_SERVER_ERROR),
    ] {
        let (seen, body) = ask(&app, path, "alice").await;
        assert_eq!(seen, status, "{path}: {body}");
        assert!(
            !body.contains("outer"),
            "{path}: nothing of the outer layer's"
        );
    }
}

#[tokio::test]
async fn what_two_outer_layers_left_is_removed_by_a_third_that_resolves_anew() {
    struct Inner;

    async fn look(agents: Option<Scoped<Agents>>, inner: Option<Scoped<Inner>>) -> String {
        format!("{} {}", agents.is_some(), inner.is_some())
    }
    let header = || TrustedHeader::new("x-user-id").only_if(|_| true);
    let outer = UserScopeLayer::builder()
        .strategy(header())
        .factory(|_: &UserContext| singleton())
        .build();
    let continues = UserScopeLayer::builder()
        .strategy(ExistingContext::new())
        .factory(|_: &UserContext| Inner)
        .build();
    let anew = UserScopeLayer::builder()
        .strategy(header())
        .context_only()
        .build();
    let outer = outer.expect("a valid configuration");
    let continues = continues.expect("a valid configuration");
    let two = Router::new()
        .route("/", get(look))
        .layer(continues.clone())
        .layer(outer.clone());
    assert_eq!(
        ask(&two, "/", "alice").await.1,
        "true true",
        "one user, both factories"
    );
    let three = Router::new()
        .route("/", get(look))
        .layer(anew.expect("a valid configuration"))
        .layer(continues)
        .layer(outer);
    assert_eq!(
        ask(&three, "/", "alice").await.1,
        "false false",
        "resolved anew, nothing left"
    );
}
