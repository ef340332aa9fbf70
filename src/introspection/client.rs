//! How the service shows the introspection endpoint which client it is.

use std::{error::Error as StdError, fmt, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use form_urlencoded::Serializer;
use http::HeaderValue;
use secrecy::{ExposeSecret, SecretString};

use super::IntrospectionError;
use crate::config_error::ConfigError;

/// How the service authenticates itself at the introspection endpoint (RFC 7662 section 2.1).
///
/// `Debug` shows the method and the client's id, and no secret.
#[derive(Clone)]
pub struct ClientAuthentication(Method);

#[derive(Clone)]
enum Method {
    None,
    Basic { id: String, secret: SecretString },
    Post { id: String, secret: SecretString },
    Bearer(SecretString),
    Assertion { id: String, sign: Arc<Sign> },
}

type Sign = dyn Fn() -> Result<String, Arc<dyn StdError + Send + Sync>> + Send + Sync;

impl ClientAuthentication {
    /// Sends the id and the secret in `Authorization: Basic` (`client_secret_basic`, RFC 6749
    /// section 2.3.1).
    #[must_use]
    pub fn basic(id: impl Into<String>, secret: impl Into<String>) -> Self {
        Self(Method::Basic {
            id: id.into(),
            secret: secret.into().into(),
        })
    }

    /// Sends the id and the secret in the body (`client_secret_post`, RFC 6749 section 2.3.1).
    #[must_use]
    pub fn post(id: impl Into<String>, secret: impl Into<String>) -> Self {
        Self(Method::Post {
            id: id.into(),
            secret: secret.into().into(),
        })
    }

    /// Sends an access token of the service's own in `Authorization: Bearer`.
    #[must_use]
    pub fn bearer(token: impl Into<String>) -> Self {
        Self(Method::Bearer(token.into().into()))
    }

    /// Sends an assertion that the closure has signed (`private_key_jwt`, RFC 7523 section 2.2).
    ///
    /// The closure is called for each call of the endpoint, and must not block; its error is a 503, and so is
    /// its panic. It returns a JSON Web
    /// Token whose `iss` and `sub` are the client's id, whose `aud` is the issuer, with a `jti` of its
    /// own, that ends within minutes.
    ///
    /// ```
    /// use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
    /// use serde_json::json;
    /// use tower_user_scope::introspection::ClientAuthentication;
    ///
    /// # fn now() -> u64 { 0 }
    /// # fn random() -> String { String::new() }
    /// fn authentication(key: EncodingKey) -> ClientAuthentication {
    ///     ClientAuthentication::assertion("orders-api", move || {
    ///         let claims = json!({
    ///             "iss": "orders-api", "sub": "orders-api", "aud": "https://id.example",
    ///             "jti": random(), "exp": now() + 60,
    ///         });
    ///         encode(&Header::new(Algorithm::ES256), &claims, &key)
    ///     })
    /// }
    /// # let _ = authentication;
    /// ```
    #[must_use]
    pub fn assertion<F, E>(id: impl Into<String>, sign: F) -> Self
    where
        F: Fn() -> Result<String, E> + Send + Sync + 'static,
        E: StdError + Send + Sync + 'static,
    {
        let sign = move || sign().map_err(|error| Arc::new(error) as _);
        Self(Method::Assertion {
            id: id.into(),
            sign: Arc::new(sign),
        })
    }

    /// Sends nothing, to an endpoint that only the service can reach.
    #[must_use]
    pub fn none() -> Self {
        Self(Method::None)
    }

    /// Returns the value of `Authorization`.
    pub(super) fn authorization(&self) -> Option<HeaderValue> {
        let value = match &self.0 {
            Method::Basic { id, secret } => {
                // Encoded first, as either may have a colon.
                let pair = format!("{}:{}", encoded(id), encoded(secret.expose_secret()));
                format!("Basic {}", STANDARD.encode(pair))
            }
            Method::Bearer(token) => format!("Bearer {}", token.expose_secret()),
            Method::None | Method::Post { .. } | Method::Assertion { .. } => return None,
        };
        let mut value = HeaderValue::try_from(value).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        match &self.0 {
            Method::Bearer(_) if self.authorization().is_none() => {
                Err(ConfigError::UnsendableSecret)
            }
            _ => Ok(()),
        }
    }

    /// Adds what is sent in the body.
    pub(super) fn add_to(
        &self,
        form: &mut Serializer<'_, String>,
    ) -> Result<(), IntrospectionError> {
        match &self.0 {
            Method::None | Method::Basic { .. } | Method::Bearer(_) => {}
            Method::Post { id, secret } => {
                form.append_pair("client_id", id)
                    .append_pair("client_secret", secret.expose_secret());
            }
            Method::Assertion { id, sign } => {
                let assertion = sign().map_err(IntrospectionError::Assertion)?;
                form.append_pair("client_id", id)
                    .append_pair("client_assertion_type", JWT_BEARER)
                    .append_pair("client_assertion", &assertion);
            }
        }
        Ok(())
    }
}

/// RFC 7523 section 2.2.
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

impl fmt::Debug for ClientAuthentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, id) = match &self.0 {
            Method::None => ("None", None),
            Method::Basic { id, .. } => ("Basic", Some(id)),
            Method::Post { id, .. } => ("Post", Some(id)),
            Method::Bearer(_) => ("Bearer", None),
            Method::Assertion { id, .. } => ("Assertion", Some(id)),
        };
        let mut shown = f.debug_struct(name);
        if let Some(id) = id {
            shown.field("id", id);
        }
        shown.finish_non_exhaustive()
    }
}
