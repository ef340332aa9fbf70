//! Finds what one user sees of another.
//!
//! From the outside in: a check (`check`) polls exchanges (`exchange`) in an order of its own
//! (`schedule`), cancels some (`depth`), and looks at what came back (`observe`) for ids and secrets
//! (`marks`) in any form (`decode`). The layer's events are looked at in the end (`events`).

mod check;
mod decode;
mod depth;
mod erased;
mod events;
mod exchange;
mod logs;
mod marks;
mod observe;
mod options;
mod schedule;
mod shared;
mod timer;
mod user;
mod users;

pub use self::{check::IsolationCheck, user::TestUser};
pub(in crate::testing) use self::{
    depth::{Depths, WHOLE},
    erased::{Erased, SendRequest},
    events::Events,
    exchange::{Advance, Answer, End, message},
    logs::Logs,
    observe::{Observed, unpacked_body},
    options::{CheckOptions, check_options},
    schedule::Schedule,
    shared::SharedPaths,
    timer::Timer,
    users::Users,
};
