use tower_user_scope::UserScopeLayer;
fn main() {
    let _ = UserScopeLayer::new();
}

// The message can't say what to do: `UserScopeLayer` does.
