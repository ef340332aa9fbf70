use std::{convert::Infallible, rc::Rc};

use tower_user_scope::{ExistingContext, UserScopeLayer};

fn main() {
    let _ = UserScopeLayer::builder()
        .strategy(ExistingContext::new())
        .factory_async(async |_| Ok::<_, Infallible>(Rc::new(1)));
}
