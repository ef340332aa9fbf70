//! Sessions, in memory and in the stores that people use: one file a promise.

mod config;
mod cookies;
mod recipes;
mod records;
mod resilience;
mod stores;
mod support;
mod time_limits;
