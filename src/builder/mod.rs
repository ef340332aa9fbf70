//! What the application configures, checked by `build()`.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use http::request::Parts;

#[cfg(feature = "tokio")]
use crate::factory::{LazyAsync, LazyAsyncFn, LazyLimit};
use crate::{
    audit::{Audit, Observer, UserIdTelemetry},
    authorize::{Anyone, Authorize, AuthorizeAsyncFn, AuthorizeError, AuthorizeFn},
    clock::{Clock, SystemClock},
    config_error::ConfigError,
    context::{CorrelationSources, IdSource, UserContext},
    factory::{
        BoxError, ContextOnly, FactoryAsyncFn, FactoryFn, Lazy, LazyFn, MakeFactory, NoFactory,
        ProvideFactory, Provided, Shapes, TryFactoryFn,
    },
    layer::UserScopeLayer,
    policy::Policy,
    rejection::{DefaultResponder, RespondToRejection},
    resolve::{Empty, Rule, StrategyList, Tally, Then, ThenEach},
    scope::{ClosedScope, Guard, Hooks, Isolation, Watch},
    strategy::{BoxStrategy, Fallback, Strategy},
    time_limit::TimeLimits,
};

/// Configures a [`UserScopeLayer`]; see [`UserScopeLayer::builder`].
///
/// Strategies are asked in the order in which they are added. The layer can be built once it
/// says what it makes for each request.
#[must_use]
pub struct LayerBuilder<L = Empty, M = NoFactory, A = Anyone> {
    list: L,
    make: M,
    authorize: A,
    settings: Settings,
}

/// What can be said without changing the type of the builder.
struct Settings {
    rule: Rule,
    fallbacks: Vec<Fallback>,
    correlation: CorrelationSources,
    ids: IdSource,
    require_proved: bool,
    respond: Box<dyn RespondToRejection + Send + Sync>,
    audit: Audit,
    clock: Arc<dyn Clock>,
    isolation: Isolation,
    strict: bool,
    hooks: Hooks,
    limits: TimeLimits,
    /// Told when all is said.
    #[cfg(feature = "tokio")]
    lazy_limit: LazyLimit,
}

impl UserScopeLayer {
    /// Starts a layer whose missing correlation ids are version 7 UUIDs.
    #[cfg(feature = "uuid")]
    #[cfg_attr(docsrs, doc(cfg(feature = "uuid")))]
    pub fn builder() -> LayerBuilder {
        LayerBuilder::new(IdSource::uuid_v7())
    }

    /// Starts a layer whose missing correlation ids come from `source`.
    pub fn builder_with_ids(source: IdSource) -> LayerBuilder {
        LayerBuilder::new(source)
    }
}

impl LayerBuilder {
    fn new(ids: IdSource) -> Self {
        Self {
            list: Empty { _private: () },
            make: NoFactory { _private: () },
            authorize: Anyone { _private: () },
            settings: Settings {
                rule: Rule::FirstMatch,
                fallbacks: Vec::new(),
                correlation: CorrelationSources::new(),
                ids,
                require_proved: false,
                respond: Box::new(DefaultResponder::default()),
                audit: Audit::default(),
                clock: Arc::new(SystemClock),
                isolation: Isolation::default(),
                strict: false,
                hooks: Hooks::default(),
                limits: TimeLimits::default(),
                #[cfg(feature = "tokio")]
                lazy_limit: LazyLimit::default(),
            },
        }
    }
}

/// Who is it?
impl<L, M, A> LayerBuilder<L, M, A> {
    /// Adds a strategy at the end of the list.
    pub fn strategy<S: Strategy>(self, strategy: S) -> LayerBuilder<Then<L, S>, M, A> {
        self.relist(|list| Then::new(list, strategy))
    }

    /// Adds strategies whose number and order were read from configuration.
    ///
    /// Each costs a virtual call for a request that gets to it, and one allocation where it
    /// really waits.
    pub fn strategies(
        self,
        strategies: impl IntoIterator<Item = BoxStrategy>,
    ) -> LayerBuilder<ThenEach<L>, M, A>
    where
        L: StrategyList,
    {
        self.relist(|list| ThenEach::new(list, strategies.into_iter().collect()))
    }

