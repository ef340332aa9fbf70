//! B29: API keys against their records, what is accepted, what is refused, and what nobody learns from it.

use std::time::Duration;

use http::{HeaderName, Request, StatusCode, header};
use tower_user_scope::{
    Identity, UserId, UserScopeLayer,
    api_key::{ApiKeyError, ApiKeyErrorKind, ApiKeyId, ApiKeyRecord, ApiKeys},
    audit::AuditEvent,
    authorize::{Grants, Require},
    clock::Clock,
    open_scopes::Credential,
    strategy::{InvalidErrorKind, Strategy, StripReason},
    testing::TestClock,
    token::{TokenCache, TokenSource},
};

use crate::support::{
    Answer, Asked, Came, Setup,
    keys::{Mode, Table, alice},
    lines::Lines,
    request,
};

const SECOND: Duration = Duration::from_secs(1);
const MALFORMED: Came = rejected("api_key_malformed");
const UNKNOWN: Came = rejected("api_key_unknown");
const WRONG: Came = rejected("api_key_wrong_secret");
const REVOKED: Came = rejected("api_key_revoked");

const fn rejected(word: &'static str) -> Came {
    Came::Refused(InvalidErrorKind::Rejected(word))
}

fn keys(table: &Table) -> ApiKeys<Table> {
    ApiKeys::new("acme", table.clone())
}

/// A service that lets visitors in where nothing was sent.
fn with_visitors(strategy: ApiKeys<Table>) -> Asked {
    let mut setup = Setup::new([strategy.boxed()]);
    setup.visitors = true;
    setup.service()
}

fn with_key(key: &str) -> Request<()> {
    request(&[("x-api-key", key)])
}

#[tokio::test]
async fn a_key_is_compared_with_the_record_of_its_identifier() {
    for mode in [Mode::Answers, Mode::Waits] {
        let table = Table::new(mode);
        let (key, other) = (table.add(|record| record), table.add(|record| record));
        let good = key.expose_secret();
        let secret = &good[good.len() - 43..];
        let asked = with_visitors(keys(&table));
        let id = key.id();
        for (sent, came, is_asked) in [
            (good.to_owned(), Came::alice(), true),
            (format!(" {good}\t"), Came::alice(), true),
            // The right identifier with a wrong secret, and the reverse.
            (format!("acme_{id}_{}x", &secret[1..]), WRONG, true),
            (format!("acme_{}_{secret}", other.id()), WRONG, true),
            (format!("acme_{id}x_{secret}"), UNKNOWN, true),
            (
                format!("acme_{}_{secret}", &id.as_str()[1..]),
                UNKNOWN,
                true,
            ),
            (format!("acme_{id}_{secret}0"), WRONG, true),
            (format!("acme_{id}_{}", &secret[..42]), WRONG, true),
            // Not the form of a key.
            (format!("acme_{id}_{}", &secret[..21]), MALFORMED, false),
            (
                format!("acme_{id}_{secret}{}", "0".repeat(86)),
                MALFORMED,
                false,
            ),
            (format!("acme_{id}_{secret}_"), MALFORMED, false),
            (format!("acme_{id}-{secret}"), MALFORMED, false),
            (format!("acme_{id}{secret}"), MALFORMED, false),
            (format!("acme__{secret}"), MALFORMED, false),
            (
                format!("acme_{}_{secret}", "a".repeat(65)),
                MALFORMED,
                false,
            ),
            (format!("acme{id}_{secret}"), MALFORMED, false),
            (format!("ACME_{id}_{secret}"), MALFORMED, false),
            (format!("acmee_{id}_{secret}"), MALFORMED, false),
            (format!("{id}_{secret}"), MALFORMED, false),
            (format!("acme_{id}_{}%30", &secret[3..]), MALFORMED, false),
            ("acme_".to_owned(), MALFORMED, false),
            ("garbage".to_owned(), MALFORMED, false),
            ("x".repeat(100_000), MALFORMED, false),
        ] {
            let before = table.asked();
            assert_eq!(asked.came(with_key(&sent)).await, came, "{mode:?} {sent}");
            assert_eq!(table.asked() > before, is_asked, "{mode:?} {sent}");
        }
        assert_eq!(asked.came(request(&[])).await, Came::Visitor);
    }
}

