//! Promises of the crate that need no server: one file for each.

mod answered;
mod audit;
mod cancellation;
mod closing;
mod compile_time;
mod config;
mod context;
mod correlation;
mod entered;
mod explain;
mod factory;
mod fail_closed;
mod header_reading;
mod header_trust;
mod isolation;
mod layers;
mod migration;
mod modifiers;
mod order;
mod rejections;
mod request_ids;
mod require;
mod scope;
mod timers;
mod tower_contract;
mod unanimous;