    /// Asks *every* strategy, and refuses a request in which two of them find different
    /// principals with 401.
    ///
    /// By default the first one that finds somebody decides and later ones are not even asked.
    /// Recommended wherever the list has both what is asserted (a header) and what is proved (a
    /// token, a session).
    pub fn unanimous(mut self) -> Self {
        self.settings.rule = Rule::Unanimous;
        self
    }

    /// Adds who acts where nobody sent anything; the first whose condition holds is taken.
    pub fn fallback(mut self, fallback: Fallback) -> Self {
        self.settings.fallbacks.push(fallback);
        self
    }

    /// Refuses with 401 identities that are only asserted, such as by a header: a token or a
    /// session is wanted.
    pub fn require_proved(mut self) -> Self {
        self.settings.require_proved = true;
        self
    }

    /// Sets the [`Clock`] by which identities, and the credentials of every strategy in the list,
    /// end; by default [`SystemClock`].
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.settings.clock = Arc::new(clock);
        self
    }

    /// Says where correlation ids are read from; see [`CorrelationSources`] for the default.
    pub fn correlation(mut self, ids: CorrelationSources) -> Self {
        self.settings.correlation = ids;
        self
    }

    fn relist<N>(self, change: impl FnOnce(L) -> N) -> LayerBuilder<N, M, A> {
        LayerBuilder {
            list: change(self.list),
            make: self.make,
            authorize: self.authorize,
            settings: self.settings,
        }
    }
}

/// May they make this request?
///
/// Said once: a second step would take the place of the first.
impl<L, M> LayerBuilder<L, M, Anyone> {
    /// Asks a closure whether the principal may make the request, after it was resolved and
    /// before the factory is built.
    ///
    /// Ask about ids that the context holds, such as [`UserContext::thread_id`], and not about
    /// the header that one came in: the context's is the one that everything after uses.
    ///
    /// ```
    /// use tower_user_scope::{ExistingContext, UserScopeLayer, authorize::ForbiddenError};
    ///
    /// let layer = UserScopeLayer::builder()
    ///     .strategy(ExistingContext::new())
    ///     .authorize(|context, head| {
    ///         if head.uri.path().starts_with("/admin") && context.user_id().is_none() {
    ///             return Err(ForbiddenError::new("admin_is_for_users").into());
    ///         }
    ///         Ok(())
    ///     })
    ///     .context_only()
    ///     .build()?;
    /// # let _ = layer;
    /// # Ok::<(), tower_user_scope::ConfigError>(())
    /// ```
    pub fn authorize<F>(self, authorize: F) -> LayerBuilder<L, M, AuthorizeFn<F>>
    where
        F: Fn(&UserContext, &Parts) -> Result<(), AuthorizeError>,
    {
        self.authorize_with(AuthorizeFn(authorize))
    }

    /// As [`authorize`](Self::authorize), with a closure that returns a future.
    ///
    /// The future can't borrow from the context and the head: take what it needs first, as in
    /// `|context, _| { let user = context.clone(); async move { .. } }`. An `async |..|` closure
    /// borrows, and does not compile.
    pub fn authorize_async<F, Fut>(self, authorize: F) -> LayerBuilder<L, M, AuthorizeAsyncFn<F>>
    where
        F: Fn(&UserContext, &Parts) -> Fut,
        Fut: Future<Output = Result<(), AuthorizeError>>,
    {
        self.authorize_with(AuthorizeAsyncFn(authorize))
    }

    /// As [`authorize`](Self::authorize), with a type of the application's own.
    pub fn authorize_with<N: Authorize>(self, authorize: N) -> LayerBuilder<L, M, N> {
        LayerBuilder {
            list: self.list,
            make: self.make,
            authorize,
            settings: self.settings,
        }
    }
}

/// What is built for them?
///
/// Said once, as [`authorize`](LayerBuilder::authorize) is.
impl<L, A> LayerBuilder<L, NoFactory, A> {
    /// Builds a factory with a closure that answers at once and can't fail.
    ///
    /// Shared infrastructure is what the closure captured; it sees a user only through the
    /// context of the request.
    pub fn factory<F, T>(self, make: F) -> LayerBuilder<L, Provided<FactoryFn<F>, T>, A>
    where
        F: Fn(&UserContext) -> T,
        T: Send + Sync + 'static,
    {
        self.make_factory(FactoryFn(make))
    }

