//! The parameters of `Bearer` challenges.

use std::{fmt::Write as _, sync::Arc};

use http::HeaderValue;

use crate::config_error::ConfigError;

/// A `Bearer` challenge for `WWW-Authenticate` (RFC 6750 section 3): tells a client which token it needs,
/// and where it gets one.
///
/// [`LayerBuilder::bearer_challenge`](crate::middleware::LayerBuilder::bearer_challenge) completes every
/// `Bearer` challenge of a layer with it. A strategy of your own returns
/// [`header_value`](Self::header_value).
///
/// ```
/// use http::StatusCode;
/// use tower_user_scope::{ExistingContext, UserScopeLayer, rejection::BearerChallenge};
///
/// # fn layer() -> Result<(), tower_user_scope::ConfigError> {
/// let challenge = BearerChallenge::new()
///     .scope(["orders:read"])
///     .resource_metadata("https://api.example/.well-known/oauth-protected-resource");
/// assert_eq!(
///     challenge.header_value()?,
///     "Bearer scope=\"orders:read\", \
///      resource_metadata=\"https://api.example/.well-known/oauth-protected-resource\"",
/// );
/// let layer = UserScopeLayer::builder()
///     .strategy(ExistingContext::new())
///     .bearer_challenge(challenge)
///     .context_only()
///     .build()?;
/// # let _ = layer;
/// # Ok(())
/// # }
/// # layer().expect("a valid configuration");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct BearerChallenge {
    /// In the order of the calls; the last value of a name counts.
    parameters: Vec<(&'static str, String)>,
}

impl BearerChallenge {
    /// Creates a challenge without parameters.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the `realm` (RFC 9110 section 11.5): a name for what is protected, in ASCII.
    pub fn realm(self, realm: impl Into<String>) -> Self {
        self.with("realm", realm.into())
    }

    /// Sets the `scope` (RFC 6750 section 3): the scopes that a token needs here.
    pub fn scope<S: AsRef<str>>(self, scopes: impl IntoIterator<Item = S>) -> Self {
        let mut all = String::new();
        for scope in scopes {
            if !all.is_empty() {
                all.push(' ');
            }
            all.push_str(scope.as_ref());
        }
        self.with("scope", all)
    }

    /// Sets the `error` (RFC 6750 section 3.1), such as `invalid_token`. The strategies of this crate set
    /// it themselves.
    pub fn error(self, code: impl Into<String>) -> Self {
        self.with("error", code.into())
    }

    /// Sets the `error_description` (RFC 6750 section 3), in ASCII: for developers, and for everybody to
    /// see.
    pub fn error_description(self, text: impl Into<String>) -> Self {
        self.with("error_description", text.into())
    }

    /// Sets `resource_metadata` (RFC 9728 section 5.1): the URL of the metadata that names the
    /// authorization servers of this service. MCP clients begin there.
    pub fn resource_metadata(self, url: impl Into<String>) -> Self {
        self.with("resource_metadata", url.into())
    }

    fn with(mut self, name: &'static str, value: String) -> Self {
        self.parameters.retain(|(known, _)| *known != name);
        self.parameters.push((name, value));
        self
    }

    /// Returns the value for `WWW-Authenticate`.
    ///
    /// # Errors
    /// [`ConfigError::Challenge`] if a value is empty or has characters that its parameter can't have.
    pub fn header_value(&self) -> Result<HeaderValue, ConfigError> {
        self.validate()?;
        Ok(self.complete(HeaderValue::from_static("Bearer")))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.parameters.is_empty()
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        let is_wrong = |(name, value): &&(&'static str, String)| !fits(name, value);
        match self.parameters.iter().find(is_wrong) {
            Some((parameter, _)) => Err(ConfigError::Challenge { parameter }),
            None => Ok(()),
        }
    }

    /// Adds the parameters that a `Bearer` challenge does not have. Another challenge stays as it is.
    pub(super) fn complete(&self, challenge: HeaderValue) -> HeaderValue {
        let Ok(text) = challenge.to_str() else {
            return challenge;
        };
        let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
        if !scheme.eq_ignore_ascii_case("bearer") || self.parameters.is_empty() {
            return challenge;
        }
        let mut completed = text.trim_end().to_owned();
        let mut separator = if rest.trim().is_empty() { " " } else { ", " };
        for (name, value) in &self.parameters {
            if has_parameter(rest, name) {
                continue;
            }
            let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
            // Writing to a string can't fail.
            let _ = write!(completed, "{separator}{name}=\"{quoted}\"");
            separator = ", ";
        }
        HeaderValue::try_from(completed).unwrap_or(challenge)
    }
}

/// The challenge of a layer, in the extensions of its requests: the layers inside it complete theirs with
/// it.
#[derive(Clone, Debug)]
pub(crate) struct LayersChallenge(pub(crate) Arc<BearerChallenge>);

/// Whether a value is one that its parameter can have (RFC 6750 section 3).
fn fits(name: &str, value: &str) -> bool {
    let is_allowed = |byte: u8| match (name, byte) {
        // Escaped where it is written.
        ("realm", b'"' | b'\\') => true,
        (_, b'"' | b'\\') | ("resource_metadata", b' ') => false,
        (_, byte) => matches!(byte, b' '..=b'~'),
    };
    let has_form = match name {
        "scope" => value.split(' ').all(|scope| !scope.is_empty()),
        "resource_metadata" => value.starts_with("https://") || value.starts_with("http://"),
        _ => !value.is_empty(),
    };
    has_form && value.bytes().all(is_allowed)
}

/// Whether the parameters of a challenge have this name, in any case (RFC 9110 section 11.2).
fn has_parameter(parameters: &str, wanted: &str) -> bool {
    let mut is_quoted = false;
    let mut is_escaped = false;
    let parts = parameters.split(|character| {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            ',' => return !is_quoted,
            _ => {}
        }
        false
    });
    parts
        .filter_map(|part| part.split_once('='))
        .any(|(name, _)| name.trim().eq_ignore_ascii_case(wanted))
}
