//! The header alone, with limits, and with what ends scopes.

use std::time::Duration;

use tower_layer::Layer;
use tower_user_scope::{
    UserScopeLayer,
    limit::{Limit, Rate},
    open_scopes::OpenScopes,
};

use super::{header, make};
use crate::{
    case::Case,
    inner::Inner,
    requests::{same, with_user},
};

macro_rules! with {
    ($($call:ident($($argument:expr)?)),*) => {{
        let layer = UserScopeLayer::builder()
            .strategy(header())
            $(.$call($($argument)?))*
            .factory(make)
            .build()
            .expect("a valid layer");
        Case::new(layer.layer(Inner::<()>::new()), same(with_user()))
    }};
}

/// A rate that is never used up.
fn rate() -> Limit {
    Limit::rate("requests", Rate::new(1_000_000_000, Duration::from_secs(1)))
}

/// A registry of open scopes.
#[must_use]
pub fn registered() -> Case {
    let open = OpenScopes::new(Duration::from_secs(3_600));
    with!(open_scopes(&open))
}

/// Scopes that end with their identity, which has no end.
#[must_use]
pub fn ending() -> Case {
    with!(end_scopes_at_expiry())
}

/// A rate.
#[must_use]
pub fn limited_rate() -> Case {
    with!(limit(rate()))
}

/// A number of open scopes.
#[must_use]
pub fn limited_number() -> Case {
    with!(limit(Limit::concurrency("open", 1_000)))
}

/// A rate, and responses that say what is left.
#[must_use]
pub fn returned_rate() -> Case {
    with!(limit(rate()), return_rate_limits())
}
