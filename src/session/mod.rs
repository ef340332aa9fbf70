//! Sessions: a cookie that names a record in a store of the tower-sessions family.
//!
//! The cookie is only a name; whose session it is stands in the store. [`SessionCookie`] reads
//! both by itself, [`FromSession`] takes the session that an outer `SessionManagerLayer` reads.

mod cookie;
mod data;
mod from_session;
mod lookup;
mod problem;
mod seal;
mod store_0_14;
mod wire;

pub use self::store_0_14::TowerSessions014Store;
pub use self::{
    cookie::SessionCookie, data::SessionData, from_session::FromSession, lookup::SessionLookup,
    problem::SessionError,
};
/// The key of a signed or encrypted cookie, of the `cookie` crate; tower-sessions takes the same.
pub use ::cookie::Key as CookieKey;
