//! Checks the configuration and builds the layer.

use std::{sync::Arc, time::Duration};

use super::LayerBuilder;
use crate::{
    authorize::Authorize,
    config_error::ConfigError,
    factory::ProvideFactory,
    layer::UserScopeLayer,
    policy::Policy,
    resolve::{Resolver, StrategyList, Tally},
    scope::{Guard, Watch},
};

impl<L, M, A> LayerBuilder<L, M, A> {
    /// Checks the configuration and builds the layer.
    ///
    /// The result is a `Result`: where it is used as a layer without a `?`, the compiler says that
    /// `Result<UserScopeLayer<..>, ConfigError>` does not implement `Layer`.
    ///
    /// # Errors
    /// [`ConfigError`] for a configuration with which all requests, or all of a kind, would fail.
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
        self.settings.bearer.validate()?;
        let limits = self.settings.limits;
        let all = [
            limits.each,
            limits.authorize,
            limits.factory,
            limits.before_response,
        ];
        if all.contains(&Some(Duration::ZERO)) {
            return Err(ConfigError::ZeroTimeLimit);
        }
        #[cfg(feature = "limit")]
        self.settings.subject_limits.prepare()?;
        #[cfg(feature = "tokio")]
        let _ = self.settings.lazy_limit.set(limits.factory());
        // Without observers and hooks, requests don't pay for watching their scope.
        let watched = self.settings.audit.is_observed() || !self.settings.hooks.is_empty();
        let watch = watched.then(|| {
            let (hooks, audit) = (self.settings.hooks, self.settings.audit.clone());
            Arc::new(Watch::new(hooks, audit))
        });
        let request_id = (self.settings.return_request_id).header(&self.settings.correlation);
        if !self.settings.enabled {
            tracing::warn!(
                target: "tower_user_scope::audit",
                "a layer is off (`enabled(false)`): it lets every request through, and no request \
                 has a user or a factory"
            );
        }
        Ok(UserScopeLayer::with_policy(Policy {
            enabled: self.settings.enabled,
            resolver: Resolver {
                list: self.list,
                rule: self.settings.rule,
                fallbacks: self.settings.fallbacks,
                correlation: self.settings.correlation,
                ids: self.settings.ids,
                clock: self.settings.clock,
                require_proved: self.settings.require_proved,
                tenant: self.settings.tenant,
                keep_existing,
                bearer: Arc::new(self.settings.bearer),
                time_limit: limits.each,
            },
            make: self.make,
            authorize: self.authorize,
            respond: self.settings.respond,
            audit: self.settings.audit,
            guard: Guard {
                checks: self.settings.checks,
                watch,
            },
            limits,
            request_id,
            before_response: self.settings.before_response,
            #[cfg(feature = "tokio")]
            ends: self.settings.ends,
            #[cfg(feature = "limit")]
            subject_limits: self.settings.subject_limits,
        }))
    }
}
