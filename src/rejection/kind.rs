//! Why a request was refused.
//!
//! Knows nothing of the response's form.

use std::{error::Error as StdError, fmt, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, StatusCode, header};
use thiserror::Error;

#[cfg(feature = "tokio")]
use crate::lifetime::EndReason;
#[cfg(feature = "limit")]
use crate::limit::LimitError;
use crate::{
    authorize::ForbiddenError,
    context::{CorrelationError, Evidence, EvidenceError, TenantError},
    outcome::{InvalidError, UnavailableError},
};

/// After how long a client may try again what could not be checked.
const UNAVAILABLE_FOR: Duration = Duration::from_secs(5);

/// Why no factory was built for a request.
///
/// It is in the extensions of the response that it became, for outer layers, and in the audit
/// event. It never holds a credential.
///
/// ```
/// use http::StatusCode;
/// use tower::{Service, ServiceExt, service_fn};
/// use tower_layer::Layer;
/// use tower_user_scope::{ExistingContext, Rejection, UserScopeLayer, rejection::RejectionKind};
///
/// # tokio_test(async {
/// let layer = UserScopeLayer::builder()
///     .strategy(ExistingContext::new())
///     .context_only()
///     .build()?;
/// let service = layer.layer(service_fn(async |_: http::Request<()>| {
///     Ok::<_, std::convert::Infallible>(http::Response::new(String::new()))
/// }));
///
/// let response = service.oneshot(http::Request::new(())).await?;
/// assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
/// let rejection = response.extensions().get::<Rejection>().expect("a refusal");
/// assert!(matches!(rejection.kind(), RejectionKind::NoCredential));
/// # Ok::<(), Box<dyn std::error::Error>>(()) });
/// # fn tokio_test(f: impl Future<Output = Result<(), Box<dyn std::error::Error>>>) {
/// #     tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(f).unwrap();
/// # }
/// ```
#[derive(Clone)]
pub struct Rejection {
    kind: Arc<RejectionKind>,
    challenges: Vec<HeaderValue>,
}

