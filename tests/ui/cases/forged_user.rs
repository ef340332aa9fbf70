use tower_user_scope::{Evidence, Identity, UserId};

fn main() {
    let _ = UserId("alice".into());
    let _: UserId = "alice".into();
    let _ = Identity::proved("alice");
    let _ = Evidence(());
}
