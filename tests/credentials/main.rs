//! Credentials of programs, one file for each promise.

mod api_keys;
mod generated_keys;
mod introspection;
mod introspection_calls;
mod introspection_discovery;
mod introspection_failures;
mod load_balancer;
mod provider;
mod several_kinds;
mod support;
