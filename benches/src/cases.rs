//! All cases by name, each made when it is wanted.

use crate::{
    access, answered,
    by_hand::ByHand,
    by_hand_scoped::ByHandScoped,
    case::Case,
    documents,
    inner::Inner,
    lookup,
    ours::{self, growth},
    peers::{layers, sessions, tokens},
    requests::{of_users, same, with_user},
    tokens::Kind,
};

/// A case that can be made.
pub struct Entry {
    /// Its name, in tables and ratios.
    pub name: String,
    make: Box<dyn Fn() -> Option<Case>>,
}

impl Entry {
    fn new(name: impl Into<String>, make: impl Fn() -> Case + 'static) -> Self {
        Self::perhaps(name, move || Some(make()))
    }

    fn perhaps(name: impl Into<String>, make: impl Fn() -> Option<Case> + 'static) -> Self {
        Self {
            name: name.into(),
            make: Box::new(make),
        }
    }

    /// Makes it; nothing where the crate has no such strategy yet.
    #[must_use]
    pub fn make(&self) -> Option<Case> {
        (self.make)()
    }
}

const STRATEGIES: [&str; 6] = [
    "header",
    "extension",
    "existing",
    "session",
    "token",
    "fallback",
];

/// A name, what makes the case of a size, and the sizes.
type Growth = (&'static str, fn(usize) -> Case, &'static [usize]);

/// What there may be more and more of, and how much of it is measured.
const GROWTH: &[Growth] = &[
    ("bare_headers", growth::headers_without_layer, &[0, 100]),
    ("headers", growth::headers, &[0, 10, 100]),
    ("cookies", growth::cookies, &[0, 10, 50]),
    ("networks", growth::networks, &[1, 1_000, 10_000]),
    ("keys", growth::keys, &[1, 10, 100]),
    ("issuers", growth::issuers, &[1, 10, 100]),
    ("strategies", growth::strategies, &[0, 10, 50]),
];

/// Everything that is measured, in the order of the table.
#[must_use]
pub fn all() -> Vec<Entry> {
    let mut all = vec![
        Entry::new("none", || Case::new(Inner::<()>::new(), same(with_user()))),
        Entry::new("by_hand", || {
            Case::new(ByHand(Inner::<()>::new()), same(with_user()))
        }),
    ];
    all.push(Entry::new("by_hand_scoped", || {
        Case::new(ByHandScoped(Inner::<()>::new()), same(with_user()))
    }));
    for which in STRATEGIES {
        all.push(Entry::new(format!("{which}_alone"), move || {
            ours::alone(which)
        }));
    }
    for which in STRATEGIES {
        all.push(Entry::new(format!("six_{which}"), move || {
            ours::of_six(which)
        }));
    }
    for absent in 1..=5 {
        all.push(Entry::new(format!("header_after_{absent}"), move || {
            ours::header_after(absent)
        }));
    }
    for which in ["extension", "existing", "session", "token", "api_key"] {
        all.push(Entry::new(format!("header_after_{which}"), move || {
            ours::header_after_one(which)
        }));
    }
    all.extend([
        Entry::new("access_checked", access::checked),
        Entry::new("access_plain", access::plain),
        Entry::new("header_before_response", answered::with_step),
        Entry::new("header_lookup", lookup::absent),
        Entry::new("header_observed", ours::telemetry::nothing),
        Entry::new("header_metrics", ours::telemetry::metrics),
        Entry::new("header_audit_log", ours::telemetry::audit_log),
        Entry::new("header_at_expiry", ours::scopes::ending),
        Entry::new("header_open_scopes", ours::scopes::registered),
        Entry::new("header_rate", ours::scopes::limited_rate),
        Entry::new("header_rate_returned", ours::scopes::returned_rate),
        Entry::new("header_concurrency", ours::scopes::limited_number),
    ]);
    for (name, grown, sizes) in GROWTH {
        for size in *sizes {
            all.push(Entry::new(format!("{name}_{size}"), move || grown(*size)));
        }
    }
    for users in [1, 1_000, 1_000_000] {
        all.push(Entry::new(format!("by_hand_users_{users}"), move || {
            Case::new(ByHand(Inner::<()>::new()), of_users(users))
        }));
        all.push(Entry::new(format!("header_users_{users}"), move || {
            ours::of_users(users)
        }));
    }
    all.extend([
        Entry::new("tower_http_add_extension", layers::add_extension),
        Entry::new(
            "tower_http_validate_request_header",
            layers::validate_request_header,
        ),
        Entry::new(
            "tower_http_async_require_authorization",
            layers::async_require_authorization,
        ),
        Entry::new("axum_from_fn", layers::axum_from_fn),
        Entry::new("api_key_hit", ours::credentials::api_key),
        Entry::new("introspection_hit", ours::credentials::introspected),
        Entry::new("session_store", ours::session::loaded),
        Entry::new("tower_sessions", sessions::tower_sessions),
        Entry::new("axum_login", sessions::axum_login),
    ]);
    for kind in Kind::ALL {
        let name = kind.name();
        all.extend([
            Entry::new(format!("{name}_jsonwebtoken"), move || tokens::bare(kind)),
            Entry::new(format!("{name}_jwt_authorizer"), move || {
                tokens::jwt_authorizer(kind)
            }),
            Entry::new(format!("{name}_axum_jwt_auth"), move || {
                tokens::axum_jwt_auth(kind)
            }),
            Entry::new(format!("{name}_tower_oauth2"), move || {
                tokens::tower_oauth2(kind)
            }),
            Entry::perhaps(format!("{name}_ours_miss"), move || {
                ours::token::verified(kind)
            }),
            Entry::perhaps(format!("{name}_ours_hit"), move || {
                ours::token::cached(kind)
            }),
        ]);
    }
    all
}

/// The case of this name.
///
/// # Panics
/// Where there is none.
#[must_use]
pub fn named(name: &str) -> Case {
    let entry = all().into_iter().find(|entry| entry.name == name);
    entry
        .and_then(|entry| entry.make())
        .or_else(|| documents::named(name))
        .unwrap_or_else(|| panic!("no case {name}"))
}
