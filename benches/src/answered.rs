//! What a step before the response costs: the layer with the header alone, and one synchronous step.

use std::convert::Infallible;

use tower_layer::Layer;
use tower_user_scope::{TrustedHeader, UserScopeLayer};

use crate::{case::Case, inner::Inner, ours::make, requests};

/// The layer of `header_alone`, with a step that looks at the status.
///
/// # Panics
/// Where the layer is not valid.
#[must_use]
pub fn with_step() -> Case {
    let layer = UserScopeLayer::builder()
        .strategy(
            TrustedHeader::new(requests::USER)
                .from_proxies(["10.0.0.0/8"])
                .expect("a network"),
        )
        .factory(make)
        .before_response(|answered| {
            std::hint::black_box(answered.is_success());
            Ok::<_, Infallible>(())
        })
        .build()
        .expect("a valid layer");
    Case::new(
        layer.layer(Inner::<()>::new()),
        requests::same(requests::with_user()),
    )
}
