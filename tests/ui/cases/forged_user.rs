use tower_user_scope::{Identity, UserId, context::Evidence};

fn main() {
    let _ = UserId("alice".into());
    let _: UserId = "alice".into();
    let _ = Identity::proved("alice");
    let _ = Evidence(());
}
