//! The agents' backend as a program of its own.

mod isolation;
mod support;
