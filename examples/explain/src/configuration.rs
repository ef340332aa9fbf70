//! A layer from a configuration in TOML.

use std::{env, error::Error, fs, path::Path};

use async_trait::async_trait;
use serde::Deserialize;
use tower_sessions::{
    SessionStore,
    session::{Id, Record},
    session_store,
};
use tower_user_scope::{
    Fallback, TrustedHeader, UserScopeLayer,
    jwt::{CryptoProvider, Jwt, KeySet, Keys, RemoteKeys},
    middleware::BoxUserScopeLayer,
    session::SessionCookie,
    strategy::{BoxStrategy, Strategy},
    token::TokenSource,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Configuration {
    strategies: Vec<Listed>,
    fallback: Option<ConfiguredFallback>,
    #[serde(default)]
    unanimous: bool,
    #[serde(default)]
    require_proved: bool,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum Listed {
    TrustedHeader {
        header: String,
        proxies: Vec<String>,
        secret: Option<Secret>,
        #[serde(default)]
        optional: bool,
    },
    Jwt {
        issuer: String,
        audience: String,
        keys_file: Option<String>,
        keys_url: Option<String>,
        cookie: Option<String>,
        user_id_claim: Option<String>,
        #[serde(default)]
        optional: bool,
    },
    SessionCookie {
        cookie: String,
        #[serde(default)]
        optional: bool,
    },
}

/// The secret itself is not in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Secret {
    header: String,
    variable: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum ConfiguredFallback {
    Service(String),
    Anonymous(bool),
}

/// Builds the layer that the text configures. Paths in it are relative to the folder.
pub(crate) fn layer(text: &str, folder: &Path) -> Result<BoxUserScopeLayer, Box<dyn Error>> {
    let configuration: Configuration = toml::from_str(text)?;
    let strategies = configuration
        .strategies
        .into_iter()
        .map(|listed| strategy(listed, folder))
        .collect::<Result<Vec<_>, _>>()?;
    let mut builder = UserScopeLayer::builder().strategies(strategies);
    match configuration.fallback {
        Some(ConfiguredFallback::Service(name)) => {
            builder = builder.fallback(Fallback::service(&name));
        }
        Some(ConfiguredFallback::Anonymous(true)) => {
            builder = builder.fallback(Fallback::anonymous());
        }
        Some(ConfiguredFallback::Anonymous(false)) | None => {}
    }
    if configuration.unanimous {
        builder = builder.unanimous();
    }
    if configuration.require_proved {
        builder = builder.require_proved();
    }
    Ok(builder.context_only().boxed().build()?)
}

fn strategy(listed: Listed, folder: &Path) -> Result<BoxStrategy, Box<dyn Error>> {
    Ok(match listed {
        Listed::TrustedHeader {
            header,
            proxies,
            secret,
            optional,
        } => {
            let trusted = TrustedHeader::new(&header).from_proxies(proxies)?;
            let trusted = match secret {
                None => trusted,
                Some(Secret { header, variable }) => {
                    let secret =
                        env::var(&variable).map_err(|error| format!("{variable}: {error}"))?;
                    trusted.shared_secret(&header, secret)
                }
            };
            boxed(trusted, optional)
        }
        Listed::Jwt {
            issuer,
            audience,
            keys_file,
            keys_url,
            cookie,
            user_id_claim,
            optional,
        } => {
            let keys: Keys = match (keys_file, keys_url) {
                (Some(file), None) => {
                    KeySet::from_jwks(fs::read_to_string(folder.join(file))?)?.into()
                }
                (None, Some(url)) => RemoteKeys::from_url(url).into(),
                (None, None) => RemoteKeys::discover(&issuer).into(),
                (Some(_), Some(_)) => return Err("`keys_file` or `keys_url`, and not both".into()),
            };
            // Named, because Cargo may compile this with the features of a whole workspace.
            let mut jwt = Jwt::new(keys)
                .issuer(issuer)
                .audience(audience)
                .crypto_provider(CryptoProvider::aws_lc_rs());
            if let Some(cookie) = cookie {
                jwt = jwt.also_token_source(TokenSource::cookie(cookie));
            }
            if let Some(claim) = user_id_claim {
                jwt = jwt.user_id_claim(claim);
            }
            boxed(jwt, optional)
        }
        Listed::SessionCookie { cookie, optional } => {
            boxed(SessionCookie::new(cookie, NoStore), optional)
        }
    })
}

fn boxed(
    strategy: impl Strategy<Future: Send + 'static> + Send + Sync + 'static,
    optional: bool,
) -> BoxStrategy {
    if optional {
        strategy.optional().boxed()
    } else {
        strategy.boxed()
    }
}

/// Stands for the application's store, to which this program has no access.
#[derive(Debug)]
struct NoStore;

fn unknown<T>() -> session_store::Result<T> {
    let problem = "this program has no access to the session store".to_owned();
    Err(session_store::Error::Backend(problem))
}

#[async_trait]
impl SessionStore for NoStore {
    async fn save(&self, _: &Record) -> session_store::Result<()> {
        unknown()
    }

    async fn load(&self, _: &Id) -> session_store::Result<Option<Record>> {
        unknown()
    }

    async fn delete(&self, _: &Id) -> session_store::Result<()> {
        unknown()
    }
}
