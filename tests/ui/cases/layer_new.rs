use tower_user_scope::UserScopeLayer;
fn main() {
    let _ = UserScopeLayer::new();
}
