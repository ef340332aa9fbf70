use axum::{Router, routing::get};
use tower_user_scope::{ExistingContext, UserScopeLayer};
fn main() {
    let users = UserScopeLayer::builder()
        .strategy(ExistingContext::new())
        .context_only()
        .build();
    let _: Router = Router::new().route("/", get(async || "hello")).layer(users);
}

// The message can't say what to do: `LayerBuilder::build` does.
