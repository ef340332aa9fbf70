//! Tools for tests of applications: requests as a user, scripted strategies, a strict inner service, a
//! recorder of events, and two checks for leaks between users.
//!
//! [`IsolationCheck`] sends requests of many users at once and looks for ids and secrets of others in
//! the responses. [`ScenarioCheck`] compares what a user sees alone and among others.
//!
//! Not for production: turn the feature `testing` on under `[dev-dependencies]`.
//!
//! ```
//! use http::{Request, Response};
//! use tower::{ServiceExt, service_fn};
//! use tower_user_scope::{Scoped, UserScopeExt, testing::AsUser};
//!
//! struct Agents { name: &'static str }
//!
//! /// The handler under test.
//! async fn handler(request: Request<()>) -> Result<Response<String>, std::convert::Infallible> {
//!     let agents = request.scoped::<Agents>().expect("inside the layer");
//!     Ok(Response::new(agents.name.to_owned()))
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! // No layer is needed to test one handler.
//! let request = Request::new(()).as_user_with("alice", Agents { name: "researcher" });
//! let response = service_fn(handler).oneshot(request).await.expect("infallible");
//! assert_eq!(response.body(), "researcher");
//! # }
//! ```

#![allow(
    clippy::panic,
    clippy::expect_used,
    reason = "a mistake in a test fails the test"
)]

mod as_user;
mod body;
mod clock;
mod isolation;
mod recorder;
mod report;
mod scenario;
mod scripted;
mod strict;
mod uncovered;

pub use self::{
    as_user::AsUser,
    body::TestBody,
    clock::TestClock,
    isolation::{IsolationCheck, TestUser},
    recorder::Recorder,
    report::{Finding, IsolationReport, Location},
    scenario::{Client, EventStream, Reply, ScenarioCheck},
    scripted::Scripted,
    strict::StrictService,
    uncovered::uncovered,
};
