//! Metrics, audit logs and spans, as their readers get them, one file for each promise.

mod metrics;
mod promtool;
mod support;
