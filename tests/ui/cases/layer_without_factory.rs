use tower_user_scope::{ExistingContext, UserScopeLayer};

fn main() {
    let _ = UserScopeLayer::builder()
        .strategy(ExistingContext::new())
        .build();
}
