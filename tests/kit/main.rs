//! The crate's tools for tests of applications.

mod testing_kit;
