use tower_user_scope::{ExistingContext, TrustedHeader, UserScopeLayer};

fn main() {
    let _ = UserScopeLayer::builder()
        .strategy(ExistingContext::new())
        .strategy(ExistingContext::new())
        .strategy(ExistingContext::new())
        .strategy(ExistingContext::new())
        .strategy(ExistingContext::new())
        .strategy(TrustedHeader::new("x-user-id"))
        .strategy(ExistingContext::new())
        .strategy(ExistingContext::new())
        .strategy(ExistingContext::new())
        .strategy(ExistingContext::new())
        .context_only()
        .build();
}
