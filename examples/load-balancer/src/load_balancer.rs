//! Takes the user from `x-amzn-oidc-data`, the statement that an Application Load Balancer of AWS signs
//! about a user whom it has logged in.
//!
//! It is nearly a JSON Web Token. The differences are why it is a strategy of the application's: its
//! base64url is padded, each public key has a URL of its own, and what has to be checked is in the
//! header (`signer`, `client`, `iss`, `exp`).
//!
//! <https://docs.aws.amazon.com/elasticloadbalancing/latest/application/listener-authenticate-users.html>

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{
    Engine,
    alphabet::URL_SAFE,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use http::{HeaderName, request::Parts};
use jsonwebtoken::{Algorithm, DecodingKey, crypto::verify};
use serde::{Deserialize, de::DeserializeOwned};
use tokio::sync::Mutex;
use tower_user_scope::{
    ConfigError, Identity, InvalidError, MaybeFuture, Outcome, UnavailableError, UserId,
    clock::{Clock, SystemClock},
    jwt::{FetchDocument, FetchError, HttpsFetch},
    strategy::{InvalidErrorKind, OutcomeFuture, Presence, Strategy, Stripped, Trust},
};

const DATA: HeaderName = HeaderName::from_static("x-amzn-oidc-data");

/// What the load balancer adds beside the statement, and does not sign.
const UNSIGNED: [HeaderName; 2] = [
    HeaderName::from_static("x-amzn-oidc-identity"),
    HeaderName::from_static("x-amzn-oidc-accesstoken"),
];

/// The longest statement that is read, in bytes.
const MAX_LEN: usize = 16 << 10;

/// How many public keys are remembered. A load balancer has one, and another when it is rotated.
const MAX_KEYS: usize = 16;

/// What has to be in the header of a statement.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    /// The ARN of the load balancer. Every load balancer of the region, of whatever account, has its
    /// keys at the same place: nothing else tells yours from a stranger's.
    pub(crate) signer: String,
    /// The issuer that it logs users in at.
    pub(crate) issuer: String,
    /// Its id there.
    pub(crate) client: String,
}

/// The strategy.
pub(crate) struct LoadBalancer {
    expected: Expected,
    trust: Trust,
    keys: Arc<Keys>,
    clock: Arc<dyn Clock>,
}

impl LoadBalancer {
    /// Reads statements from peers that are trusted: the subnets of the load balancer. Others can't
    /// make the service fetch keys.
    ///
    /// `keys` is the URL under which the keys of the region are, such as
    /// `https://public-keys.auth.elb.eu-central-1.amazonaws.com`.
    pub(crate) fn new(
        expected: Expected,
        trust: Trust,
        keys: impl Into<String>,
    ) -> Result<Self, ConfigError> {
        Ok(Self {
            expected,
            trust,
            keys: Arc::new(Keys {
                url: keys.into(),
                fetch: HttpsFetch::new()?,
                known: RwLock::default(),
                fetching: Mutex::default(),
            }),
            clock: Arc::new(SystemClock),
        })
    }

    /// Reads the statement of a request, and checks all but its signature.
    fn statement(&self, head: &Parts) -> Result<Statement, InvalidError> {
        let mut lines = head.headers.get_all(DATA).iter();
        let (first, second) = (lines.next(), lines.next());
        if second.is_some() {
            return Err(InvalidErrorKind::Repeated.into());
        }
        let text = first.and_then(|line| line.to_str().ok());
        let text = text.filter(|text| text.len() <= MAX_LEN);
        let statement = text.and_then(Statement::read);
        let statement = statement.ok_or(InvalidErrorKind::Malformed)?;
        let (header, expected) = (&statement.header, &self.expected);
        for (is_right, reason) in [
            (header.alg == "ES256", "load_balancer_algorithm"),
            (header.signer == expected.signer, "load_balancer_signer"),
            (header.iss == expected.issuer, "load_balancer_issuer"),
            (header.client == expected.client, "load_balancer_client"),
            (is_key_id(&header.kid), "load_balancer_key_id"),
        ] {
            if !is_right {
                return Err(InvalidErrorKind::Rejected(reason).into());
            }
        }
        match statement.end() {
            Some(end) if end > self.clock.now() => Ok(statement),
            _ => Err(InvalidErrorKind::Expired.into()),
        }
    }
}

impl Strategy for LoadBalancer {
    type Future = OutcomeFuture;

