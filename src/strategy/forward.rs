//! A macro for strategies that wrap another one.

/// Implements methods of `Strategy` by calling the same method of a field.
macro_rules! forward {
    ($field:ident: $($method:ident)*) => { $(forward!(@ $field $method);)* };
    (@ $field:ident name) => {
        fn name(&self) -> &'static str {
            self.$field.name()
        }
    };
    (@ $field:ident resolve) => {
        fn resolve(
            &self,
            head: &http::request::Parts,
        ) -> crate::maybe_future::MaybeFuture<Self::Future> {
            self.$field.resolve(head)
        }
    };
    (@ $field:ident presence) => {
        fn presence(&self, head: &http::request::Parts) -> crate::strategy::Presence {
            self.$field.presence(head)
        }
    };
    (@ $field:ident is_optional) => {
        fn is_optional(&self) -> bool {
            self.$field.is_optional()
        }
    };
    (@ $field:ident time_limit) => {
        fn time_limit(&self) -> Option<std::time::Duration> {
            self.$field.time_limit()
        }
    };
    (@ $field:ident validate) => {
        fn validate(&self) -> Result<(), crate::config_error::ConfigError> {
            self.$field.validate()
        }
    };
    (@ $field:ident headers) => {
        fn headers(&self) -> Option<Vec<http::HeaderName>> {
            self.$field.headers()
        }
    };
    (@ $field:ident scrub) => {
        fn scrub(
            &self,
            head: &mut http::request::Parts,
            believed: bool,
            stripped: &mut dyn FnMut(crate::stripped::Stripped<'_>),
        ) {
            self.$field.scrub(head, believed, stripped);
        }
    };
    (@ $field:ident challenge) => {
        fn challenge(
            &self,
            refused: Option<&crate::outcome::InvalidError>,
        ) -> Option<http::HeaderValue> {
            self.$field.challenge(refused)
        }
    };
    (@ $field:ident reads_existing_context) => {
        fn reads_existing_context(&self) -> bool {
            self.$field.reads_existing_context()
        }
    };
    (@ $field:ident use_clock) => {
        fn use_clock(&mut self, clock: &std::sync::Arc<dyn crate::clock::Clock>) {
            self.$field.use_clock(clock);
        }
    };
}
