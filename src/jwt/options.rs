//! The optional settings of a [`Jwt`]: where tokens are, which claims are read, what is accepted.

use std::{borrow::Cow, error::Error as StdError, future::Future, mem, sync::Arc, time::Duration};

use serde::de::DeserializeOwned;

use super::{
    CryptoProvider, Jwt, VerifiedToken, identify::ContextClaim, requirement::Requirement,
    revocation::Revocation,
};
use crate::{
    context::{IdRules, Identity},
    strategy::InvalidError,
    token::{TokenCache, TokenPlaces, TokenSource, VerdictCache},
};

impl<I, A> Jwt<I, A> {
    /// Sets the only place where tokens are looked for.
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

    /// Leaves a token that does not look like a JWT to the other strategies of the list, instead of
    /// refusing it: for a list in which opaque tokens or API keys come in the same header.
    ///
    /// What looks like a JWT has three parts and begins with `e`, and is refused if it is not valid.
    /// A token that no strategy takes is refused with 401 unless another credential identifies the
    /// request, and no [`Fallback`](crate::Fallback) acts on it. See
    /// [several credentials in one header](crate::guide::choosing_strategies#several-kinds-of-tokens).
    #[must_use]
    pub fn leave_other_tokens(mut self) -> Self {
        self.settings_mut().leaves_other_tokens = true;
        self
    }

    /// Takes the user's id from this claim instead of `sub`. Its value has to be a string: a number is
    /// refused with [`TokenErrorKind::NumericId`](super::TokenErrorKind::NumericId), unless
    /// [`identity`](Self::identity) converts it.
    #[must_use]
    pub fn user_id_claim(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.settings_mut().identify.set_user_id_claim(name.into());
        self
    }

    /// Takes the tenant from this claim, if the token has it. Its value has to be a string.
    ///
    /// With several issuers, use `iss`: it tells their users apart. Any other claim has what its issuer
    /// wrote, which may be a tenant of another issuer.
    #[must_use]
    pub fn tenant_claim(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.settings_mut()
            .identify
            .set_context_claim(ContextClaim::Tenant, name.into());
        self
    }

    /// Treats the same id from different issuers as the same user. For a migration from one issuer to
    /// another, and for regions of one provider.
    #[must_use]
    pub fn issuers_share_users(mut self) -> Self {
        self.settings_mut().issuers_share_users = true;
        self
    }

    /// Accepts tokens that are bound to a key of their sender (`cnf`: RFC 8705, RFC 9449), which are
    /// refused by default. This crate does not check that the sender has the key: unless a proxy does,
    /// a stolen token can be used.
    #[must_use]
    pub fn dangerously_accept_sender_constrained(mut self) -> Self {
        self.settings_mut().accept_sender_constrained = true;
        self
    }

    /// Takes the thread's id from this claim, if the token has it. A request that names another thread
    /// is refused.
    #[must_use]
    pub fn thread_id_claim(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.settings_mut()
            .identify
            .set_context_claim(ContextClaim::Thread, name.into());
        self
    }

    /// Takes the run's id from this claim, if the token has it. A request that names another run is
    /// refused.
    #[must_use]
    pub fn run_id_claim(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.settings_mut()
            .identify
            .set_context_claim(ContextClaim::Run, name.into());
        self
    }

    /// Takes [who acts](Identity::with_actor) for the user from this claim, if the token has it: `act`
    /// (RFC 8693 section 4.1), an object with a `sub`. Its `act`, which names earlier actors, is not
    /// read.
    ///
    /// The actor is a user; for one that is a service, make the identity with
    /// [`identity`](Self::identity). Without this setting the claim is not read, and a token that an
    /// administrator got for a user is the user's.
    #[must_use]
    pub fn actor_claim(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.settings_mut().identify.set_actor_claim(name.into());
        self
    }

    /// Reads scopes from this claim, if the token has it, into the context's
    /// [`Grants`](crate::authorize::Grants): `scope` (RFC 8693 section 4.2, separated by spaces), or
    /// `scp`, also as an array. Call it again to read another claim too.
    ///
    /// `acr` and `auth_time` are read too. A token whose claim has another type is refused.
    #[must_use]
    pub fn scope_claim(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        let name = name.into();
        self.settings_mut().identify.grants().add_scopes(name);
        self
    }

