use tower_user_scope::{
    UserScopeLayer,
    introspection::{ClientAuthentication, Introspection},
};

fn main() {
    let client = ClientAuthentication::basic("api", "secret");
    let strategy = Introspection::new("https://id.example/introspect", client);
    let _ = UserScopeLayer::builder().strategy(strategy);
}
