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
    post::{MAX_ANSWER_LEN, Post, boxed},
};
use crate::{
    clock::{Clock, Moment},
    config_error::ConfigError,
    jwt::{FetchError, HttpsFetch, PlainHttp, TokenConfigError, bounded, checked, redacted, timer},
    strategy::Outcome,
    token::{Fingerprint, TokenCache, TokenPlaces, looks_like_jwt},
};

#[derive(Clone)]
pub(super) struct Settings {
    pub(super) url: String,
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
        checked(&self.url, self.plain).map_err(|problem| TokenConfigError::Url {
            url: redacted(&self.url),
            problem,
        })?;
        let rules = &self.rules;
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

    async fn call(&self, token: &str) -> Result<Bytes, IntrospectionError> {
        let limit = timer(self.call_limit)?;
        let request = self.request(token)?;
        // `build()` has reported a client that can't be created.
        let post = self.post().map_err(FetchError::transport)?;
        let answer = bounded(post(request), limit).await??;
        if answer.len() > MAX_ANSWER_LEN {
            let limit = MAX_ANSWER_LEN;
            return Err(FetchError::TooLong { limit }.into());
        }
        Ok(answer)
    }

    fn request(&self, token: &str) -> Result<FormRequest, IntrospectionError> {
        let mut form = Serializer::new(String::new());
        form.append_pair("token", token)
            .append_pair("token_type_hint", "access_token");
        self.client.add_to(&mut form)?;
        Ok(FormRequest {
            url: self.url.clone(),
            authorization: self.client.authorization(),
            body: form.finish(),
        })
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("url", &redacted(&self.url))
            .field("client", &self.client)
            .field("places", &self.places)
            .finish_non_exhaustive()
    }
}
