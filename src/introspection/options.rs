//! The optional settings of an [`Introspection`].

use std::{borrow::Cow, time::Duration};

use serde::de::DeserializeOwned;

use super::{Introspection, PostForm, endpoint::Endpoint, post::boxed};
use crate::{
    context::{IdRules, Identity},
    jwt::{ContextClaim, FetchDocument, PlainHttp, Requirement, VerifiedToken},
    strategy::InvalidError,
    token::{TokenCache, TokenPlaces, TokenSource},
};

/// # Where tokens are
impl<A> Introspection<A> {
    /// Sets the only place where tokens are looked for, instead of `Authorization: Bearer`.
    #[must_use]
    pub fn token_source(mut self, source: TokenSource) -> Self {
        self.settings_mut().places = TokenPlaces::new(source);
        self
    }

    /// Adds a place where tokens are looked for.
    #[must_use]
    pub fn also_token_source(mut self, source: TokenSource) -> Self {
        self.settings_mut().places.add(source);
        self
    }

    /// Leaves what looks like a JSON Web Token to the other strategies of the list: it has three parts, and
    /// begins with `e`.
    ///
    /// A token that no strategy takes is refused with 401 unless another credential identifies the
    /// request, and no [`Fallback`](crate::Fallback) acts on it. See
    /// [several credentials in one header](crate::guide::choosing_strategies#several-kinds-of-tokens).
    #[must_use]
    pub fn leave_jwts(mut self) -> Self {
        self.settings_mut().leaves_jwts = true;
        self
    }

    /// As [`leave_jwts`](Self::leave_jwts), for tokens that begin with this text, such as the prefix of API
    /// keys.
    #[must_use]
    pub fn leave_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.settings_mut().left_prefixes.push(prefix.into());
        self
    }
}

/// # What is read of the answer
impl<A> Introspection<A> {
    /// Takes the user's id from this member instead of `sub`, such as `username`. Its value has to be a
    /// string.
    #[must_use]
    pub fn user_id_claim(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        let identify = &mut self.settings_mut().rules.identify;
        identify.set_user_id_claim(name.into());
        self
    }

    /// Takes the tenant from this member, if the answer has it. Its value has to be a string.
    #[must_use]
    pub fn tenant_claim(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        let identify = &mut self.settings_mut().rules.identify;
        identify.set_context_claim(ContextClaim::Tenant, name.into());
        self
    }

    /// Reads roles from this member, if the answer has it, into the context's
    /// [`Grants`](crate::authorize::Grants): an array of strings, or one string. `scope` is always read.
    #[must_use]
    pub fn role_claim(self, name: impl Into<Cow<'static, str>>) -> Self {
        self.role_claim_at(name, [] as [&str; 0])
    }

    /// As [`role_claim`](Self::role_claim), for roles that are in a member of the member: those of Keycloak
    /// are at `realm_access`, `["roles"]`.
    #[must_use]
    pub fn role_claim_at<M>(mut self, name: impl Into<Cow<'static, str>>, members: M) -> Self
    where
        M: IntoIterator<Item: Into<Cow<'static, str>>>,
    {
        let members = members.into_iter().map(Into::into).collect();
        let grants = self.settings_mut().rules.identify.grants();
        grants.add_roles(name.into(), members);
        self
    }

    /// Takes [who acts](Identity::with_actor) for the user from this member, if the answer has it: `act`
    /// (RFC 8693 section 4.1), an object with a `sub`. See [`Jwt::actor_claim`](crate::jwt::Jwt::actor_claim).
    #[must_use]
    pub fn actor_claim(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        let identify = &mut self.settings_mut().rules.identify;
        identify.set_actor_claim(name.into());
        self
    }

    /// Sets the rules for ids, instead of [`IdRules::new`].
    #[must_use]
    pub fn id_rules(mut self, rules: IdRules) -> Self {
        self.settings_mut().rules.identify.rules(rules);
        self
    }

    /// Adds the answer, as a type of the application, to the context's attributes. A token is refused if
    /// the answer about it is not of the type.
    #[must_use]
    pub fn claims<T>(mut self) -> Self
    where
        T: DeserializeOwned + Clone + Send + Sync + 'static,
    {
        self.settings_mut().rules.identify.attach::<T>();
        self
    }

    /// Makes the identity from the answer with a closure: for tokens of services, which have no user, and
    /// for ids of several members.
    ///
    /// ```
    /// use serde::Deserialize;
    /// use tower_user_scope::{
    ///     Identity, UserId, context::ServiceName,
    ///     introspection::{ClientAuthentication, Introspection},
    /// };
    ///
    /// #[derive(Clone, Deserialize)]
    /// struct Answer { sub: Option<String>, client_id: String }
    ///
    /// let client = ClientAuthentication::none();
    /// let strategy = Introspection::new("http://localhost:4445/oauth2/introspect", client)
    ///     .audience("api")
    ///     .identity(|_token, answer: &Answer| Ok(match &answer.sub {
    ///         Some(user) => Identity::proved(user.parse::<UserId>()?),
    ///         None => Identity::proved(answer.client_id.parse::<ServiceName>()?),
    ///     }));
    /// # let _ = strategy;
    /// ```
    #[must_use]
    pub fn identity<T, F>(mut self, identity: F) -> Self
    where
        T: DeserializeOwned + Clone + Send + Sync + 'static,
        F: Fn(&VerifiedToken, &T) -> Result<Identity, InvalidError> + Send + Sync + 'static,
    {
        self.settings_mut().rules.identify.set_closure(identity);
        self
    }
}

/// # What is accepted
impl<A> Introspection<A> {
    /// Accepts only answers whose `iss` is exactly this name. By default `iss` is not checked, because
    /// many issuers leave it out.
    #[must_use]
    pub fn issuer(mut self, name: impl Into<String>) -> Self {
        self.settings_mut().rules.issuer = Some(name.into().into_boxed_str());
        self
    }