    /// Builds a factory with a closure that may fail; the request is then answered with 500, or
    /// with 503 for a [`FactoryUnavailableError`](crate::factory::FactoryUnavailableError).
    pub fn try_factory<F, T, E>(self, make: F) -> LayerBuilder<L, Provided<TryFactoryFn<F>, T>, A>
    where
        F: Fn(&UserContext) -> Result<T, E>,
        T: Send + Sync + 'static,
        E: Into<BoxError>,
    {
        self.make_factory(TryFactoryFn(make))
    }

    /// As [`try_factory`](Self::try_factory), with a closure that returns a future.
    pub fn factory_async<F, Fut, T, E>(
        self,
        make: F,
    ) -> LayerBuilder<L, Provided<FactoryAsyncFn<F>, T>, A>
    where
        F: Fn(UserContext) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        T: Send + Sync + 'static,
        E: Into<BoxError>,
    {
        self.make_factory(FactoryAsyncFn(make))
    }

    /// Builds a factory on its first use; handlers take a `Scoped<`[`Lazy`]`<T>>`.
    pub fn lazy_factory<F, T, E>(self, make: F) -> LayerBuilder<L, Provided<LazyFn<T>, Lazy<T>>, A>
    where
        F: Fn(&UserContext) -> Result<T, E> + Send + Sync + 'static,
        T: Send + Sync + 'static,
        E: Into<BoxError>,
    {
        self.make_factory(LazyFn::new(make))
    }

    /// As [`lazy_factory`](Self::lazy_factory), with a closure that returns a future; handlers
    /// take a `Scoped<`[`LazyAsync`]`<T>>`.
    #[cfg(feature = "tokio")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
    pub fn lazy_factory_async<F, Fut, T, E>(
        self,
        make: F,
    ) -> LayerBuilder<L, Provided<LazyAsyncFn<T>, LazyAsync<T>>, A>
    where
        F: Fn(UserContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + Sync + 'static,
        E: Into<BoxError>,
    {
        let limit = Arc::clone(&self.settings.lazy_limit);
        self.make_factory(LazyAsyncFn::new(make, limit))
    }

    /// Builds a factory with a type of the application's own.
    pub fn make_factory<N>(self, make: N) -> LayerBuilder<L, Provided<N, N::Factory>, A>
    where
        N: MakeFactory,
        N::Factory: Send + Sync + 'static,
    {
        self.remake(|_| Provided::new(make))
    }

    /// Builds no factory: handlers need nothing but the [`UserContext`].
    pub fn context_only(self) -> LayerBuilder<L, ContextOnly, A> {
        self.remake(|_| ContextOnly { _private: () })
    }
}

impl<L, M, A> LayerBuilder<L, M, A> {
    fn remake<N>(self, change: impl FnOnce(M) -> N) -> LayerBuilder<L, N, A> {
        LayerBuilder {
            list: self.list,
            make: change(self.make),
            authorize: self.authorize,
            settings: self.settings,
        }
    }
}

/// In which shape do handlers find it?
impl<L, M, T, A> LayerBuilder<L, Provided<M, T>, A>
where
    T: Send + Sync + 'static,
{
    /// Inserts the factory as `Arc<T>` too, for handlers that took a shared one, such as
    /// axum's `Extension<Arc<T>>`: they get the fresh one without a changed line.
    ///
    /// Nothing checks who uses a bare `Arc<T>`; one that is still held when the scope closes is
    /// reported, as a [`Scoped`](crate::Scoped) is. Move the handlers to that one by and by.
    pub fn insert_as_arc(self) -> Self {
        self.remake(|make| make.reshape(Shapes::with_arc))
    }

    /// Inserts a clone of the factory as `T` too, for handlers that took `Extension<T>`.
    ///
    /// Nothing checks who uses such a clone, and nothing reports one that is kept.
    pub fn insert_as_value(self) -> Self
    where
        T: Clone,
    {
        self.remake(|make| make.reshape(Shapes::with_value))
    }

    /// Gives up building the factory after `limit` instead of the [time limit](Self::time_limit)
    /// of all steps, also where a handler waits for a lazy one: the request is then answered with
    /// 503. Zero is an error of `build()`.
    #[cfg(feature = "tokio")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
    pub fn factory_time_limit(mut self, limit: Duration) -> Self {
        self.settings.limits.factory = Some(limit);
        self
    }
}

/// How long is it waited for?
#[cfg(feature = "tokio")]
#[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
impl<L, M, A> LayerBuilder<L, M, A> {
    /// Waits for each strategy, for the `authorize` step and for the factory no longer than
    /// `limit`, by default 10 seconds; zero is an error of `build()`.
    ///
    /// Each has this much time for itself. Where it strikes, what was waited for is dropped and
    /// the request is answered with 503; the [reason](crate::rejection::RejectionKind) and the audit event name
    /// the strategy or the step. [`Strategy::timeout`],
    /// [`authorize_time_limit`](Self::authorize_time_limit) and `factory_time_limit` set another
    /// one for one of them. Time that a closure or a future *blocks* its thread can't be limited.
    ///
    /// Needs the feature `tokio`, which `session` and `jwks` bring along, and a Tokio runtime with
    /// timers; without them a request waits as long as it has to, and an error is logged once.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_user_scope::{Outcome, Reads, UserScopeLayer, from_async_fn};
    ///
    /// let layer = UserScopeLayer::builder()
    ///     .strategy(from_async_fn(CredentialSource::header("x-api-key"), |_| async {
    ///         // Asks a store that may be down.
    ///         Outcome::Absent
    ///     }))
    ///     .time_limit(Duration::from_secs(2))
    ///     .context_only()
    ///     .build()?;
    /// # let _ = layer;
    /// # Ok::<(), tower_user_scope::ConfigError>(())
    /// ```
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.settings.limits.each = Some(limit);
        self
    }

