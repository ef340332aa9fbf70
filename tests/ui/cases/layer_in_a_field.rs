use tower_user_scope::{ExistingContext, UserScopeLayer};
struct App {
    users: UserScopeLayer,
}
fn main() {
    let users = UserScopeLayer::builder()
        .strategy(ExistingContext::new())
        .context_only()
        .build()
        .unwrap();
    let _ = App { users };
}

// The message can't say what to do: `UserScopeLayer`, and the recipe of the guide that it names does.
