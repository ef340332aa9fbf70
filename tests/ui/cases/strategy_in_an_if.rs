use tower_user_scope::{DevelopmentUser, ExistingContext, UserScopeLayer};
fn main() {
    let development = true;
    let mut builder = UserScopeLayer::builder().strategy(ExistingContext::new());
    if development {
        builder = builder.strategy(DevelopmentUser::new("dev"));
    }
    let _ = builder;
}

// The message can't say what to do: `LayerBuilder::strategy` does.