    /// Reads roles from this claim, if the token has it, into the context's
    /// [`Grants`](crate::authorize::Grants): `roles`, `groups` or `permissions`, an array of strings, or
    /// one string. Call it again to read another claim too.
    #[must_use]
    pub fn role_claim(self, name: impl Into<Cow<'static, str>>) -> Self {
        self.role_claim_at(name, [] as [&str; 0])
    }

    /// As [`role_claim`](Self::role_claim), for roles that are in a member of the claim: those of
    /// Keycloak are at `realm_access`, `["roles"]`, and at `resource_access`,
    /// `["the-client", "roles"]`.
    #[must_use]
    pub fn role_claim_at<M>(mut self, name: impl Into<Cow<'static, str>>, members: M) -> Self
    where
        M: IntoIterator<Item: Into<Cow<'static, str>>>,
    {
        let (name, members) = (name.into(), members.into_iter().map(Into::into).collect());
        self.settings_mut()
            .identify
            .grants()
            .add_roles(name, members);
        self
    }

    /// Sets the rules for ids, instead of [`IdRules::new`].
    #[must_use]
    pub fn id_rules(mut self, rules: IdRules) -> Self {
        self.settings_mut().identify.rules(rules);
        self
    }

    /// Adds the claims, as a type of the application, to the context's attributes. A token whose claims
    /// are not of the type is refused. Call it again to add another type.
    ///
    /// ```
    /// use serde::Deserialize;
    /// use tower_user_scope::{UserContext, jwt::{Algorithm, Jwt, Key}};
    ///
    /// #[derive(Clone, Deserialize)]
    /// struct Claims {
    ///     roles: Vec<String>,
    /// }
    ///
    /// # let secret = b"5bLk0ukr1SgGyg4oJxSLHk9ooSPN7DdJ";
    /// let strategy = Jwt::new(Key::hmac(Algorithm::HS256, secret)?)
    ///     .issuer("https://id.example")
    ///     .audience("api")
    ///     .claims::<Claims>();
    ///
    /// fn is_editor(user: &UserContext) -> bool {
    ///     let claims = user.attributes().get::<Claims>();
    ///     claims.is_some_and(|claims| claims.roles.iter().any(|role| role == "editor"))
    /// }
    /// # let _ = (strategy, is_editor);
    /// # Ok::<(), tower_user_scope::jwt::KeyError>(())
    /// ```
    #[must_use]
    pub fn claims<T>(mut self) -> Self
    where
        T: DeserializeOwned + Clone + Send + Sync + 'static,
    {
        self.settings_mut().identify.attach::<T>();
        self
    }

    /// Makes the identity from the claims with a closure: for ids of several claims, numeric ids, and
    /// principals that are services. The claims, as a type of the application, are added to the
    /// identity's attributes too.
    ///
    /// The closure runs once for each [cached](Self::cache) token, and not for each request. Check what
    /// may change before the token ends in [`revoked_if`](Self::revoked_if).
    ///
    /// ```
    /// use serde::Deserialize;
    /// use tower_user_scope::{
    ///     Identity, UserId, context::ServiceName, jwt::{Algorithm, Jwt, Key, TokenErrorKind},
    /// };
    ///
    /// #[derive(Clone, Deserialize)]
    /// struct Claims {
    ///     email: Option<String>,
    ///     client_id: String,
    /// }
    ///
    /// # let secret = b"5bLk0ukr1SgGyg4oJxSLHk9ooSPN7DdJ";
    /// let strategy = Jwt::new(Key::hmac(Algorithm::HS256, secret)?)
    ///     .issuer("https://id.example")
    ///     .audience("api")
    ///     .identity(|_token, claims: &Claims| Ok(match &claims.email {
    ///         Some(email) => Identity::proved(email.parse::<UserId>()?),
    ///         None => Identity::proved(claims.client_id.parse::<ServiceName>()?),
    ///     }));
    /// # let _ = strategy;
    /// # Ok::<(), tower_user_scope::jwt::KeyError>(())
    /// ```
    #[must_use]
    pub fn identity<T, F>(mut self, identity: F) -> Self
    where
        T: DeserializeOwned + Clone + Send + Sync + 'static,
        F: Fn(&VerifiedToken, &T) -> Result<Identity, InvalidError> + Send + Sync + 'static,
    {
        self.settings_mut().identify.set_closure(identity);
        self
    }

    /// Accepts only tokens whose claim is one of these values, or is an array that has one of them.
    /// Call it again to require another claim too.
    ///
    /// An issuer that serves many customers signs tokens for all of them: the claim that names the
    /// customer, such as `tid` of Microsoft Entra ID, `hd` of Google or `repository_owner` of GitHub
    /// Actions, says whose token it is.
    ///
    /// ```
    /// use tower_user_scope::jwt::{Jwt, RemoteKeys};
    ///
    /// let github = "https://token.actions.githubusercontent.com";
    /// let strategy = Jwt::new(RemoteKeys::discover(github))
    ///     .issuer(github)
    ///     .audience("https://deploy.example")
    ///     .require_claim("repository", ["our-company/website"])
    ///     .require_claim("ref", ["refs/heads/main"]);
    /// # let _ = strategy;
    /// ```
    #[must_use]
    pub fn require_claim<V>(mut self, name: impl Into<Cow<'static, str>>, values: V) -> Self
    where
        V: IntoIterator<Item: Into<String>>,
    {
        let requirement = Requirement::new(name, values);
        self.settings_mut().required.push(requirement);
        self
    }

    /// Accepts only tokens that have this claim, whatever its value is; `null` counts as none. For what
    /// tells one kind of an issuer's tokens from another.
    #[must_use]
    pub fn require_claim_present(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        let requirement = Requirement::present(name);
        self.settings_mut().required.push(requirement);
        self
    }

    /// Requires this `typ`, such as `at+jwt` for access tokens (RFC 9068 section 4), so that an ID token
    /// of the same issuer is refused. Compared without regard to case and to `application/`.
    #[must_use]
    pub fn token_type(mut self, media_type: impl Into<Cow<'static, str>>) -> Self {
        self.settings_mut().token_type = Some(media_type.into());
        self
    }

    /// Sets the tolerance for `exp` and `nbf`, for clocks that differ: 30 seconds by default, at most
    /// five minutes, in whole seconds.
    #[must_use]
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.settings_mut().leeway = leeway;
        self
    }

    /// Sets the length of the longest accepted token in bytes, instead of [`MAX_LEN`](Self::MAX_LEN).
    #[must_use]
    pub fn max_len(mut self, bytes: usize) -> Self {
        self.settings_mut().max_len = bytes;
        self
    }

    /// Sets the cryptography that verifies the tokens; see [`CryptoProvider`].
    #[must_use]
    pub fn crypto_provider(mut self, provider: CryptoProvider) -> Self {
        self.settings_mut().provider = Some(provider);
        self
    }

    /// Sets the limits of the cache of verified tokens, instead of [`TokenCache::new`].
    #[must_use]
    pub fn cache(mut self, limits: TokenCache) -> Self {
        self.settings_mut().cache = Some(Arc::new(VerdictCache::new("jwt", limits)));
        self
    }

    /// Turns the cache off: the signature is verified for each request.
    #[must_use]
    pub fn without_cache(mut self) -> Self {
        self.settings_mut().cache = None;
        self
    }

    /// Refuses verified tokens for which this closure returns true. It is called for each request, also
    /// for cached tokens, and must not block. Call it again to add another check.
    #[must_use]
    pub fn revoked_if(
        mut self,
        is_revoked: impl Fn(&VerifiedToken) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.add_revocation_check(Revocation::Sync(Arc::new(is_revoked)));
        self
    }

    /// As [`revoked_if`](Self::revoked_if), with a closure that returns a future. An error is
    /// 503.
    #[must_use]
    pub fn revoked_if_async<F, Fut, E>(mut self, is_revoked: F) -> Self
    where
        F: Fn(VerifiedToken) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<bool, E>> + Send + 'static,
        E: StdError + Send + Sync + 'static,
    {
        self.add_revocation_check(Revocation::from_async(is_revoked));
        self
    }

    fn add_revocation_check(&mut self, check: Revocation) {
        let settings = self.settings_mut();
        let before = mem::replace(&mut settings.revocation, Revocation::None);
        settings.revocation = before.or(check);
    }
}
