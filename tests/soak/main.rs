//! Slow tests: full load, all interleavings of threads, all characters, random schedules.

mod load;
mod log;
mod model;
mod rates;
mod server;
mod unicode;
