//! What is measured, and beside whom.
//!
//! Each case is one request through one service, the same request for all cases that can be
//! compared. Programs measure: `bench time` the clock, `count` allocations and instructions,
//! `bench threads` what happens on several threads, `bench load` a server (`bench serve`) under
//! a load generator. The script `run` runs them all.

pub mod access;
pub mod answered;
pub mod by_hand;
pub mod by_hand_scoped;
pub mod callgrind;
pub mod case;
pub mod cases;
pub mod counting;
pub mod documents;
pub mod inner;
pub mod lookup;
pub mod ours;
pub mod peers;
pub mod programs;
pub mod ratios;
pub mod requests;
pub mod rounds;
pub mod served;
pub mod tokens;
