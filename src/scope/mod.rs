//! The scope of a request: how long it lives, and in which scopes its factory may be used.
//!
//! A scope opens when a request is accepted and closes when its response's body has been sent,
//! dropped or failed. While the inner service or that body is polled,
//! [`UserContext::current`](crate::UserContext::current) returns the scope's context, and the use of
//! another user's [`Scoped`](crate::Scoped) is refused. A use outside every scope, and one after the
//! factory's own scope has closed, are reported, and refused where the layer asks for that.
//!
//! This module does not know how a user is found or how a factory is made. A scope holds its factory
//! as a `Handle` without a type.
//!
//! ```
//! use tower_user_scope::{ExistingContext, UserScopeLayer, scope::Isolation};
//!
//! let layer = UserScopeLayer::builder()
//!     .strategy(ExistingContext::new())
//!     .isolation(Isolation::Enforce)
//!     .on_close(|closed| println!("{:?}", closed.ending()))
//!     .context_only()
//!     .build()?;
//! # let _ = layer;
//! # Ok::<(), tower_user_scope::ConfigError>(())
//! ```
//!
//! # What the check can't see
//!
//! The check is in the access to a [`Scoped`](crate::Scoped). These pass it by:
//!
//! - fields that were cloned out of a factory, and references that were taken before the scope
//!   changed;
//! - the bare `Arc<F>` and `F` of `insert_as_arc` and `insert_as_value`;
//! - what was sent or written: messages in sockets and queues, log lines, responses in a cache in
//!   front of the layer.
//!
//! The [threat model](crate::guide::threat_model) has a cure for each.

mod attached;
mod close;
mod current;
#[cfg(feature = "tokio")]
mod ended;
mod guard;
mod handle;
mod instrument;
mod open;
mod places;
mod running;
mod state;

pub(crate) use self::{
    attached::Attached,
    close::{Hooks, Watch},
    current::{checks_within_current, within},
    guard::{Guard, Use},
    handle::Handle,
    open::OpenScope,
    running::Running,
    state::ScopeState,
};
pub use self::{
    close::ClosedScope,
    instrument::{InScope, InstrumentScope},
};
#[cfg(feature = "tokio")]
pub use self::{ended::ScopeEndedError, instrument::spawn};
#[cfg(feature = "tokio")]
pub use crate::lifetime::EndReason;
pub use crate::{
    ending::{Ending, WorkOutput},
    isolation::Isolation,
    violation::IsolationError,
};
