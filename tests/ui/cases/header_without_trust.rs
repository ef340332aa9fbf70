use tower_user_scope::{TrustedHeader, UserScopeLayer};

fn main() {
    let _ = UserScopeLayer::builder().strategy(TrustedHeader::new("x-user-id"));
}
