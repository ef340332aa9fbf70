//! The strategies that ask somebody else, once they remember the answer.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use http::{HeaderName, Request, header::AUTHORIZATION};
use tower_layer::Layer;
use tower_user_scope::{
    Identity, UserId, UserScopeLayer,
    api_key::{ApiKey, ApiKeyId, ApiKeyRecord, ApiKeyStore, ApiKeys},
    introspection::{ClientAuthentication, FormRequest, Introspection, PostForm},
    jwt::FetchError,
    strategy::Strategy,
};

use crate::{case::Case, inner::Inner, ours::make, requests};

/// Longer than a run.
const PERIOD: Duration = Duration::from_secs(24 * 3_600);

/// A table with one key.
struct Table(ApiKeyRecord);

impl ApiKeyStore for Table {
    type Error = Infallible;

    async fn find(&self, _: &ApiKeyId) -> Result<Option<ApiKeyRecord>, Infallible> {
        Ok(Some(self.0.clone()))
    }
}

/// An issuer in the same process.
struct Issuer;

impl PostForm for Issuer {
    async fn post(&self, _: FormRequest) -> Result<Bytes, FetchError> {
        let answer = r#"{"active":true,"sub":"alice","aud":"api","scope":"agents:run"}"#;
        Ok(Bytes::from_static(answer.as_bytes()))
    }
}

fn case(strategy: impl Strategy + 'static, request: Request<()>) -> Case {
    let layer = UserScopeLayer::builder()
        .strategy(strategy)
        .factory(make)
        .build()
        .expect("a valid layer");
    // The first request, which asks, needs timers.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let _entered = runtime.enter();
    Case::new(layer.layer(Inner::<()>::new()), requests::same(request))
}

/// An API key that was looked up before.
pub fn api_key() -> Case {
    let key = ApiKey::generate("acme").expect("a prefix");
    let alice = Identity::proved("alice".parse::<UserId>().expect("an id"));
    let table = Table(ApiKeyRecord::new(key.hash(), alice));
    let header = HeaderName::from_static("x-api-key");
    let request = requests::with_header(header, key.expose_secret());
    case(ApiKeys::new("acme", table).cache_for(PERIOD), request)
}

/// An opaque token whose issuer was asked before.
pub fn introspected() -> Case {
    let client = ClientAuthentication::none();
    let strategy = Introspection::new("https://id.example/introspect", client)
        .audience("api")
        .cache_for(PERIOD)
        .post_with(Issuer);
    let token = "Bearer 2YotnFZFEjr1zCsicMWpAA-2YotnFZFEjr1zCsicMWpAA";
    case(strategy, requests::with_header(AUTHORIZATION, token))
}
