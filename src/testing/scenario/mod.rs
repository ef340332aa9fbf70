//! Compares what a user sees alone with what the user sees among others.
//!
//! A check (`check`) plays a scenario again and again, each time with a service of its own, as a
//! plan says (`run`, `player`, `plan`, `play`, `state`): by one user alone, and by all in several orders. A scenario acts
//! through a client (`client`, `session`, `reply`, `events`). Responses are taken apart into places (`places`),
//! and places compared (`compare`). For a difference, the fewest requests of others are found that
//! make it (`cause`). Then users ask for what others created (`foreign`).

mod cause;
mod check;
mod client;
mod compare;
mod events;
mod foreign;
mod places;
mod plan;
mod play;
mod player;
mod reply;
mod rules;
mod run;
mod session;
mod state;

pub use self::{check::ScenarioCheck, client::Client, events::EventStream, reply::Reply};
