//! What takes long to try out: full load, every order in which threads can take their steps, every
//! character.

mod load;
mod model;
mod server;
mod unicode;
