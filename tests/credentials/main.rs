//! Credentials of programs, one file for each promise.

mod api_keys;
mod generated_keys;
mod provider;
mod several_kinds;
mod support;