#[tokio::test]
async fn a_key_comes_in_one_place_once() {
    let table = Table::new(Mode::Answers);
    let key = table.add(|record| record);
    let good = key.expose_secret();
    let (bearer, own) = (format!("Bearer {good}"), format!("ApiKey {good}"));
    let malformed = Came::Refused(InvalidErrorKind::Malformed);
    let repeated = Came::Refused(InvalidErrorKind::Repeated);
    let header = || TokenSource::header("x-api-key");
    let scheme = || TokenSource::authorization("ApiKey");
    for (source, headers, came) in [
        (header(), &[("x-api-key", good)][..], Came::alice()),
        (header(), &[("authorization", &bearer)], Came::Visitor),
        (
            header(),
            &[("x-api-key", good), ("x-api-key", good)],
            repeated,
        ),
        (header(), &[("x-api-key", "")], malformed),
        (header(), &[("x_api_key", good)], Came::NotAccepted),
        (
            TokenSource::bearer(),
            &[("authorization", &bearer)],
            Came::alice(),
        ),
        (
            TokenSource::bearer(),
            &[("authorization", "Bearer garbage")],
            MALFORMED,
        ),
        (scheme(), &[("authorization", &own)], Came::alice()),
        (
            scheme(),
            &[("authorization", &own.to_lowercase()[..6])],
            Came::Refused(InvalidErrorKind::Malformed),
        ),
        (
            scheme(),
            &[("authorization", &own.replace("ApiKey", "apikey"))],
            Came::alice(),
        ),
        (
            scheme(),
            &[("authorization", &own.replace(' ', "\t"))],
            Came::Refused(InvalidErrorKind::Malformed),
        ),
        (scheme(), &[("authorization", &bearer)], Came::Visitor),
        (scheme(), &[("authorization", "Basic YTpi")], Came::Visitor),
        // Without its scheme.
        (
            scheme(),
            &[("authorization", good)],
            Came::Refused(InvalidErrorKind::Malformed),
        ),
        (
            scheme(),
            &[("authorization", &format!("Basic YTpi, {own}"))],
            Came::Refused(InvalidErrorKind::Repeated),
        ),
        (
            scheme(),
            &[("authorization", &own), ("authorization", "Basic YTpi")],
            Came::Refused(InvalidErrorKind::Repeated),
        ),
    ] {
        let asked = with_visitors(keys(&table).token_source(source.clone()));
        assert_eq!(
            asked.came(request(headers)).await,
            came,
            "{source:?} {headers:?}"
        );
    }
    let both = keys(&table).also_token_source(TokenSource::bearer());
    let twice = request(&[("x-api-key", good), ("authorization", &bearer)]);
    assert_eq!(
        with_visitors(both).came(twice).await,
        Came::Refused(InvalidErrorKind::Repeated)
    );
}

#[tokio::test]
async fn an_unknown_key_and_a_wrong_one_get_the_same_answer() {
    let table = Table::new(Mode::Answers);
    let key = table.add(|record| record);
    let revoked = table.add(|record| record.with_revoked(true));
    let good = key.expose_secret();
    let wrong = format!("{}0", &good[..good.len() - 1]);
    let wrong = if wrong == good {
        format!("{}1", &good[..good.len() - 1])
    } else {
        wrong
    };
    let unknown = good.replace(key.id().as_str(), "0000000000000000");
    for source in [TokenSource::header("x-api-key"), TokenSource::bearer()] {
        let asked = with_visitors(keys(&table).token_source(source.clone()));
        let mut answers = Vec::new();
        for key in [&*unknown, &wrong, revoked.expose_secret(), "garbage"] {
            let bearer = format!("Bearer {key}");
            let sent = if source == TokenSource::bearer() {
                ("authorization", &*bearer)
            } else {
                ("x-api-key", key)
            };
            let Answer {
                status,
                headers,
                body,
                ..
            } = asked.send(request(&[sent])).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED);
            answers.push((headers, body));
        }
        for pair in answers.windows(2) {
            assert_eq!(pair[0], pair[1], "{source:?}");
        }
    }
}

