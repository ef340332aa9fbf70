//! The agents' backend as a program of its own: under the checks for leaks, in two browsers, with stores
//! that are killed, and under load.

mod isolation;
mod load;
mod profiles;
#[allow(dead_code, reason = "other tests use the rest of it")]
#[path = "../../../../tests/session/support/servers.rs"]
mod servers;
mod stores;
mod support;

#[allow(unused_imports, reason = "what is shared with other tests asks for it")]
use self::support::soon;
