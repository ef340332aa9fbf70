//! API keys, JSON Web Tokens and opaque tokens in one `Authorization: Bearer`: each strategy takes its
//! own.

use std::time::SystemTime;

use http::Request;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;
use tower_user_scope::{
    api_key::ApiKeys,
    jwt::{Algorithm, CryptoProvider, HasAudience, HasIssuer, Jwt, Key},
    strategy::{BoxStrategy, InvalidErrorKind, Strategy},
    token::TokenSource,
};

use crate::{
    introspection::strategy,
    support::{
        Came, Setup,
        endpoint::{Call, Endpoint, Reply},
        keys::{Mode, Table},
        request,
    },
};

const SECRET: &[u8] = b"a secret of these tests, and of nothing else";

fn jwt() -> Jwt<HasIssuer, HasAudience> {
    Jwt::new(Key::hmac(Algorithm::HS256, SECRET).expect("long enough"))
        .issuer("https://id.example")
        .audience("api")
        .crypto_provider(CryptoProvider::aws_lc_rs())
}

fn minted(user: &str, audience: &str) -> String {
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    let now = SystemTime::UNIX_EPOCH
        .elapsed()
        .expect("after 1970")
        .as_secs();
    let claims = json!({
        "iss": "https://id.example", "aud": audience, "sub": user, "exp": now + 300,
    });
    let key = EncodingKey::from_secret(SECRET);
    jsonwebtoken::encode(&Header::default(), &claims, &key).expect("it can be signed")
}

fn bearer(token: &str) -> Request<()> {
    request(&[("authorization", &format!("Bearer {token}"))])
}

fn rejected(word: &'static str) -> Came {
    Came::Refused(InvalidErrorKind::Rejected(word))
}

/// The list in each order.
fn orders(list: impl Fn() -> Vec<BoxStrategy>) -> [Vec<BoxStrategy>; 2] {
    let mut reversed = list();
    reversed.reverse();
    [list(), reversed]
}

#[tokio::test]
async fn keys_and_tokens_share_a_header_in_either_order_and_unanimously() {
    let table = Table::new(Mode::Answers);
    let key = table.add(|record| record);
    let (key, token) = (key.expose_secret(), minted("bob", "api"));
    let changed = format!("{token}x");
    let elsewhere = minted("bob", "another");
    let unknown = format!("acme_1_{}", "0".repeat(43));
    let list = || {
        let keys = ApiKeys::new("acme", table.clone()).token_source(TokenSource::bearer());
        vec![
            keys.leave_other_tokens().boxed(),
            jwt().leave_other_tokens().boxed(),
        ]
    };
    for unanimous in [false, true] {
        for strategies in orders(list) {
            let mut setup = Setup::new(strategies);
            (setup.unanimous, setup.visitors) = (unanimous, true);
            let asked = setup.service();
            for (sent, came) in [
                (key, Came::alice()),
                (&*token, Came::User("bob".to_owned())),
                (&changed, rejected("token_signature")),
                (&elsewhere, rejected("token_wrong_audience")),
                (&unknown, rejected("api_key_unknown")),
                ("acme_", rejected("api_key_malformed")),
                // Nobody's: the fallback does not act.
                ("garbage", Came::NotAccepted),
                ("acme", Came::NotAccepted),
                ("x.y.z", Came::NotAccepted),
                ("e.y.z", rejected("token_malformed")),
            ] {
                assert_eq!(asked.came(bearer(sent)).await, came, "{unanimous} {sent}");
            }
            assert_eq!(asked.came(request(&[])).await, Came::Visitor);
            let two = request(&[
                ("authorization", &format!("Bearer {token}")),
                ("authorization", &format!("Bearer {key}")),
            ]);
            assert_eq!(
                asked.came(two).await,
                Came::Refused(InvalidErrorKind::Repeated)
            );
        }
    }
}

