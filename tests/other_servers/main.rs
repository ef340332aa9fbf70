//! Promises of the crate on servers that are not of the workspace: one file for each.

mod jobs;
mod other_tasks;