#[tokio::test]
async fn the_audit_event_has_the_identifier_and_nothing_shows_the_secret() {
    let table = Table::new(Mode::Answers);
    let expired = |record: ApiKeyRecord| record.with_expires_at(std::time::UNIX_EPOCH);
    let (lines, _guard) = Lines::collect();
    for (key, kind, user) in [
        (table.add(expired), ApiKeyErrorKind::Expired, Some("alice")),
        (
            table.add(|record| record.with_revoked(true)),
            ApiKeyErrorKind::Revoked,
            Some("alice"),
        ),
        (
            tower_user_scope::api_key::ApiKey::generate("acme").expect("a prefix"),
            ApiKeyErrorKind::Unknown,
            None,
        ),
    ] {
        let asked = with_visitors(keys(&table));
        let answer = asked.send(with_key(key.expose_secret())).await;
        let error = answer.reason::<ApiKeyError>();
        assert_eq!((error.kind(), error.id()), (kind, Some(key.id())));
        let Err(rejection) = &answer.outcome else {
            panic!("accepted")
        };
        let shown = format!(
            "{rejection:?} {:?} {error} {:?}",
            asked.recorder.events(),
            answer.headers
        );
        let secret = &key.expose_secret()[key.expose_secret().len() - 43..];
        assert!(
            shown.contains(key.id().as_str()) && !shown.contains(secret),
            "{shown}"
        );
        let named = asked.recorder.events().iter().any(|event| {
            matches!(event, AuditEvent::Refused { rejection, .. } if match rejection.kind() {
                tower_user_scope::rejection::RejectionKind::Invalid { invalid, .. } => invalid.user() == user,
                _ => false,
            })
        });
        assert!(named, "{kind:?}");
        let text = lines.text();
        assert!(
            text.contains(key.id().as_str()) && !text.contains(secret),
            "{text}"
        );
    }
}

#[tokio::test]
async fn the_inner_service_sees_a_key_only_if_it_identified_the_request() {
    let table = Table::new(Mode::Answers);
    let key = table.add(|record| record);
    let asked = with_visitors(keys(&table));
    let mut sent = with_key(key.expose_secret());
    sent.headers_mut().insert(
        HeaderName::from_static("x_api_key"),
        "forged".parse().expect("a value"),
    );
    let answer = asked.send(sent).await;
    let seen = answer.seen.expect("accepted");
    assert!(seen["x-api-key"].is_sensitive());
    assert!(!seen.contains_key("x_api_key"));
    let stripped = asked.recorder.events().iter().any(|event| {
        matches!(
            event,
            AuditEvent::HeaderStripped {
                reason: StripReason::LookAlike,
                ..
            }
        )
    });
    assert!(stripped);

    // Another strategy identified the request.
    let first = tower_user_scope::from_fn(
        tower_user_scope::CredentialSource::predicate(|_| true),
        |_| Identity::proved("bob".parse::<UserId>().expect("an id")).into(),
    );
    let asked = Setup::new([first.boxed(), keys(&table).boxed()]).service();
    let answer = asked.send(with_key(key.expose_secret())).await;
    assert_eq!(answer.came(), Came::User("bob".to_owned()));
    assert!(!answer.seen.expect("accepted").contains_key("x-api-key"));

    let asked = with_visitors(keys(&table).token_source(TokenSource::bearer()));
    let bearer = format!("Bearer {}", key.expose_secret());
    let seen = asked
        .send(request(&[("authorization", &bearer)]))
        .await
        .seen;
    assert!(seen.expect("accepted")[header::AUTHORIZATION].is_sensitive());
}

