use tower_user_scope::{Evidence, Identity, UserContext};

fn main() {
    let _: UserContext = serde_json::from_str("{}").unwrap();
    let _: Identity = serde_json::from_str("{}").unwrap();
    let _: Evidence = serde_json::from_str("{}").unwrap();
}
