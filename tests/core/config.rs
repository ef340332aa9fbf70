//! A wrong configuration is an error of `build()`, not of the first request.

use std::time::Duration;

use tower_user_scope::{
    ConfigError, CredentialSource, DevelopmentUser, ExistingContext, Fallback, Outcome,
    TrustedHeader, UserScopeLayer, from_async_fn, from_fn,
    strategy::{BoxStrategy, Strategy},
};

type IsExpected = fn(&ConfigError) -> bool;

fn with<S: Strategy>(strategy: S) -> Option<ConfigError> {
    UserScopeLayer::builder()
        .strategy(strategy)
        .context_only()
        .build()
        .err()
}

fn with_fallback(fallback: Fallback) -> Option<ConfigError> {
    UserScopeLayer::builder()
        .fallback(fallback)
        .context_only()
        .build()
        .err()
}

fn header(name: &str) -> TrustedHeader<tower_user_scope::strategy::Trusting> {
    TrustedHeader::new(name).only_if(|_| true)
}

fn many(count: usize) -> Option<ConfigError> {
    let list = (0..count).map(|_| ExistingContext::new().boxed());
    UserScopeLayer::builder()
        .strategies(list)
        .context_only()
        .build()
        .err()
}

#[test]
fn every_mistake_is_an_error_of_build() {
    let absent = |_: &http::request::Parts| Outcome::Absent;
    let secret = |secret: &str| with(TrustedHeader::new("x-user-id").shared_secret("x-s", secret));
    let secrets = |secrets: &[&str]| {
        let secrets = secrets.iter().copied();
        with(TrustedHeader::new("x-user-id").shared_secrets("x-s", secrets))
    };
    let header_name: IsExpected = |error| matches!(error, ConfigError::HeaderName { .. });
    let id: IsExpected = |error| matches!(error, ConfigError::Id(_));
    let zero: IsExpected = |error| matches!(error, ConfigError::ZeroTimeLimit);
    let reused: IsExpected = |error| matches!(error, ConfigError::HeaderReused { .. });
    let empty = UserScopeLayer::builder().context_only().build().err();

    let cases: Vec<(&str, Option<ConfigError>, IsExpected)> = vec![
        ("nothing at all", empty, |error| {
            matches!(error, ConfigError::NoStrategy)
        }),
        ("too many", many(65), |error| {
            matches!(
                error,
                ConfigError::TooManyStrategies {
                    count: 65,
                    limit: 64
                }
            )
        }),
        ("a header name", with(header("x user id")), header_name),
        (
            "a tenant header's name",
            with(header("x-u").tenant_header("")),
            header_name,
        ),
        (
            "a closure's header name",
            with(from_fn(CredentialSource::header("a b"), absent)),
            header_name,
        ),
        (
            "an async closure's header name",
            with(from_async_fn(CredentialSource::header("a:b"), |_| async {
                Outcome::Absent
            })),
            header_name,
        ),
        (
            "a secret's header name",
            with(TrustedHeader::new("x-u").shared_secret("ü", "long enough, surely")),
            header_name,
        ),
        (
            "a list of secrets with one that servers trim",
            secrets(&["long enough, surely", " sixteen letters "]),
            |error| matches!(error, ConfigError::UnsendableSecret),
        ),
        (
            "a secret that servers trim",
            secret(" sixteen letters "),
            |error| matches!(error, ConfigError::UnsendableSecret),
        ),
        (
            "a secret in two lines",
            secret("sixteen\nletters at least"),
            |error| matches!(error, ConfigError::UnsendableSecret),
        ),
        (
            "an identity header that is another credential",
            with(TrustedHeader::new("Authorization").dangerously_trust_any_peer()),
            |error| matches!(error, ConfigError::HeaderReserved { .. }),
        ),
        ("a weak secret", secret("hunter2"), |error| {
            matches!(error, ConfigError::WeakSecret { len: 7, min: 16 })
        }),
        (
            "a secret a byte too short",
            secret(&"x".repeat(15)),
            |error| matches!(error, ConfigError::WeakSecret { len: 15, min: 16 }),
        ),
        (
            "a secret longer than what is compared",
            secret(&"x".repeat(257)),
            |error| matches!(error, ConfigError::LongSecret { len: 257, max: 256 }),
        ),
        (
            "a good secret and a weak one",
            secrets(&["long enough, surely", &"x".repeat(15)]),
            |error| matches!(error, ConfigError::WeakSecret { len: 15, min: 16 }),
        ),
        (
            "a weak secret and a good one",
            secrets(&[&"x".repeat(15), "long enough, surely"]),
            |error| matches!(error, ConfigError::WeakSecret { len: 15, min: 16 }),
        ),
        ("no secret at all", secrets(&[]), |error| {
            matches!(error, ConfigError::NoSecret)
        }),
        (
            "two secrets that would both have to be in one header",
            with(
                TrustedHeader::new("x-user-id")
                    .shared_secret("x-s", "long enough, surely")
                    .shared_secret("X-S", "another one, as long"),
            ),
            |error| matches!(error, ConfigError::SecretsApart { name } if name == "x-s"),
        ),
        (
            "a secret in the header of another credential",
            with(TrustedHeader::new("x-u").shared_secret("Cookie", "long enough, surely")),
            |error| matches!(error, ConfigError::HeaderReserved { name } if name == "cookie"),
        ),
        (
            "one header for user and secret",
            with(TrustedHeader::new("x-u").shared_secret("X-U", "long enough, surely")),
            reused,
        ),
        (
            "headers for tenant and secret that an upstream would take for one",
            with(
                TrustedHeader::new("x-u")
                    .tenant_header("x-t")
                    .shared_secret("x_t", "long enough, surely"),
            ),
            reused,
        ),
        (
            "one header for user and tenant",
            with(header("x-u").tenant_header("X-U")),
            reused,
        ),
        (
            "two that fold alike",
            with(header("x-u").tenant_header("x_u")),
            reused,
        ),
        (
            "a service's name",
            with_fallback(Fallback::service("undefined")),
            id,
        ),
        (
            "an empty service's name",
            with_fallback(Fallback::service("")),
            id,
        ),
        (
            "a development user's id",
            with(DevelopmentUser::new(" dev")),
            id,
        ),
        (
            "no time",
            with(ExistingContext::new().timeout(Duration::ZERO)),
            zero,
        ),
        (
            "no time, boxed",
            many_with(ExistingContext::new().timeout(Duration::ZERO).boxed()),
            zero,
        ),
        (
            "inside modifiers",
            with(header("x y").optional().named("n").when(|_| true)),
            header_name,
        ),
    ];
    for (name, error, is_expected) in cases {
        let error = error.unwrap_or_else(|| panic!("`{name}` must not build"));
        assert!(is_expected(&error), "`{name}` is told as it is: {error:?}");
        assert!(!error.to_string().is_empty(), "`{name}` has words");
    }
}

