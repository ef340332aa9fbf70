use tower_user_scope::{ExistingContext, UserScopeLayer};
fn main() {
    let _ = UserScopeLayer::builder()
        .strategy(ExistingContext::new())
        .authorize_async(async |context, _| {
            let _ = context.user_id();
            Ok(())
        })
        .context_only()
        .build();
}

// The message can't say what to do: `LayerBuilder::authorize_async` does.
