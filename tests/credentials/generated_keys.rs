//! New keys: their form, their secrecy, and the prefixes that they may have.

use std::collections::{HashMap, HashSet};

use tower_user_scope::{
    ConfigError,
    api_key::{ApiKey, ApiKeyHash, ApiKeyId, ApiKeys},
    strategy::Strategy,
    token::TokenSource,
};

use crate::support::keys::{Mode, Table};

#[test]
fn a_new_key_has_three_parts_of_letters_and_digits() {
    let key = ApiKey::generate("acme_live").expect("a prefix");
    let text = key.expose_secret();
    let (id, secret) = text
        .strip_prefix("acme_live_")
        .and_then(|rest| rest.split_once('_'))
        .expect("three parts");
    assert_eq!(id, key.id().as_str());
    assert_eq!((id.len(), secret.len()), (16, 43));
    assert!(
        format!("{id}{secret}")
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric())
    );
    assert_eq!(ApiKeyHash::of(text), key.hash());
}

#[test]
fn no_two_keys_are_alike_and_no_character_is_rare() {
    let keys: Vec<ApiKey> = (0..2_000)
        .map(|_| ApiKey::generate("a").expect("a prefix"))
        .collect();
    let ids: HashSet<_> = keys.iter().map(ApiKey::id).collect();
    let mut counts = HashMap::<char, usize>::new();
    for key in &keys {
        for character in key.expose_secret()[2..].chars().filter(|it| *it != '_') {
            *counts.entry(character).or_default() += 1;
        }
    }
    assert_eq!(ids.len(), keys.len());
    assert_eq!(counts.len(), 62);
    // 1,903 on average; seven standard deviations are 300.
    for (character, count) in counts {
        assert!((1_600..2_200).contains(&count), "{character}: {count}");
    }
}

#[test]
fn what_is_shown_of_a_key_has_no_secret() {
    let table = Table::new(Mode::Answers);
    let key = table.add(|record| record);
    let secret = &key.expose_secret()[key.expose_secret().len() - 43..];
    let strategy = ApiKeys::new("acme", table);
    for shown in [
        format!("{key:?}"),
        format!("{:?}", key.hash()),
        format!("{strategy:?}"),
    ] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn a_hash_is_equal_to_itself_alone() {
    let hash = ApiKeyHash::of("acme_1_secret");
    for place in 0..32 {
        let mut bytes = *hash.as_bytes();
        bytes[place] ^= 1;
        assert_ne!(ApiKeyHash::from(bytes), hash);
    }
    assert_eq!(ApiKeyHash::from(*hash.as_bytes()), hash);
}

#[test]
fn prefixes_and_places_are_checked_when_the_layer_is_built() {
    for (prefix, fits) in [
        ("a", true),
        ("acme_live", true),
        ("acme-live", true),
        (&"a".repeat(32), true),
        (&"a".repeat(33), false),
        ("", false),
        ("acme_", false),
        ("acme live", false),
        ("ac,me", false),
        ("ac.me", false),
        ("acmé", false),
    ] {
        let checked = ApiKeys::new(prefix, Table::new(Mode::Answers)).validate();
        let error = ConfigError::ApiKeyPrefix {
            prefix: prefix.to_owned(),
        };
        let expected = if fits { Ok(()) } else { Err(error) };
        assert_eq!(checked, expected, "{prefix}");
        assert_eq!(ApiKey::generate(prefix).map(|_| ()), expected, "{prefix}");
    }
    for name in ["authorization", "cookie", "", "x y"] {
        let strategy = ApiKeys::new("acme", Table::new(Mode::Answers));
        let checked = strategy.token_source(TokenSource::header(name)).validate();
        assert!(
            matches!(checked, Err(ConfigError::TokenSource { .. })),
            "{name}"
        );
    }
}

#[test]
fn an_identifier_has_letters_and_digits_alone() {
    for (text, fits) in [
        ("1", true),
        (&*"a".repeat(64), true),
        (&*"a".repeat(65), false),
        ("", false),
        ("a_b", false),
        ("a b", false),
        ("ä", false),
        ("a\n", false),
    ] {
        assert_eq!(ApiKeyId::try_from(text).is_ok(), fits, "{text:?}");
    }
}
