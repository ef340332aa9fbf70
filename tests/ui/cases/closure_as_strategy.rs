use http::request::Parts;
use tower_user_scope::{Outcome, UserScopeLayer};

fn api_key(_: &Parts) -> Outcome {
    Outcome::Absent
}

fn main() {
    let _ = UserScopeLayer::builder().strategy(api_key);
}
