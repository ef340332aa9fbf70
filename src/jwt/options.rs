//! The optional settings of a [`Jwt`]: where tokens are, which claims are read, what is accepted.

use std::{borrow::Cow, error::Error as StdError, future::Future, mem, sync::Arc, time::Duration};

use serde::de::DeserializeOwned;

use super::{
    CryptoProvider, Jwt, TokenCache, TokenSource, VerifiedToken, cache::VerdictCache,
    identify::ContextClaim, revocation::Revocation,
};
use crate::{
    context::{IdRules, Identity},
    strategy::InvalidError,
};

impl<I, A> Jwt<I, A> {
    /// Looks for the token here, and nowhere else.
    #[must_use]
    pub fn token_source(mut self, source: TokenSource) -> Self {
        self.settings_mut().sources = vec![source];
        self
    }

    /// Looks for the token here too.
    #[must_use]
    pub fn also_token_source(mut self, source: TokenSource) -> Self {
        self.settings_mut().sources.push(source);
        self
    }

    /// Takes the user's id from this claim instead of `sub`; its value has to be a string. A number
    /// is refused with [`TokenErrorKind::NumericId`](super::TokenErrorKind::NumericId)(super::TokenErrorKind::NumericId): which user it is, [`identity`](Self::identity)
    /// can say.
    #[must_use]
    pub fn user_id_claim(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.settings_mut().identify.set_user_id_claim(name.into());
        self
    }

    /// Takes the tenant from this claim, where it is there; its value has to be a string.
    ///
    /// With several issuers, `iss` is the claim that tells their users apart. Another one holds
    /// whatever its issuer wrote into it, another issuer's tenants included.
    #[must_use]
    pub fn tenant_claim(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.settings_mut()
            .identify
            .set_context_claim(ContextClaim::Tenant, name.into());
        self
    }

    /// Says that all issuers are of one user base: an id is one user's, whichever of them signs
    /// it. Right for a move from one to another, and for regions of one provider.
    #[must_use]
    pub fn issuers_share_users(mut self) -> Self {
        self.settings_mut().issuers_share_users = true;
        self
    }

    /// Accepts tokens that are bound to a key of their sender's (`cnf`: RFC 8705, RFC 9449) like
    /// any other, which are refused unless this is said: whoever steals one can use it, where
    /// nothing in front checks that the sender has the key.
    #[must_use]
    pub fn dangerously_accept_sender_constrained(mut self) -> Self {
        self.settings_mut().accept_sender_constrained = true;
        self
    }

    /// Takes the thread's id from this claim, where it is there: a request that names another
    /// one is refused.
    #[must_use]
    pub fn thread_id_claim(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.settings_mut()
            .identify
            .set_context_claim(ContextClaim::Thread, name.into());
        self
    }

    /// Takes the run's id from this claim, where it is there: a request that names another one
    /// is refused.
    #[must_use]
    pub fn run_id_claim(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.settings_mut()
            .identify
            .set_context_claim(ContextClaim::Run, name.into());
        self
    }

    /// Checks ids by other rules than [`IdRules::new`].
    #[must_use]
    pub fn id_rules(mut self, rules: IdRules) -> Self {
        self.settings_mut().identify.rules(rules);
        self
    }

    /// Adds the claims, as a type of the application's, to the context's attributes. Claims that
    /// are not of the type are refused. Said once more, it adds another type.
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

    /// Makes the identity of the claims, as a type of the application's, which are added to its
    /// attributes too: for ids that are made of several claims, and principals that are services.
    ///
    /// No rule of this crate reads `sub` before it, so that a `sub` that is a number, as some
    /// issuers write it, is the closure's to read.
    ///
    /// It runs once for a token that is [remembered](Self::cache), and not for each request with
    /// it: what can change before the token ends is for [`revoked_if`](Self::revoked_if).
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

    /// Asks for this `typ`, such as `at+jwt` for access tokens (RFC 9068 section 4): an ID token
    /// of the same issuer is then none. Compared without case and without `application/`.
    #[must_use]
    pub fn token_type(mut self, media_type: impl Into<Cow<'static, str>>) -> Self {
        self.settings_mut().token_type = Some(media_type.into());
        self
    }

    /// How far `exp` and `nbf` may be off, for clocks that differ: 30 seconds unless this says
    /// otherwise, at most five minutes, whole seconds.
    #[must_use]
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.settings_mut().leeway = leeway;
        self
    }

    /// Looks at tokens of at most so many bytes, instead of [`MAX_LEN`](Self::MAX_LEN).
    #[must_use]
    pub fn max_len(mut self, bytes: usize) -> Self {
        self.settings_mut().max_len = bytes;
        self
    }

    /// Says whose cryptography verifies the tokens; see [`CryptoProvider`].
    #[must_use]
    pub fn crypto_provider(mut self, provider: CryptoProvider) -> Self {
        self.settings_mut().provider = Some(provider);
        self
    }

    /// How many tokens that were verified are remembered. By default
    /// [`TokenCache::new`].
    #[must_use]
    pub fn cache(mut self, limits: TokenCache) -> Self {
        self.settings_mut().cache = Some(Arc::new(VerdictCache::new(limits)));
        self
    }

    /// Remembers no token: each request pays for its signature.
    #[must_use]
    pub fn without_cache(mut self) -> Self {
        self.settings_mut().cache = None;
        self
    }

    /// Asks this about each token that is otherwise good, remembered or not, and refuses it
    /// where the answer is `true`. It runs in place and must not block. Said once more, it is
    /// another check beside the first.
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