#[tokio::test]
async fn opaque_tokens_share_a_header_with_both_in_every_order() {
    let table = Table::new(Mode::Answers);
    let key = table.add(|record| record);
    let (key, token) = (key.expose_secret(), minted("bob", "api"));
    let expired = format!("{token}x");
    let endpoint = Endpoint::start(|call| {
        let active = call.token() == "opaque" || call.token() == "v4.public.x";
        Reply::Json(json!({"active": active, "sub": "carol", "aud": "api"}))
    });
    let list = || -> Vec<BoxStrategy> {
        let keys = ApiKeys::new("acme", table.clone()).token_source(TokenSource::bearer());
        vec![
            keys.leave_other_tokens().boxed(),
            jwt().leave_other_tokens().boxed(),
            strategy(&endpoint)
                .leave_jwts()
                .leave_prefix("acme_")
                .boxed(),
        ]
    };
    for unanimous in [false, true] {
        for first in 0..3 {
            for reversed in [false, true] {
                let mut strategies = list();
                strategies.rotate_left(first);
                if reversed {
                    strategies.reverse();
                }
                let mut setup = Setup::new(strategies);
                (setup.unanimous, setup.visitors) = (unanimous, true);
                let asked = setup.service();
                for (sent, came) in [
                    (key, Came::alice()),
                    (&*token, Came::User("bob".to_owned())),
                    ("opaque", Came::User("carol".to_owned())),
                    // Three parts, and no JWT.
                    ("v4.public.x", Came::User("carol".to_owned())),
                    (&expired, rejected("token_signature")),
                    ("acme_x", rejected("api_key_malformed")),
                    ("garbage", rejected("token_inactive")),
                    // Five parts: an encrypted JWT is opaque.
                    ("eyJ.a.b.c.d", rejected("token_inactive")),
                ] {
                    let case = format!("{unanimous} {first} {reversed} {sent}");
                    assert_eq!(asked.came(bearer(sent)).await, came, "{case}");
                }
                assert_eq!(asked.came(request(&[])).await, Came::Visitor);
            }
        }
    }
    let asked_about = |call: &Call| call.token().starts_with("acme") || call.token() == token;
    assert!(!endpoint.calls().iter().any(asked_about));
}

/// Without a call of `leave_..`, the last strategy refuses what is nobody's.
#[tokio::test]
async fn the_first_strategy_leaves_what_the_second_takes() {
    let token = minted("bob", "api");
    let endpoint = Endpoint::start(|call| {
        let active = call.token() == "opaque";
        Reply::Json(json!({"active": active, "sub": "carol", "aud": "api"}))
    });
    for strategies in [
        vec![
            jwt().leave_other_tokens().boxed(),
            strategy(&endpoint).boxed(),
        ],
        vec![strategy(&endpoint).leave_jwts().boxed(), jwt().boxed()],
    ] {
        let asked = Setup::new(strategies).service();
        assert_eq!(
            asked.came(bearer(&token)).await,
            Came::User("bob".to_owned())
        );
        assert_eq!(
            asked.came(bearer("opaque")).await,
            Came::User("carol".to_owned())
        );
        let signature = rejected("token_signature");
        assert_eq!(asked.came(bearer(&format!("{token}x"))).await, signature);
        assert_eq!(
            asked.came(bearer("garbage")).await,
            rejected("token_inactive")
        );
    }
}

#[tokio::test]
async fn a_strategy_that_leaves_nothing_refuses_what_is_not_its_own() {
    let table = Table::new(Mode::Answers);
    let key = table.add(|record| record);
    let token = minted("bob", "api");
    let keys = || ApiKeys::new("acme", table.clone()).token_source(TokenSource::bearer());
    let asked = Setup::new([jwt().boxed(), keys().boxed()]).service();
    let came = asked.came(bearer(key.expose_secret())).await;
    assert_eq!(came, rejected("token_malformed"));
    let asked = Setup::new([keys().boxed(), jwt().boxed()]).service();
    assert_eq!(
        asked.came(bearer(&token)).await,
        rejected("api_key_malformed")
    );
}

#[tokio::test]
async fn a_key_and_a_token_of_two_users_disagree() {
    let table = Table::new(Mode::Answers);
    let key = table.add(|record| record);
    for (user, came) in [("alice", Came::alice()), ("bob", Came::Conflict)] {
        let keys = ApiKeys::new("acme", table.clone());
        let mut setup = Setup::new([keys.boxed(), jwt().boxed()]);
        setup.unanimous = true;
        let bearer = format!("Bearer {}", minted(user, "api"));
        let sent = request(&[
            ("x-api-key", key.expose_secret()),
            ("authorization", &bearer),
        ]);
        assert_eq!(setup.service().came(sent).await, came);
    }
}