#[tokio::test]
async fn a_key_ends_when_its_record_says_so() {
    let clock = TestClock::now();
    let table = Table::new(Mode::Answers);
    let end = clock.now() + 10 * SECOND;
    let soon = end - 5 * SECOND;
    let expiring = table.add(|record| record.with_expires_at(end));
    let earlier = table.add(|record| record.with_expires_at(end));
    let ends_itself = ApiKeyRecord::new(earlier.hash(), alice().with_expires_at(soon));
    table.set(earlier.id(), ends_itself.with_expires_at(end));
    let for_ever = table.add(|record| record);
    for cached in [Duration::ZERO, 3_600 * SECOND] {
        let clock = TestClock::at(clock.now());
        let asked = Setup::new([keys(&table).cache_for(cached).boxed()]).service_at(clock.clone());
        let expired = || Came::Refused(InvalidErrorKind::Expired);
        let context = asked
            .send(with_key(expiring.expose_secret()))
            .await
            .outcome
            .expect("accepted");
        assert_eq!(context.identity().expires_at(), Some(end));
        for (seconds, came) in [
            (0, [Came::alice(), Came::alice(), Came::alice()]),
            (4, [Came::alice(), Came::alice(), Came::alice()]),
            (1, [Came::alice(), expired(), Came::alice()]),
            (4, [Came::alice(), expired(), Came::alice()]),
            (1, [expired(), expired(), Came::alice()]),
        ] {
            clock.advance(seconds * SECOND);
            for (key, came) in [&expiring, &earlier, &for_ever].into_iter().zip(came) {
                assert_eq!(
                    asked.came(with_key(key.expose_secret())).await,
                    came,
                    "{cached:?}"
                );
            }
        }
    }
}

