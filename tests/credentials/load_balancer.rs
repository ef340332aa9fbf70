//! B28: the statement of an AWS Application Load Balancer, by the strategy of `examples/load-balancer`:
//! the right one is accepted, and none with one thing wrong.

#[path = "../../examples/load-balancer/src/load_balancer.rs"]
mod strategy;

use std::time::{Duration, UNIX_EPOCH};

use base64::{Engine, engine::general_purpose::URL_SAFE};
use http::{HeaderName, HeaderValue, Request};
use jsonwebtoken::{Algorithm, EncodingKey, crypto::sign};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::{Value, json};
use tower_user_scope::{
    PeerAddr,
    strategy::{InvalidErrorKind, Strategy, Trust},
    testing::TestClock,
};

use self::strategy::{Expected, LoadBalancer};
use crate::{
    introspection::now,
    support::{
        Asked, Came, Setup,
        endpoint::{Endpoint, Reply},
        request,
    },
};

const ARN: &str = "arn:aws:elasticloadbalancing:us-east-1:123456789012:loadbalancer/app/a/50dc6c49";
const DATA: &str = "x-amzn-oidc-data";

/// A load balancer, and the place where its key is published.
struct Aws {
    key: KeyPair,
    keys: Endpoint,
}

impl Aws {
    fn new() -> Self {
        let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
        let key = a_key();
        let pem = key.public_key_pem();
        let keys = Endpoint::start(move |call| match call.path() {
            "/the-key" => Reply::Http("200 OK".to_owned(), pem.clone().into()),
            "/down" => Reply::Http("503 Oops".to_owned(), Vec::new()),
            "/garbage" => Reply::Http("200 OK".to_owned(), b"no key".to_vec()),
            _ => Reply::Http("404 Not Found".to_owned(), Vec::new()),
        });
        Self { key, keys }
    }

    fn service_at(&self, clock: TestClock) -> Asked {
        let expected = Expected {
            signer: ARN.to_owned(),
            issuer: "https://id.example".to_owned(),
            client: "shop".to_owned(),
        };
        let trust = Trust::proxies(["10.0.1.0/24"]).expect("a network");
        let strategy = LoadBalancer::new(expected, trust, self.keys.origin()).expect("a client");
        let mut setup = Setup::new([strategy.boxed()]);
        setup.visitors = true;
        setup.service_at(clock)
    }

    fn service(&self) -> Asked {
        self.service_at(TestClock::now())
    }

    /// A statement with these members of the header and these claims, signed with a key.
    fn signed(key: &KeyPair, members: Value, claims: &Value) -> String {
        let mut header = json!({
            "typ": "JWT", "alg": "ES256", "kid": "the-key", "signer": ARN, "client": "shop",
            "iss": "https://id.example", "exp": now() + 120,
        });
        let (Value::Object(all), Value::Object(members)) = (&mut header, members) else {
            panic!("headers are objects");
        };
        for (name, value) in members {
            match value {
                Value::Null => all.remove(&name),
                value => all.insert(name, value),
            };
        }
        let encoded = |part: &Value| URL_SAFE.encode(part.to_string());
        let text = format!("{}.{}", encoded(&header), encoded(claims));
        let key = EncodingKey::from_ec_der(key.serialized_der());
        let signature = sign(text.as_bytes(), &key, Algorithm::ES256).expect("a signature");
        format!("{text}.{signature}==")
    }

    fn statement(&self, members: Value) -> String {
        Self::signed(&self.key, members, &alice())
    }
}

fn a_key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key")
}

/// Claims whose base64 needs padding.
fn alice() -> Value {
    json!({"sub": "alice", "email": "alice@example.com", "exp": now() + 120})
}

fn from(peer: &str, headers: &[(&str, &str)]) -> Request<()> {
    let mut request = request(headers);
    let address = format!("{peer}:4711").parse().expect("an address");
    request.extensions_mut().insert(PeerAddr(address));
    request
}

fn through_it(statement: &str) -> Request<()> {
    from("10.0.1.7", &[(DATA, statement)])
}

fn rejected(reason: &'static str) -> Came {
    Came::Refused(InvalidErrorKind::Rejected(reason))
}

#[tokio::test]
async fn the_statement_of_the_load_balancer_is_accepted_and_ends_when_it_says() {
    let (aws, clock) = (Aws::new(), TestClock::now());
    let asked = aws.service_at(clock.clone());
    let end = now() + 120;
    let statement = aws.statement(json!({"exp": end}));
    assert!(
        statement.contains("=."),
        "its parts are padded: {statement}"
    );
    for _ in 0..3 {
        let answer = asked.send(through_it(&statement)).await;
        assert_eq!(answer.came(), Came::alice());
        let context = answer.outcome.expect("alice");
        assert!(context.evidence().is_proved());
        let ends = UNIX_EPOCH + Duration::from_secs(end);
        assert_eq!(context.identity().expires_at(), Some(ends));
    }
    assert_eq!(aws.keys.asked(), 1, "the key is fetched once");
    clock.advance(Duration::from_secs(121));
    let expired = Came::Refused(InvalidErrorKind::Expired);
    assert_eq!(asked.came(through_it(&statement)).await, expired);
}

