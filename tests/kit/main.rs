//! The crate's tools for tests of applications.

mod ends;
mod forms;
mod support;
mod testing_kit;
