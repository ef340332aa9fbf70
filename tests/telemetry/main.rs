//! Metrics, audit logs and spans, as their readers get them, one file for each promise.

mod audit_log;
mod measured;
mod metrics;
mod promtool;
mod questions;
mod refusals;
mod secrets;
mod spans;
mod support;