    /// Waits as long as it takes, except for what has a limit of its own. A store that hangs then
    /// holds its requests, and whatever they hold, for ever.
    pub fn without_time_limit(mut self) -> Self {
        self.settings.limits.each = None;
        self
    }

    /// Gives up the `authorize` step after `limit` instead of the
    /// [time limit](Self::time_limit) of all steps.
    pub fn authorize_time_limit(mut self, limit: Duration) -> Self {
        self.settings.limits.authorize = Some(limit);
        self
    }
}

/// How long does it live, and who may touch it?
impl<L, M, A> LayerBuilder<L, M, A> {
    /// Says what happens when one user's factory is used in another user's scope; by default it
    /// is refused.
    pub fn isolation(mut self, isolation: Isolation) -> Self {
        self.settings.isolation = isolation;
        self
    }

    /// Refuses the use of a factory outside every scope too, as in a spawned task that was not
    /// [given one](crate::scope::InstrumentScope).
    pub fn require_scope(mut self) -> Self {
        self.settings.strict = true;
        self
    }

    /// Runs a hook when the scope of a request closes, exactly once: after its response's body
    /// was sent, dropped or failed, or for an upgraded connection when the last handle is gone.
    ///
    /// It runs on the thread that closes the scope, so it must not block. A hook that panics is
    /// logged, and stops nobody else's.
    ///
    /// A response that was sent whole may be an error, so a hook that commits looks at the
    /// [status](ClosedScope::status) too. The client has its answer by then: what must fail *with*
    /// the request belongs into the handler.
    ///
    /// ```
    /// use tower_user_scope::{ExistingContext, UserScopeLayer, scope::Ending};
    ///
    /// struct Transaction;
    /// impl Transaction {
    ///     fn commit(&self) {}
    ///     fn roll_back(&self) {}
    /// }
    ///
    /// let layer = UserScopeLayer::builder()
    ///     .strategy(ExistingContext::new())
    ///     .factory(|_user| Transaction)
    ///     .on_close(|closed| {
    ///         if let Some(transaction) = closed.scoped::<Transaction>() {
    ///             let succeeded = closed.status().is_some_and(|status| status.is_success());
    ///             match closed.ending() {
    ///                 Ending::Completed if succeeded => transaction.commit(),
    ///                 _ => transaction.roll_back(),
    ///             }
    ///         }
    ///     })
    ///     .build()?;
    /// # let _ = layer;
    /// # Ok::<(), tower_user_scope::ConfigError>(())
    /// ```
    pub fn on_close(mut self, hook: impl Fn(&ClosedScope) + Send + Sync + 'static) -> Self {
        self.settings.hooks.add(hook);
        self
    }