    fn name(&self) -> &'static str {
        "load_balancer"
    }

    fn resolve(&self, head: &Parts) -> MaybeFuture<OutcomeFuture> {
        if !head.headers.contains_key(DATA) || self.trust.check(head).is_err() {
            return MaybeFuture::Ready(Outcome::Absent);
        }
        let statement = match self.statement(head) {
            Ok(statement) => statement,
            Err(invalid) => return MaybeFuture::Ready(invalid.into()),
        };
        let keys = Arc::clone(&self.keys);
        let outcome = async move {
            match keys.get(&statement.header.kid).await {
                Ok(Some(key)) => statement.outcome(&key),
                Ok(None) => rejected("load_balancer_unknown_key"),
                Err(error) => UnavailableError::new(error).into(),
            }
        };
        // A key that is known needs no wait.
        OutcomeFuture::new(outcome).poll_once()
    }

    fn presence(&self, head: &Parts) -> Presence {
        head.headers.contains_key(DATA).into()
    }

    fn scrub(&self, head: &mut Parts, believed: bool, stripped: &mut dyn FnMut(Stripped<'_>)) {
        self.trust.strip(head, &[DATA], believed, stripped);
        // Handlers may not read these, from whomever they come.
        self.trust.strip(head, &UNSIGNED, false, stripped);
    }

    fn headers(&self) -> Option<Vec<HeaderName>> {
        Some([DATA].into_iter().chain(UNSIGNED).collect())
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.trust.validate()
    }

    fn use_clock(&mut self, clock: &Arc<dyn Clock>) {
        self.clock = Arc::clone(clock);
    }
}

fn rejected(reason: &'static str) -> Outcome {
    Outcome::Invalid(InvalidErrorKind::Rejected(reason).into())
}

/// The key's id becomes a part of a URL.
fn is_key_id(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (1..=64).contains(&text.len()) && text.bytes().all(is_allowed)
}

struct Statement {
    header: Header,
    /// The header and the claims as they were sent, padding included: this is what is signed.
    signed: String,
    signature: String,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: String,
    signer: String,
    iss: String,
    client: String,
    exp: u64,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
}

impl Statement {
    fn read(text: &str) -> Option<Self> {
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, _) = signed.split_once('.')?;
        Some(Self {
            header: decoded(header)?,
            signed: signed.to_owned(),
            signature: signature.to_owned(),
        })
    }

    fn end(&self) -> Option<SystemTime> {
        UNIX_EPOCH.checked_add(Duration::from_secs(self.header.exp))
    }

    fn outcome(&self, key: &DecodingKey) -> Outcome {
        let signature = self.signature.trim_end_matches('=');
        let verified = verify(signature, self.signed.as_bytes(), key, Algorithm::ES256);
        if !verified.unwrap_or(false) {
            return rejected("load_balancer_signature");
        }
        // From here on it is the load balancer's word.
        let claims = self
            .signed
            .split_once('.')
            .and_then(|(_, claims)| decoded::<Claims>(claims));
        let (Some(claims), Some(end)) = (claims, self.end()) else {
            return rejected("load_balancer_claims");
        };
        match UserId::try_from(claims.sub) {
            Ok(user) => Identity::proved(user).with_expires_at(end).into(),
            Err(error) => Outcome::Invalid(error.into()),
        }
    }
}

/// Decodes base64url, padded or not, of a JSON object.
fn decoded<T: DeserializeOwned>(part: &str) -> Option<T> {
    const CONFIG: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let json = GeneralPurpose::new(&URL_SAFE, CONFIG).decode(part).ok()?;
    serde_json::from_slice(&json).ok()
}

/// The public keys of a region, each fetched when it is first needed.
struct Keys {
    url: String,
    fetch: HttpsFetch,
    known: RwLock<HashMap<String, DecodingKey>>,
    /// One fetch at a time, however many ids are made up.
    fetching: Mutex<()>,
}

impl Keys {
    async fn get(&self, id: &str) -> Result<Option<DecodingKey>, FetchError> {
        if let Some(key) = self.known(id) {
            return Ok(Some(key));
        }
        let _one = self.fetching.lock().await;
        // Another request may have waited for the same key.
        if let Some(key) = self.known(id) {
            return Ok(Some(key));
        }
        let pem = match self.fetch.fetch(&format!("{}/{id}", self.url)).await {
            Ok(pem) => pem,
            Err(FetchError::Status(403 | 404)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let key = DecodingKey::from_ec_pem(&pem).map_err(FetchError::transport)?;
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_KEYS {
            known.clear();
        }
        known.insert(id.to_owned(), key.clone());
        Ok(Some(key))
    }

    fn known(&self, id: &str) -> Option<DecodingKey> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(id).cloned()
    }
}

impl fmt::Debug for LoadBalancer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadBalancer")
            .field("expected", &self.expected)
            .field("trust", &self.trust)
            .finish_non_exhaustive()
    }
}
