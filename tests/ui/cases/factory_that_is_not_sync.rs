use std::cell::Cell;

use tower_user_scope::{ExistingContext, UserScopeLayer};

fn main() {
    let _ = UserScopeLayer::builder()
        .strategy(ExistingContext::new())
        .factory(|_| Cell::new(1));
}