    /// As [`on_close`](Self::on_close), with a closure whose future is spawned onto the Tokio
    /// runtime that closes the scope, in the scope of its user.
    ///
    /// A runtime that shuts down drops what it has not run to its end.
    #[cfg(feature = "tokio")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
    pub fn on_close_async<F, Fut>(mut self, hook: F) -> Self
    where
        F: Fn(ClosedScope) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.settings.hooks.add_async(hook);
        self
    }
}

/// What is said and seen?
impl<L, M, A> LayerBuilder<L, M, A> {
    /// Replaces the responses to refused requests; see [`RespondToRejection`].
    pub fn rejection_response(
        mut self,
        respond: impl RespondToRejection + Send + Sync + 'static,
    ) -> Self {
        self.settings.respond = Box::new(respond);
        self
    }

    /// Hands every audit event to an observer too; to each one, where this is said more than once.
    pub fn observer(mut self, observer: impl Observer + Send + Sync + 'static) -> Self {
        self.settings.audit.observe_with(Arc::new(observer));
        self
    }

    /// Says how user ids appear in spans and `tracing` events; by default not at all.
    pub fn user_ids_in_telemetry(mut self, how: UserIdTelemetry) -> Self {
        self.settings.audit.show_user_ids(how);
        self
    }

    /// Checks the configuration and builds the layer.
    ///
    /// # Errors
    /// [`ConfigError`] for whatever would make every request, or a kind of them, fail: nothing
    /// is left to be found out by the first request.
    pub fn build(mut self) -> Result<UserScopeLayer<L, M, A>, ConfigError>
    where
        L: StrategyList,
        M: ProvideFactory,
        A: Authorize,
    {
        let count = self.list.len();
        if count == 0 && self.settings.fallbacks.is_empty() {
            return Err(ConfigError::NoStrategy);
        }
        if count > Tally::MAX_STRATEGIES {
            return Err(ConfigError::TooManyStrategies {
                count,
                limit: Tally::MAX_STRATEGIES,
            });
        }
        self.list.use_clock(&self.settings.clock);
        let mut checked = Ok(());
        let mut keep_existing = false;
        self.list.each(&mut |strategy| {
            if checked.is_ok() {
                checked = strategy.validate();
            }
            keep_existing |= strategy.reads_existing_context();
        });
        checked?;
        for fallback in &self.settings.fallbacks {
            fallback.validate()?;
        }
        self.settings.audit.validate()?;
        let limits = self.settings.limits;
        if [limits.each, limits.authorize, limits.factory].contains(&Some(Duration::ZERO)) {
            return Err(ConfigError::ZeroTimeLimit);
        }
        #[cfg(feature = "tokio")]
        let _ = self.settings.lazy_limit.set(limits.factory());
        // Where nobody watches, no request pays for a count of those who do.
        let watched = self.settings.audit.is_observed() || !self.settings.hooks.is_empty();
        let watch = watched.then(|| {
            Arc::new(Watch {
                hooks: self.settings.hooks,
                audit: self.settings.audit.clone(),
            })
        });
        Ok(UserScopeLayer::new(Policy {
            list: self.list,
            make: self.make,
            authorize: self.authorize,
            rule: self.settings.rule,
            fallbacks: self.settings.fallbacks,
            correlation: self.settings.correlation,
            ids: self.settings.ids,
            require_proved: self.settings.require_proved,
            keep_existing,
            respond: self.settings.respond,
            audit: self.settings.audit,
            clock: self.settings.clock,
            guard: Guard {
                isolation: self.settings.isolation,
                strict: self.settings.strict,
                watch,
            },
            limits,
        }))
    }
}

impl<L: fmt::Debug, M: fmt::Debug, A: fmt::Debug> fmt::Debug for LayerBuilder<L, M, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LayerBuilder")
            .field("list", &self.list)
            .field("make", &self.make)
            .field("authorize", &self.authorize)
            .field("rule", &self.settings.rule)
            .field("fallbacks", &self.settings.fallbacks)
            .finish_non_exhaustive()
    }
}
