//! The programs of the README and of the guides, compiled and run as documentation tests.
//!
//! A package of its own, as they need servers, clients and stores that users of the crate don't have
//! to compile.

#![allow(
    clippy::doc_markdown,
    reason = "the pages are written for readers of Markdown, not of an API"
)]

mod try_out;

pub use self::try_out::{certificate, read};

macro_rules! documents {
    ($($name:ident: $path:literal)*) => {
        $(#[doc = include_str!($path)] pub mod $name {})*
    };
}

documents! {
    readme: "../../README.md"
    choosing_strategies: "../../src/guide/choosing_strategies.md"
    recipes: "../../src/guide/recipes.md"
    identity_headers: "../../src/guide/identity_headers.md"
    threat_model: "../../src/guide/threat_model.md"
    operating: "../../src/guide/operating.md"
    testing: "../../src/guide/testing.md"
    migrating: "../../src/guide/migrating.md"
    jobs_and_sockets: "../../src/guide/jobs_and_sockets.md"
    ending_scopes: "../../src/guide/ending_scopes.md"
    demo: "../../src/guide/demo.md"
    performance: "../../src/guide/performance.md"
}
