use std::convert::Infallible;

use tower_user_scope::{ExistingContext, UserScopeLayer};

fn main() {
    let _ = UserScopeLayer::builder()
        .strategy(ExistingContext::new())
        .context_only()
        .before_response(|answered| {
            let _orders = answered.scoped();
            Ok::<_, Infallible>(())
        })
        .build();
}