#[tokio::test]
async fn handlers_know_the_scopes_and_the_identifier_of_a_key() {
    let table = Table::new(Mode::Answers);
    let key = table.add(|record| record.with_scopes(["orders:read"]));
    let asked = with_visitors(keys(&table));
    let context = asked
        .send(with_key(key.expose_secret()))
        .await
        .outcome
        .expect("accepted");
    assert_eq!(context.attributes().get::<ApiKeyId>(), Some(key.id()));
    let credential = context.attributes().get::<Credential>();
    let id = credential.expect("it can be revoked").token_id();
    assert_eq!(id, Some(key.id().as_str()));
    assert!(context.evidence().is_proved());
    assert!(
        Grants::of(&context)
            .expect("granted")
            .has_scope("orders:read")
    );
    for (scope, allowed) in [("orders:read", true), ("orders:write", false)] {
        assert_eq!(Require::new().scope(scope).check(&context).is_ok(), allowed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_or_hangs_is_a_503() {
    for (mode, came) in [
        (Mode::Fails, Came::Unavailable),
        (Mode::Hangs, Came::TimedOut),
    ] {
        let table = Table::new(mode);
        let key = table.add(|record| record);
        let asked = with_visitors(keys(&table).cache_for(SECOND));
        for _ in 0..2 {
            let answer = asked.send(with_key(key.expose_secret())).await;
            assert_eq!(answer.came(), came);
            assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        }
        assert_eq!(table.asked(), 2, "{mode:?}: a failure is not remembered");
    }
}

#[tokio::test]
async fn a_remembered_key_is_looked_up_again_after_the_period() {
    let clock = TestClock::now();
    let table = Table::new(Mode::Answers);
    let key = table.add(|record| record);
    let good = key.expose_secret();
    let asked = Setup::new([keys(&table).cache_for(30 * SECOND).boxed()]).service_at(clock.clone());
    assert_eq!(asked.came(with_key(good)).await, Came::alice());
    table.set(
        key.id(),
        ApiKeyRecord::new(key.hash(), alice()).with_revoked(true),
    );
    clock.advance(29 * SECOND);
    assert_eq!(asked.came(with_key(good)).await, Came::alice());
    assert_eq!(table.asked(), 1);
    // A wrong secret is never taken for the remembered one.
    let flipped = if good.ends_with('0') { '1' } else { '0' };
    let wrong = format!("{}{flipped}", &good[..good.len() - 1]);
    assert_eq!(asked.came(with_key(&wrong)).await, WRONG);
    clock.advance(SECOND);
    assert_eq!(asked.came(with_key(good)).await, REVOKED);
    assert_eq!(asked.came(with_key(good)).await, REVOKED);
    assert_eq!(table.asked(), 4, "and what is refused is not remembered");
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_prolongs_nothing() {
    let clock = TestClock::now();
    let table = Table::new(Mode::Answers);
    let key = table.add(|record| record);
    let cached = keys(&table).cache_for(SECOND);
    let asked = Setup::new([cached.boxed()]).service_at(clock.clone());
    assert_eq!(
        asked.came(with_key(key.expose_secret())).await,
        Came::alice()
    );
    clock.rewind(3_600 * SECOND);
    tokio::time::advance(SECOND).await;
    assert_eq!(
        asked.came(with_key(key.expose_secret())).await,
        Came::alice()
    );
    assert_eq!(table.asked(), 2);
}

#[tokio::test]
async fn a_remembered_key_that_has_ended_is_looked_up_again() {
    let clock = TestClock::now();
    let table = Table::new(Mode::Answers);
    let end = clock.now() + 10 * SECOND;
    let key = table.add(|record| record.with_expires_at(end));
    let good = key.expose_secret();
    let asked =
        Setup::new([keys(&table).cache_for(3_600 * SECOND).boxed()]).service_at(clock.clone());
    assert_eq!(asked.came(with_key(good)).await, Came::alice());
    // Its owner has prolonged it.
    let prolonged = ApiKeyRecord::new(key.hash(), alice()).with_expires_at(end + 10 * SECOND);
    table.set(key.id(), prolonged);
    clock.advance(10 * SECOND);
    assert_eq!(asked.came(with_key(good)).await, Came::alice());
    assert_eq!(table.asked(), 2);
}

#[tokio::test]
async fn a_clone_in_a_new_layer_keeps_the_keys_that_were_looked_up() {
    let table = Table::new(Mode::Answers);
    let key = table.add(|record| record);
    let strategy = keys(&table).cache_for(3_600 * SECOND);
    let (head, ()) = with_key(key.expose_secret()).into_parts();
    for _ in 0..3 {
        let layer = UserScopeLayer::builder()
            .strategy(strategy.clone())
            .context_only()
            .build()
            .expect("a valid configuration");
        let found = layer.explain(&head).await;
        assert!(found.answer().is_ok(), "{found}");
    }
    assert_eq!(table.asked(), 1);
}

#[tokio::test]
async fn without_a_period_the_store_is_asked_for_each_request() {
    let table = Table::new(Mode::Answers);
    let key = table.add(|record| record);
    let asked = with_visitors(keys(&table).cache(TokenCache::new()));
    for _ in 0..3 {
        assert_eq!(
            asked.came(with_key(key.expose_secret())).await,
            Came::alice()
        );
    }
    assert_eq!(table.asked(), 3);
}

#[tokio::test]
async fn strangers_push_no_key_out_of_the_cache() {
    let table = Table::new(Mode::Answers);
    let key = table.add(|record| record);
    let small = keys(&table)
        .cache(TokenCache::new().max_entries(8))
        .cache_for(3_600 * SECOND);
    let asked = with_visitors(small);
    assert_eq!(
        asked.came(with_key(key.expose_secret())).await,
        Came::alice()
    );
    for stranger in 0..1_000 {
        let unknown = format!("acme_{stranger}_{}", "0".repeat(43));
        assert_eq!(asked.came(with_key(&unknown)).await, UNKNOWN);
    }
    assert_eq!(
        asked.came(with_key(key.expose_secret())).await,
        Came::alice()
    );
    assert_eq!(table.asked(), 1_001);
}

/// A pooled connection whose request was cancelled can return the reply to another request.
#[tokio::test]
async fn the_record_of_another_key_is_no_proof() {
    let table = Table::new(Mode::Answers);
    let (mine, other) = (table.add(|record| record), table.add(|record| record));
    table.set(mine.id(), ApiKeyRecord::new(other.hash(), alice()));
    let asked = with_visitors(keys(&table));
    assert_eq!(asked.came(with_key(mine.expose_secret())).await, WRONG);
}

#[tokio::test]
async fn a_client_is_told_the_scheme_that_it_may_use() {
    let table = Table::new(Mode::Answers);
    for (source, challenge) in [
        (TokenSource::bearer(), "Bearer"),
        (TokenSource::authorization("ApiKey"), "ApiKey"),
        (TokenSource::header("x-api-key"), "UserScope"),
    ] {
        let asked = Setup::new([keys(&table).token_source(source).boxed()]).service();
        let answer = asked.send(request(&[])).await;
        assert_eq!(answer.headers[header::WWW_AUTHENTICATE], challenge);
    }
    let layer = UserScopeLayer::builder()
        .strategy(keys(&table).clone().token_source(TokenSource::bearer()))
        .context_only()
        .build();
    assert!(layer.is_ok());
}
