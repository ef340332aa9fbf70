//! Promises of the crate on servers that are not of the workspace, and with a policy engine: one file for
//! each.

mod jobs;
mod other_tasks;
mod policies;
