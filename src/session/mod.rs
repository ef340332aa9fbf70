//! Takes the user from sessions in a store of the tower-sessions family.
//!
//! The cookie has the session's id only; the session's data, with the user, is in the store.
//! [`SessionCookie`] reads both, [`FromSession`] takes the session of an outer `SessionManagerLayer`.
//!
//! ```
//! use tower_sessions::MemoryStore;
//! use tower_user_scope::{UserScopeLayer, session::SessionCookie};
//!
//! let layer = UserScopeLayer::builder()
//!     .strategy(SessionCookie::new("__Host-sid", MemoryStore::default()))
//!     .context_only()
//!     .build()?;
//! # let _ = layer;
//! # Ok::<(), tower_user_scope::ConfigError>(())
//! ```

mod cookie;
mod data;
mod error;
mod from_session;
mod id_cookie;
mod lookup;
mod options;
mod seal;
mod store_0_14;

pub use self::{
    cookie::SessionCookie, data::SessionData, error::SessionError, from_session::FromSession,
    seal::CookieKey, store_0_14::TowerSessions014Store,
};
