use tower_user_scope::{Fallback, UserScopeLayer};
fn main() {
    let _ = UserScopeLayer::builder().strategy(Fallback::anonymous());
}
