//! Sessions in memory and in common stores, one file for each promise.

mod config;
mod cookies;
mod recipes;
mod records;
mod resilience;
mod revoked;
mod stores;
mod support;
mod time_limits;
mod transactions;