#[tokio::test]
async fn a_statement_with_one_thing_wrong_is_refused() {
    let aws = Aws::new();
    let asked = aws.service();
    let malformed = Came::Refused(InvalidErrorKind::Malformed);
    let expired = Came::Refused(InvalidErrorKind::Expired);
    let signer = |arn: &str| aws.statement(json!({"signer": arn}));
    let kid = |id: &str| aws.statement(json!({"kid": id}));
    let right = aws.statement(json!({}));
    let (head_and_claims, signature) = right.rsplit_once('.').expect("three parts");
    let (header, _) = head_and_claims.split_once('.').expect("three parts");
    let bob = URL_SAFE.encode(json!({"sub": "bob"}).to_string());
    for (what, statement, came) in [
        (
            "another load balancer",
            signer(&ARN.replace("/a/", "/b/")),
            rejected("load_balancer_signer"),
        ),
        (
            "an ARN that begins alike",
            signer(&ARN[..ARN.len() - 1]),
            rejected("load_balancer_signer"),
        ),
        (
            "no signer",
            aws.statement(json!({"signer": null})),
            malformed.clone(),
        ),
        (
            "another client",
            aws.statement(json!({"client": "x"})),
            rejected("load_balancer_client"),
        ),
        (
            "another issuer",
            aws.statement(json!({"iss": "https://x"})),
            rejected("load_balancer_issuer"),
        ),
        (
            "ended",
            aws.statement(json!({"exp": now() - 1})),
            expired.clone(),
        ),
        (
            "without an end",
            aws.statement(json!({"exp": null})),
            malformed.clone(),
        ),
        (
            "an end that is text",
            aws.statement(json!({"exp": "never"})),
            malformed.clone(),
        ),
        (
            "an end that no clock has",
            aws.statement(json!({"exp": u64::MAX})),
            expired.clone(),
        ),
        (
            "no algorithm",
            aws.statement(json!({"alg": "none"})),
            rejected("load_balancer_algorithm"),
        ),
        (
            "a secret's algorithm",
            aws.statement(json!({"alg": "HS256"})),
            rejected("load_balancer_algorithm"),
        ),
        (
            "a key id with a path",
            kid("../the-key"),
            rejected("load_balancer_key_id"),
        ),
        (
            "a key id with a query",
            kid("the-key?x"),
            rejected("load_balancer_key_id"),
        ),
        (
            "a long key id",
            kid(&"a".repeat(65)),
            rejected("load_balancer_key_id"),
        ),
        (
            "an unknown key",
            kid("no-key"),
            rejected("load_balancer_unknown_key"),
        ),
        ("a key that is down", kid("down"), Came::Unavailable),
        ("a key that is none", kid("garbage"), Came::Unavailable),
        (
            "another key's signature",
            Aws::signed(&a_key(), json!({}), &alice()),
            rejected("load_balancer_signature"),
        ),
        (
            "other claims",
            format!("{header}.{bob}.{signature}"),
            rejected("load_balancer_signature"),
        ),
        (
            "no signature",
            format!("{head_and_claims}."),
            rejected("load_balancer_signature"),
        ),
        (
            "what is signed without its padding",
            format!("{}.{signature}", head_and_claims.replace('=', "")),
            rejected("load_balancer_signature"),
        ),
        (
            "no user",
            Aws::signed(&aws.key, json!({}), &json!({"email": "alice@example.com"})),
            rejected("load_balancer_claims"),
        ),
        ("two parts", head_and_claims.to_owned(), malformed.clone()),
        ("one word", "alice".to_owned(), malformed.clone()),
        (
            "a long one",
            format!("{right}{}", "A".repeat(16 << 10)),
            malformed.clone(),
        ),
    ] {
        assert_eq!(asked.came(through_it(&statement)).await, came, "{what}");
    }
    assert_eq!(asked.came(through_it(&right)).await, Came::alice());
    let twice = from("10.0.1.7", &[(DATA, &right), (DATA, &right)]);
    let repeated = Came::Refused(InvalidErrorKind::Repeated);
    assert_eq!(asked.came(twice).await, repeated);
}

#[tokio::test]
async fn a_stranger_is_not_believed_and_no_key_is_fetched_for_one() {
    let aws = Aws::new();
    let asked = aws.service();
    let right = aws.statement(json!({}));
    let stranger = |headers: &[(&str, &str)]| from("203.0.113.9", headers);
    assert_eq!(
        asked.came(stranger(&[(DATA, &right)])).await,
        Came::NotAccepted
    );
    assert_eq!(aws.keys.asked(), 0);
    // What is not signed is removed, whoever sent it.
    for request in [
        stranger(&[
            ("x-amzn-oidc-identity", "bob"),
            ("x_amzn_oidc_data", &right),
        ]),
        from(
            "10.0.1.7",
            &[
                ("x-amzn-oidc-identity", "bob"),
                ("x-amzn-oidc-accesstoken", "t"),
            ],
        ),
        from(
            "10.0.1.7",
            &[(DATA, &right), ("x-amzn-oidc-identity", "bob")],
        ),
    ] {
        let answer = asked.send(request).await;
        assert!(matches!(answer.came(), Came::Visitor | Came::User(_)));
        let seen = answer.seen.expect("the inner service was called");
        let names: Vec<&HeaderName> = seen.keys().collect();
        assert!(names.iter().all(|name| **name == DATA), "{names:?}");
        assert!(
            !seen
                .values()
                .any(|value| value == HeaderValue::from_static("bob"))
        );
    }
}