    /// Accepts only answers in which this member is one of these values, or is an array that has one of
    /// them. Call it again to require another member too.
    #[must_use]
    pub fn require_claim<V>(mut self, name: impl Into<Cow<'static, str>>, values: V) -> Self
    where
        V: IntoIterator<Item: Into<String>>,
    {
        let requirement = Requirement::new(name, values);
        self.settings_mut().rules.required.push(requirement);
        self
    }

    /// Accepts tokens that are bound to a key of their sender (`cnf`, RFC 8705 and RFC 9449), and tokens of
    /// any `token_type` and `token_use`. This crate does not check that the sender has the key: unless a
    /// proxy does, a stolen token can be used.
    #[must_use]
    pub fn dangerously_accept_sender_constrained(mut self) -> Self {
        self.settings_mut().rules.accept_sender_constrained = true;
        self
    }
}

/// # How the issuer is asked
impl<A> Introspection<A> {
    /// Sets how long an answer is remembered: 30 seconds by default. A token that is revoked meanwhile is
    /// accepted for this long. Zero asks the issuer for each request.
    #[must_use]
    pub fn cache_for(mut self, period: Duration) -> Self {
        self.settings_mut().cache_for = period;
        self
    }

    /// Sets the limits of what is remembered, instead of [`TokenCache::new`].
    #[must_use]
    pub fn cache(mut self, limits: TokenCache) -> Self {
        self.settings_mut().cache = limits;
        self
    }

    /// Sets the time limit of a call: 5 seconds by default. Zero is an error of `build()`.
    #[must_use]
    pub fn call_time_limit(mut self, limit: Duration) -> Self {
        self.settings_mut().call_limit = limit;
        self
    }

    /// Sets how many calls may be under way at once: 64 by default, at least one.
    #[must_use]
    pub fn max_calls(mut self, count: usize) -> Self {
        self.settings_mut().at_once = count.clamp(1, tokio::sync::Semaphore::MAX_PERMITS);
        self
    }

    /// Sets how the endpoint is called, instead of an [`HttpsFetch`](crate::jwt::HttpsFetch): with a proxy or
    /// with a client certificate. A client of `reqwest` that is given to
    /// [`HttpsFetch::with_client`](crate::jwt::HttpsFetch::with_client) must not follow redirects: they would
    /// get the token and the client's secret.
    #[must_use]
    pub fn post_with(mut self, post: impl PostForm + Send + Sync + 'static) -> Self {
        self.settings_mut().post = std::sync::OnceLock::from(boxed(post));
        self
    }

    /// Sets how the issuer's metadata is fetched, instead of an [`HttpsFetch`](crate::jwt::HttpsFetch).
    /// Without [discovery](Introspection::discover) there is nothing to fetch.
    #[must_use]
    pub fn fetch_with(mut self, fetch: impl FetchDocument + Send + Sync + 'static) -> Self {
        if let Endpoint::Metadata(source) = &mut self.settings_mut().endpoint {
            source.fetch_with(fetch);
        }
        self
    }

    /// Allows plain `http` to other hosts than this one. Whoever can answer in that network's place can be
    /// every user, and sees tokens and the client's secret: right inside a cluster whose network is
    /// trusted, and nowhere else. With [`post_with`](Self::post_with)
    /// and [`fetch_with`](Self::fetch_with), the implementation decides as well.
    #[must_use]
    pub fn dangerously_allow_http(mut self) -> Self {
        let settings = self.settings_mut();
        settings.plain = PlainHttp::Anywhere;
        if let Endpoint::Metadata(source) = &mut settings.endpoint {
            source.allow_http();
        }
        self
    }
}