/// Why no factory was built.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RejectionKind {
    /// No strategy found a credential, and no fallback applies. 401.
    #[error("no credential was found")]
    NoCredential,
    /// A credential was sent that no strategy took up, such as an identity header from an
    /// untrusted peer; no fallback acts on such a request. 401.
    #[error("a credential was sent that strategy `{strategy}` does not accept")]
    #[non_exhaustive]
    NotAccepted {
        /// The strategy that it was for.
        strategy: &'static str,
    },
    /// A credential was bad. 400 where it is malformed or ambiguous, else 401.
    #[error("the credential of strategy `{strategy}` {invalid}")]
    #[non_exhaustive]
    Invalid {
        /// The strategy that it was for.
        strategy: &'static str,
        /// What is wrong with it.
        #[source]
        invalid: InvalidError,
    },
    /// Two strategies found different principals. 401.
    #[error("strategies `{first}` and `{second}` found different principals")]
    #[non_exhaustive]
    Conflict {
        /// The strategy that found one.
        first: &'static str,
        /// The strategy that found another.
        second: &'static str,
    },
    /// A credential could not be checked. 503.
    #[error("the credential of strategy `{strategy}` could not be checked: {unavailable}")]
    #[non_exhaustive]
    Unavailable {
        /// The strategy that it was for.
        strategy: &'static str,
        /// What did not answer.
        #[source]
        unavailable: UnavailableError,
    },
    /// A correlation id is bad. 400.
    #[error("a correlation id was refused: {0}")]
    Correlation(#[source] CorrelationError),
    /// The tenant that the request names can't be read. 400.
    #[error(transparent)]
    Tenant(TenantError),
    /// The identity is only asserted and the layer asks for proof. 401.
    #[error(transparent)]
    Evidence(EvidenceError),
    /// The principal may not make this request. 403; 401 where nobody was authenticated, or where
    /// logging in again would help.
    #[error("strategy `{strategy}` found a principal that may not: {forbidden}")]
    #[non_exhaustive]
    Forbidden {
        /// The strategy that found the principal.
        strategy: &'static str,
        /// Whether it was authenticated at all.
        authenticated: bool,
        /// The error of the `authorize` step.
        forbidden: ForbiddenError,
    },
    /// Whether the principal may make this request could not be checked. 503.
    #[error("the authorization of the request could not be checked: {0}")]
    AuthorizationUnavailable(#[source] UnavailableError),
    /// An observer that [must record](crate::audit::Observer::admit) each accepted request could not.
    /// 503.
    #[error("the request could not be recorded: {0}")]
    NotAudited(#[source] UnavailableError),
    /// A [`RequireLayer`](crate::middleware::RequireLayer) is not inside a `UserScopeLayer`, so the
    /// principal is not known: a mistake in the application. 500.
    #[error("a `RequireLayer` is not inside a `UserScopeLayer`")]
    OutsideLayer,
    /// A step [before the response](crate::middleware::LayerBuilder::before_response) failed. 500, or
    /// 503 if its error is an [`UnavailableError`].
    #[error("a step before the response failed: {0}")]
    BeforeResponse(#[source] Arc<dyn StdError + Send + Sync>),
    /// A step before the response was not ready in time. 500, and not a 503 that asks to try again:
    /// whether what it began, such as a commit, has taken place is not known.
    #[error("a step before the response was not ready within {limit:?}")]
    #[non_exhaustive]
    BeforeResponseTimedOut {
        /// The time limit.
        limit: Duration,
    },
    /// The identity has ended since it was found: it has expired meanwhile, or was revoked. 401.
    #[cfg(feature = "tokio")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
    #[error("the identity has ended: {0}")]
    IdentityEnded(EndReason),
    /// The fresh credential of a [renewal](crate::UserScopeLayer::renew_identity) is that of another subject or
    /// another actor than the scope's. 403.
    #[cfg(feature = "tokio")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
    #[error("the fresh credential is of another subject than the scope")]
    OtherSubject,
    /// The feed of revocations is lost, so that nobody knows whether the credential was revoked on
    /// another replica, and [`Refuse`](crate::open_scopes::OnFeedLost::Refuse) says so. 503.
    #[cfg(feature = "open-scopes")]
    #[cfg_attr(docsrs, doc(cfg(feature = "open-scopes")))]
    #[error("the feed of revocations is lost")]
    RevocationsUnknown,
    /// The subject has used all of a limit. 429.
    #[cfg(feature = "limit")]
    #[cfg_attr(docsrs, doc(cfg(feature = "limit")))]
    #[error(transparent)]
    Limited(LimitError),
    /// The store of a limit could not be asked, and the limit says
    /// [`Refuse`](crate::limit::OnUnavailable::Refuse). 503.
    #[cfg(feature = "limit")]
    #[cfg_attr(docsrs, doc(cfg(feature = "limit")))]
    #[error("the limit `{limit}` could not be checked: {unavailable}")]
    #[non_exhaustive]
    LimitUnavailable {
        /// The name of the limit.
        limit: Arc<str>,
        /// What did not answer.
        #[source]
        unavailable: UnavailableError,
    },
    /// The factory was not built. 500, or 503 where something could not be reached.
    #[error("the factory could not be built: {0}")]
    Factory(FactoryErrorKind),
}

/// How building the factory failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FactoryErrorKind {
    /// The application's error. 500.
    #[error("{0}")]
    Failed(#[source] Arc<dyn StdError + Send + Sync>),
    /// The application's error, and it says that something could not be reached
    /// ([`FactoryUnavailableError`](crate::factory::FactoryUnavailableError)). 503.
    #[error("{0}")]
    Unavailable(#[source] Arc<dyn StdError + Send + Sync>),
    /// It was not ready in time. 503.
    #[error("it was not ready within {limit:?}")]
    #[non_exhaustive]
    TimedOut {
        /// The time limit.
        limit: Duration,
    },
}

/// The hint for a request whose peer's address is not known: most likely the server does not set it.
macro_rules! peer_is_unknown {
    () => {
        "the peer's address is unknown, and no peer is trusted (`from_proxies`): with axum, serve \
         `app.into_make_service_with_connect_info::<SocketAddr>()`; with hyper, insert a \
         `PeerAddr` for each connection"
    };
}

impl Rejection {
    pub(crate) fn new(kind: RejectionKind) -> Self {
        Self {
            kind: Arc::new(kind),
            challenges: Vec::new(),
        }
    }

    /// Creates the rejection of a principal that may not make the request.
    pub(crate) fn forbidden(
        strategy: &'static str,
        evidence: Evidence,
        forbidden: ForbiddenError,
    ) -> Self {
        Self::new(RejectionKind::Forbidden {
            strategy,
            authenticated: !evidence.is_fallback(),
            forbidden,
        })
    }

    pub(crate) fn with_challenges(mut self, challenges: Vec<HeaderValue>) -> Self {
        self.challenges = challenges;
        self
    }

    /// Returns why the request was refused.
    #[must_use]
    pub fn kind(&self) -> &RejectionKind {
        &self.kind
    }

    /// Returns the values of the response's `WWW-Authenticate` (RFC 9110 section 11.6.1); at least one
    /// if the status is 401.
    #[must_use]
    pub fn challenges(&self) -> &[HeaderValue] {
        &self.challenges
    }

    /// Returns after how long the client may try again; `None` where that would not help.
    ///
    /// For a limit it is when the limit allows it, for what could not be checked 5 seconds, as nobody
    /// knows when it can be. Whole seconds, at least 1. The default responses have it as `Retry-After`
    /// (RFC 9110 section 10.2.3).
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self.kind() {
            #[cfg(feature = "limit")]
            RejectionKind::Limited(limited) => Some(Duration::from_secs(limited.retry_after())),
            _ => (self.status() == StatusCode::SERVICE_UNAVAILABLE).then_some(UNAVAILABLE_FOR),
        }
    }

    /// Returns the name of the strategy that refused the request, if one did.
    #[must_use]
    pub fn strategy(&self) -> Option<&'static str> {
        match self.kind() {
            RejectionKind::NotAccepted { strategy }
            | RejectionKind::Invalid { strategy, .. }
            | RejectionKind::Unavailable { strategy, .. }
            | RejectionKind::Forbidden { strategy, .. } => Some(strategy),
            _ => None,
        }
    }

    /// Returns the status of the HTTP response.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self.kind() {
            RejectionKind::NoCredential
            | RejectionKind::NotAccepted { .. }
            | RejectionKind::Conflict { .. }
            | RejectionKind::Evidence(_)
            | RejectionKind::Forbidden {
                authenticated: false,
                ..
            } => StatusCode::UNAUTHORIZED,
            RejectionKind::Forbidden { forbidden, .. } => forbidden.status(),
            RejectionKind::Invalid { invalid, .. } => invalid.kind().status(),
            RejectionKind::Correlation(_) | RejectionKind::Tenant(_) => StatusCode::BAD_REQUEST,
            RejectionKind::BeforeResponse(error) if !error.is::<UnavailableError>() => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
            RejectionKind::OutsideLayer
            | RejectionKind::BeforeResponseTimedOut { .. }
            | RejectionKind::Factory(FactoryErrorKind::Failed(_)) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
            #[cfg(feature = "tokio")]
            RejectionKind::IdentityEnded(_) => StatusCode::UNAUTHORIZED,
            #[cfg(feature = "tokio")]
            RejectionKind::OtherSubject => StatusCode::FORBIDDEN,
            #[cfg(feature = "open-scopes")]
            RejectionKind::RevocationsUnknown => StatusCode::SERVICE_UNAVAILABLE,
            #[cfg(feature = "limit")]
            RejectionKind::Limited(_) => StatusCode::TOO_MANY_REQUESTS,
            #[cfg(feature = "limit")]
            RejectionKind::LimitUnavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
            RejectionKind::Unavailable { .. }
            | RejectionKind::AuthorizationUnavailable(_)
            | RejectionKind::NotAudited(_)
            | RejectionKind::BeforeResponse(_)
            | RejectionKind::Factory(
                FactoryErrorKind::Unavailable(_) | FactoryErrorKind::TimedOut { .. },
            ) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Sets the headers that tell the client what it may do, on the default responses.
    pub(super) fn set_headers(&self, headers: &mut HeaderMap) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        for challenge in &self.challenges {
            headers.append(header::WWW_AUTHENTICATE, challenge.clone());
        }
        if let Some(wait) = self.retry_after() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs()));
        }
        #[cfg(feature = "limit")]
        if let RejectionKind::Limited(limited) = self.kind() {
            limited.set_headers(headers);
        }
    }

    /// Returns what a developer can do about it, for the log.
    pub(crate) fn hint(&self, peer_is_known: bool) -> Option<&'static str> {
        match self.kind() {
            RejectionKind::NoCredential if !peer_is_known => Some(concat!(
                "add a strategy for the credential that the client sends, or a `Fallback` for \
                 requests without any; ",
                peer_is_unknown!()
            )),
            RejectionKind::NotAccepted { .. } if !peer_is_known => Some(concat!(
                "the request has something for this strategy that identifies nobody, and a \
                 fallback acts only on requests without any credential; ",
                peer_is_unknown!()
            )),
            RejectionKind::NoCredential => Some(
                "add a strategy for the credential that the client sends, a `Fallback` for \
                 requests without any, or on a developer's machine a `DevelopmentUser`",
            ),
            RejectionKind::NotAccepted { .. } => Some(
                "the request has something for this strategy that identifies nobody, and a \
                 fallback acts only on requests without any credential: a header from a peer that is not trusted (`from_proxies`), or \
                 a session without a user (`allow_visitors`)",
            ),
            RejectionKind::Evidence(_) => {
                Some("the layer has `require_proved`; only a token or a session will do")
            }
            _ => None,
        }
    }
}

impl fmt::Debug for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejection")
            .field("kind", self.kind())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.kind(), f)
    }
}

impl StdError for Rejection {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.kind.source()
    }
}
