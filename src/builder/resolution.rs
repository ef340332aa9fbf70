//! Strategies, fallbacks, correlation ids and the clock.

use std::sync::Arc;

use super::LayerBuilder;
use crate::{
    clock::Clock,
    context::{CorrelationSources, IdSource, Identity, TenantId, TenantSource},
    resolve::{Rule, StrategyList, TenantRule, Then, ThenEach},
    strategy::{BoxStrategy, Fallback, Strategy},
};

/// # Resolution
impl<L, M, A> LayerBuilder<L, M, A> {
    /// Adds a strategy at the end of the list.
    ///
    /// The list is a part of the builder's type, so a strategy that is added in an `if` does not
    /// compile ("mismatched types", of two builders). Collect such ones as
    /// [`BoxStrategy`](crate::strategy::BoxStrategy) and add them with
    /// [`strategies`](Self::strategies). A [`Fallback`] is added with
    /// [`fallback`](Self::fallback).
    pub fn strategy<S: Strategy>(self, strategy: S) -> LayerBuilder<Then<L, S>, M, A> {
        self.map_list(|list| Then::new(list, strategy))
    }

    /// Adds strategies whose number and order were read from configuration.
    ///
    /// Each costs a virtual call for each request that reaches it, and an allocation if it waits.
    pub fn strategies(
        self,
        strategies: impl IntoIterator<Item = BoxStrategy>,
    ) -> LayerBuilder<ThenEach<L>, M, A>
    where
        L: StrategyList,
    {
        self.map_list(|list| ThenEach::new(list, strategies.into_iter().collect()))
    }

    /// Tries *all* strategies, and refuses with 401 a request in which two of them find different
    /// principals.
    ///
    /// By default the first strategy that finds a principal decides, and later ones are not tried.
    /// Recommended for lists that have both asserted identities (a header) and proved ones (a token, a
    /// session).
    pub fn unanimous(mut self) -> Self {
        self.settings.rule = Rule::Unanimous;
        self
    }

    /// Adds a principal for requests without any credential. The first fallback whose condition holds
    /// is used.
    pub fn fallback(mut self, fallback: Fallback) -> Self {
        self.settings.fallbacks.push(fallback);
        self
    }

    /// Refuses with 401 identities that are only asserted, such as by a header. Proved are those of a
    /// token or a session.
    pub fn require_proved(mut self) -> Self {
        self.settings.require_proved = true;
        self
    }

    /// Refuses with 403 a request that names another tenant than the identity's. Where the request names
    /// none, the identity keeps its own, if it has one.
    ///
    /// The identity's tenant is proved with it, such as by
    /// [`Jwt::tenant_claim`](crate::jwt::Jwt::tenant_claim). What a client names never changes it. A
    /// tenant that can't be read, or that is named twice, is 400.
    ///
    /// ```
    /// use http::HeaderName;
    /// use tower_user_scope::{ExistingContext, UserScopeLayer, context::TenantSource};
    ///
    /// let layer = UserScopeLayer::builder()
    ///     .strategy(ExistingContext::new())
    ///     .tenant(TenantSource::subdomain_of("example.com"))
    ///     .context_only()
    ///     .build()?;
    /// # let _ = layer;
    /// # Ok::<(), tower_user_scope::ConfigError>(())
    /// ```
    pub fn tenant(mut self, source: TenantSource) -> Self {
        self.settings.tenant = Some(TenantRule {
            source,
            belongs_to: None,
        });
        self
    }

    /// As [`tenant`](Self::tenant), for users of several tenants: an identity without a tenant of its own
    /// is put into the tenant that the request names, if the closure says that it belongs there.
    ///
    /// The closure must not block. What it needs is an attribute of the identity: a claim, or a list of
    /// tenants in the session.
    ///
    /// ```
    /// use http::HeaderName;
    /// use serde::Deserialize;
    /// use tower_user_scope::{UserScopeLayer, context::TenantSource, jwt::{Jwt, KeySet}};
    ///
    /// #[derive(Clone, Deserialize)]
    /// struct Member {
    ///     organizations: Vec<String>,
    /// }
    ///
    /// # fn layer(keys: KeySet) -> Result<(), tower_user_scope::ConfigError> {
    /// let jwt = Jwt::new(keys).issuer("https://id.example").audience("api").claims::<Member>();
    /// let named = TenantSource::header(HeaderName::from_static("x-organization"));
    /// let layer = UserScopeLayer::builder()
    ///     .strategy(jwt)
    ///     .tenant_if(named, |identity, tenant| {
    ///         let member = identity.attributes().get::<Member>();
    ///         member.is_some_and(|member| member.organizations.iter().any(|it| it == tenant.as_str()))
    ///     })
    ///     .context_only()
    ///     .build()?;
    /// # let _ = layer;
    /// # Ok(())
    /// # }
    /// ```
    pub fn tenant_if(
        mut self,
        source: TenantSource,
        belongs_to: impl Fn(&Identity, &TenantId) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.settings.tenant = Some(TenantRule {
            source,
            belongs_to: Some(Arc::new(belongs_to)),
        });
        self
    }

    /// Sets the [`Clock`] by which identities, and the credentials of every strategy in the list,
    /// end; by default [`SystemClock`](crate::clock::SystemClock).
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.settings.clock = Arc::new(clock);
        self
    }

    /// Sets where correlation ids are read from; see [`CorrelationSources`] for the default.
    pub fn correlation(mut self, ids: CorrelationSources) -> Self {
        self.settings.correlation = ids;
        self
    }

    /// Sets where ids that are missing come from; by default [`IdSource::default`].
    pub fn id_source(mut self, source: IdSource) -> Self {
        self.settings.ids = source;
        self
    }

    fn map_list<N>(self, change: impl FnOnce(L) -> N) -> LayerBuilder<N, M, A> {
        LayerBuilder {
            list: change(self.list),
            make: self.make,
            authorize: self.authorize,
            settings: self.settings,
        }
    }
}
