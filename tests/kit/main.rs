//! The crate's tools for tests of applications.

mod ends;
mod forms;
mod honest;
mod log_ins;
mod races;
mod reports;
mod scenarios;
mod services;
mod support;
mod tasks;
mod testing_kit;
