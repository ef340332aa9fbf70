//! Sessions in memory and in common stores, and what replicas share in Redis; one file for each
//! promise.

mod config;
mod cookies;
mod pools;
mod recipes;
mod records;
mod replicas;
mod resilience;
mod revoked;
mod shared_limits;
mod stores;
mod support;
mod time_limits;
mod transactions;
