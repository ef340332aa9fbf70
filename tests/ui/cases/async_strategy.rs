use tower_user_scope::{CredentialSource, Outcome, UserScopeLayer, from_async_fn};
fn main() {
    let _ = UserScopeLayer::builder().strategy(from_async_fn(
        CredentialSource::header("x-api-key"),
        async |head| {
            let _ = head.headers.get("x-api-key");
            Outcome::Absent
        },
    ));
}

// The message can't say what to do: `from_async_fn` does.
