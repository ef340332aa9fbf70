//! Asks the issuer of a token about it (OAuth 2.0 Token Introspection, RFC 7662).
//!
//! Access tokens that are not JSON Web Tokens mean something to their issuer alone. [`Introspection`]
//! sends each to the issuer's introspection endpoint, checks the answer, and remembers it for a while.
//!
//! ```
//! use std::time::Duration;
//!
//! use tower_user_scope::{
//!     UserScopeLayer, authorize::Require,
//!     introspection::{ClientAuthentication, Introspection},
//! };
//!
//! # fn layer(secret: String) -> Result<(), tower_user_scope::ConfigError> {
//! let client = ClientAuthentication::basic("orders-api", secret);
//! let layer = UserScopeLayer::builder()
//!     .strategy(
//!         Introspection::new("https://id.example/oauth2/introspect", client)
//!             .audience("https://orders.example")
//!             .cache_for(Duration::from_secs(15)),
//!     )
//!     .authorize_with(Require::new().scope("orders:read"))
//!     .context_only()
//!     .build()?;
//! # let _ = layer;
//! # Ok(())
//! # }
//! # layer("a secret from a vault".to_owned()).expect("a valid configuration");
//! ```

mod answer;
mod builder;
mod calls;
mod client;
mod endpoint;
mod error;
mod options;
mod post;
mod settings;
mod strategy;
mod under_way;

pub use self::{
    builder::Introspection,
    client::ClientAuthentication,
    error::IntrospectionError,
    post::{FormRequest, PostForm},
};
