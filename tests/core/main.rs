//! What the crate promises wherever it runs: one file a promise.

mod answered;
mod audit;
mod cancellation;
mod closing;
mod compile_time;
mod config;
mod context;
mod correlation;
mod explain;
mod factory;
mod fail_closed;
mod header_trust;
mod isolation;
mod layers;
mod migration;
mod modifiers;
mod order;
mod rejections;
mod scope;
mod tower_contract;
mod unanimous;
