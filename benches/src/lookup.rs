//! What it costs to find out that a header is not there: less than that no strategy about a
//! header can take.

use std::hint::black_box;

use http::header::COOKIE;

use crate::{case::Case, requests};

/// So many that nothing around them counts.
const LOOKUPS: u32 = 10_000;

/// Looked for in the headers of the other cases.
#[must_use]
pub fn absent() -> Case {
    let request = requests::with_user();
    Case::of(move |times| {
        for _ in 0..times * LOOKUPS {
            black_box(black_box(request.headers()).contains_key(COOKIE));
        }
    })
    .each(f64::from(LOOKUPS))
}
