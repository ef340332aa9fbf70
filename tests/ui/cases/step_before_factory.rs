use std::convert::Infallible;

use tower_user_scope::{ExistingContext, UserScopeLayer};

struct Orders;

fn main() {
    let _ = UserScopeLayer::builder()
        .strategy(ExistingContext::new())
        .before_response(|answered| {
            let _orders = answered.scoped();
            Ok::<_, Infallible>(())
        })
        .factory(|_user| Orders)
        .build();
}
