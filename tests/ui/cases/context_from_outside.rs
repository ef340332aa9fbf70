use tower_user_scope::{
    Identity, UserContext,
    context::{Evidence, PortableContext},
};

fn main() {
    let _: UserContext = serde_json::from_str("{}").unwrap();
    let _: Identity = serde_json::from_str("{}").unwrap();
    let _: Evidence = serde_json::from_str("{}").unwrap();
    let arrived: PortableContext = serde_json::from_str("{}").unwrap();
    let _: UserContext = arrived.into();
}