fn many_with(strategy: BoxStrategy) -> Option<ConfigError> {
    UserScopeLayer::builder()
        .strategies([strategy])
        .context_only()
        .build()
        .err()
}

#[test]
fn the_longest_list_builds() {
    assert_eq!(many(64), None, "64 strategies are allowed");
}

#[test]
fn secrets_of_every_length_that_is_allowed_build() {
    for len in [16, 17, 255, 256] {
        let header = TrustedHeader::new("x-user-id").shared_secret("x-s", "x".repeat(len));
        assert_eq!(with(header), None, "{len} bytes");
    }
}

#[test]
fn a_network_is_checked_where_it_is_written() {
    let no_network: IsExpected = |error| matches!(error, ConfigError::Network { .. });
    let everybody: IsExpected = |error| matches!(error, ConfigError::EveryAddress { .. });
    let host_bits: IsExpected = |error| matches!(error, ConfigError::HostBits { .. });
    let cases: &[(&[&str], IsExpected)] = &[
        (&[], |error| matches!(error, ConfigError::NoNetwork)),
        (&["10.0.0.0/33"], no_network),
        (&["proxy.internal"], no_network),
        (&["10.0.0.0/8", ""], no_network),
        (&["0.0.0.0/0"], everybody),
        (&["10.0.0.0/8", "::/0"], everybody),
        (&["0.0.0.0/1", "128.0.0.0/1"], everybody),
        (&["::/1", "8000::/1"], everybody),
        (&["8.0.0.0/7"], everybody),
        (&["8.0.0.0/8", "9.0.0.0/8"], everybody),
        (&["2000::/3"], everybody),
        (&["::ffff:0:0/96"], everybody),
        (&["10.0.0.7/8"], host_bits),
        (&["fd00::1/8"], host_bits),
    ];
    for (networks, is_expected) in cases {
        let error = TrustedHeader::new("x-user-id")
            .from_proxies(*networks)
            .err()
            .unwrap_or_else(|| panic!("{networks:?} must be refused"));
        assert!(is_expected(&error), "{networks:?}: {error:?}");
    }
    for networks in [
        ["10.0.0.0/8"],
        ["192.0.2.7"],
        ["fd00::/8"],
        ["fc00::/7"],
        ["::1"],
        ["::ffff:10.0.0.0/104"],
        ["::ffff:10.0.0.7"],
    ] {
        let header = TrustedHeader::new("x-user-id").from_proxies(networks);
        assert!(header.is_ok(), "{networks:?} is a network");
    }
}

#[test]
fn a_secret_is_nowhere_in_debug() {
    let header = TrustedHeader::new("x-user-id").shared_secret("x-s", "canary-canary-canary");
    let text = format!("{header:?}");
    assert!(
        text.contains("REDACTED"),
        "it says that there is one: {text}"
    );
    assert!(!text.contains("canary"), "and not what it is: {text}");
}
