//! Finds what one user sees of another.
//!
//! From the outside in: a check (`check`) polls exchanges (`exchange`) in an order of its own
//! (`schedule`), cancels some (`depth`), and looks at what came back (`observe`) for ids and secrets
//! (`marks`) in any form (`decode`). The layer's events are looked at in the end (`events`).

mod check;
mod decode;
mod depth;
mod events;
mod exchange;
mod marks;
mod observe;
mod schedule;
mod timer;
mod user;

pub use self::{check::IsolationCheck, user::TestUser};
