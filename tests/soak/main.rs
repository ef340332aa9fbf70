//! Slow tests: full load, all interleavings of threads, all characters.

mod load;
mod model;
mod server;
mod unicode;
