use tower_user_scope::{
    UserScopeLayer,
    jwt::{Jwt, KeySet},
};

fn main() {
    let keys = KeySet::from_jwks("{}").unwrap();
    let _ = UserScopeLayer::builder().strategy(Jwt::new(keys).issuer("https://id.example"));
}
