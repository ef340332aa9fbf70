//! The settings of an [`Introspection`](super::Introspection), and the call of the endpoint.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use form_urlencoded::Serializer;

use super::{
    ClientAuthentication, FormRequest, IntrospectionError,
    answer::Rules,
    calls::{Answered, Calls},
    endpoint::Endpoint,
    post::{MAX_ANSWER_LEN, Post, boxed},
};
use crate::{
    clock::{Clock, Moment},
    config_error::ConfigError,
    jwt::{FetchError, HttpsFetch, PlainHttp, TokenConfigError, bounded, timer},
    strategy::Outcome,
    token::{Fingerprint, TokenCache, TokenPlaces, looks_like_jwt},
};

#[derive(Clone)]
pub(super) struct Settings {
    pub(super) endpoint: Endpoint,
    pub(super) client: ClientAuthentication,
    /// Configured, or created when the layer is built.
    pub(super) post: OnceLock<Arc<Post>>,
    pub(super) plain: PlainHttp,
    pub(super) places: TokenPlaces,
    pub(super) leaves_jwts: bool,
    pub(super) left_prefixes: Vec<String>,
    pub(super) rules: Rules,
    pub(super) cache: TokenCache,
    pub(super) cache_for: Duration,
    pub(super) call_limit: Duration,
    pub(super) at_once: usize,
    pub(super) clock: Arc<dyn Clock>,
    /// Created at first use.
    pub(super) calls: OnceLock<Arc<Calls>>,
}

impl Settings {
    pub(super) fn calls(&self) -> &Calls {
        self.calls
            .get_or_init(|| Arc::new(Calls::new(self.cache_for, self.cache, self.at_once)))
    }

    /// Whether a token is another strategy's.
    pub(super) fn leaves(&self, token: &str) -> bool {
        let has_prefix = |prefix: &String| token.starts_with(&**prefix);
        (self.leaves_jwts && looks_like_jwt(token.as_bytes()))
            || self.left_prefixes.iter().any(has_prefix)
    }

    fn post(&self) -> Result<&Arc<Post>, TokenConfigError> {
        if let Some(post) = self.post.get() {
            return Ok(post);
        }
        let mut post = HttpsFetch::new()?;
        if self.plain == PlainHttp::Anywhere {
            post = post.dangerously_allow_http();
        }
        let made = boxed(post);
        Ok(self.post.get_or_init(|| made))
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        self.places.validate()?;
        self.client.validate()?;
        if self.call_limit.is_zero() {
            return Err(ConfigError::ZeroTimeLimit);
        }
        self.endpoint.validate(self.plain)?;
        let rules = &self.rules;
        if let (Some(issuer), Some(discovered)) = (&rules.issuer, self.endpoint.issuer()) {
            if **issuer != *discovered {
                let (issuer, discovered) = (issuer.to_string(), discovered.to_owned());
                return Err(TokenConfigError::OtherIssuer { issuer, discovered }.into());
            }
        }
        let names = rules.issuer.iter().chain(&rules.audiences);
        if names.into_iter().any(|name| name.is_empty()) {
            return Err(TokenConfigError::EmptyName.into());
        }
        rules.identify.validate()?;
        for requirement in &rules.required {
            requirement.validate()?;
        }
        self.post()?;
        Ok(())
    }

    /// Asks the endpoint about a token, unless another request does so already.
    pub(super) async fn outcome(&self, fingerprint: Fingerprint, token: String) -> Outcome {
        let calls = self.calls();
        let call = async {
            let Ok(_permit) = calls.permits.acquire().await else {
                unreachable!("the semaphore is never closed")
            };
            let asked = Moment::at(self.clock.now());
            let answered = self.ask(&token, asked).await;
            calls.remember(fingerprint, asked, &answered);
            answered
        };
        match calls.under_way.join(fingerprint, call).await {
            Ok(confirmed) => confirmed.identity.clone().into(),
            Err(refusal) => refusal.into(),
        }
    }

    async fn ask(&self, token: &str, asked: Moment) -> Answered {
        let answer = self.call(token).await?;
        let confirmed = self.rules.verdict(&answer, asked, self.clock.now())?;
        Ok(Arc::new(confirmed))
    }

    /// Returns where the endpoint is.
    async fn url(&self) -> Result<String, FetchError> {
        match &self.endpoint {
            Endpoint::Url(url) => Ok(url.clone()),
            Endpoint::Metadata(source) => {
                let discovered = &self.calls().discovered;
                let url = discovered
                    .url(source, self.call_limit, &*self.clock)
                    .await?;
                Ok(url.to_string())
            }
        }
    }

    async fn call(&self, token: &str) -> Result<Bytes, IntrospectionError> {
        let url = self.url().await?;
        let limit = timer(self.call_limit)?;
        // `build()` has reported a client that can't be created.
        let post = self.post().map_err(FetchError::transport)?;
        // The request too: an assertion is made by a closure of the application's, which may panic.
        let call = async { Ok::<_, IntrospectionError>(post(self.request(url, token)?).await?) };
        let answer = bounded(call, limit).await??;
        if answer.len() > MAX_ANSWER_LEN {
            let limit = MAX_ANSWER_LEN;
            return Err(FetchError::TooLong { limit }.into());
        }
        Ok(answer)
    }

    fn request(&self, url: String, token: &str) -> Result<FormRequest, IntrospectionError> {
        let mut form = Serializer::new(String::new());
        form.append_pair("token", token)
            .append_pair("token_type_hint", "access_token");
        self.client.add_to(&mut form)?;
        Ok(FormRequest {
            url,
            authorization: self.client.authorization(),
            body: form.finish(),
        })
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("endpoint", &self.endpoint)
            .field("client", &self.client)
            .field("places", &self.places)
            .finish_non_exhaustive()
    }
}
