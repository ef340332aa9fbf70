use axum::{Router, routing::get};
use tower::util::option_layer;
use tower_user_scope::{ExistingContext, UserScopeLayer};
fn main() {
    let users = UserScopeLayer::builder()
        .strategy(ExistingContext::new())
        .context_only()
        .build()
        .unwrap();
    let _: Router = Router::new()
        .route("/", get(async || "hello"))
        .layer(option_layer(Some(users)));
}

// The message can't say what to do: the guide's recipe for a layer by configuration does.
