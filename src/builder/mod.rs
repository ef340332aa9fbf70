//! The builder of the layer. `build()` checks the configuration, so that no request has to.

mod answer;
mod authorization;
mod build;
mod configured;
mod factory;
mod lifetime;
#[cfg(feature = "limit")]
mod limit;
mod output;
mod resolution;

use std::{fmt, sync::Arc};

#[cfg(feature = "limit")]
use crate::limit::Limits;
use crate::{
    audit::Audit,
    authorize::Anyone,
    before_response::BeforeResponse,
    clock::{Clock, system_clock},
    context::{CorrelationSources, IdSource, ReturnRequestId},
    factory::NoFactory,
    isolation::Checks,
    layer::UserScopeLayer,
    rejection::{BearerChallenge, DefaultResponder, RespondToRejection},
    resolve::{Empty, Rule, TenantRule},
    scope::Hooks,
    strategy::Fallback,
    time_limit::TimeLimits,
};
#[cfg(feature = "tokio")]
use crate::{ends::Ends, factory::LazyLimit};

/// Configures a [`UserScopeLayer`]; see [`UserScopeLayer::builder`].
///
/// Strategies are tried in the order in which they are added. The layer can be built once a factory,
/// or `context_only`, was chosen.
#[must_use]
pub struct LayerBuilder<L = Empty, M = NoFactory, A = Anyone> {
    list: L,
    make: M,
    authorize: A,
    settings: Settings,
}

/// The settings that don't change the type of the builder.
struct Settings {
    enabled: bool,
    rule: Rule,
    fallbacks: Vec<Fallback>,
    correlation: CorrelationSources,
    ids: IdSource,
    return_request_id: ReturnRequestId,
    require_proved: bool,
    tenant: Option<TenantRule>,
    respond: Box<dyn RespondToRejection + Send + Sync>,
    bearer: BearerChallenge,
    audit: Audit,
    clock: Arc<dyn Clock>,
    checks: Checks,
    before_response: BeforeResponse,
    #[cfg(feature = "tokio")]
    ends: Ends,
    hooks: Hooks,
    limits: TimeLimits,
    #[cfg(feature = "limit")]
    subject_limits: Limits,
    /// Set by `build()`, as `factory_time_limit` may come after `lazy_factory_async`.
    #[cfg(feature = "tokio")]
    lazy_limit: LazyLimit,
}

impl UserScopeLayer {
    /// Starts the configuration of a layer.
    pub fn builder() -> LayerBuilder {
        LayerBuilder {
            list: Empty { _private: () },
            make: NoFactory { _private: () },
            authorize: Anyone { _private: () },
            settings: Settings {
                enabled: true,
                rule: Rule::FirstMatch,
                fallbacks: Vec::new(),
                correlation: CorrelationSources::new(),
                ids: IdSource::default(),
                return_request_id: ReturnRequestId::default(),
                require_proved: false,
                tenant: None,
                respond: Box::new(DefaultResponder::default()),
                bearer: BearerChallenge::new(),
                audit: Audit::default(),
                clock: system_clock(),
                checks: Checks::default(),
                before_response: BeforeResponse::default(),
                #[cfg(feature = "tokio")]
                ends: Ends::default(),
                hooks: Hooks::default(),
                limits: TimeLimits::default(),
                #[cfg(feature = "limit")]
                subject_limits: Limits::default(),
                #[cfg(feature = "tokio")]
                lazy_limit: LazyLimit::default(),
            },
        }
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
