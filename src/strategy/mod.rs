//! Strategies: each identifies the principal of a request by one kind of credential.
//!
//! A strategy sees a request's head and returns an [`Outcome`]. It knows nothing of scopes, factories
//! and responses.
//!
//! ```
//! use std::future::Ready;
//! use http::{HeaderName, HeaderValue, request::Parts};
//! use tower_user_scope::{
//!     Identity, InvalidError, MaybeFuture, Outcome, UserId, strategy::{InvalidErrorKind,
//!     Presence, Strategy},
//! };
//!
//! /// Knows the keys of a few machines.
//! #[derive(Debug)]
//! struct ApiKey;
//!
//! impl Strategy for ApiKey {
//!     type Future = Ready<Outcome>;
//!
//!     fn name(&self) -> &'static str {
//!         "api_key"
//!     }
//!
//!     fn resolve(&self, head: &Parts) -> MaybeFuture<Self::Future> {
//!         let outcome = match head.headers.get("x-api-key").map(HeaderValue::as_bytes) {
//!             None => Outcome::Absent,
//!             Some(b"k-123") => match UserId::try_from("alice") {
//!                 Ok(alice) => Identity::proved(alice).into(),
//!                 Err(error) => Outcome::Invalid(error.into()),
//!             },
//!             Some(_) => InvalidError::new(InvalidErrorKind::Rejected("api_key_unknown")).into(),
//!         };
//!         MaybeFuture::ready(outcome)
//!     }
//!
//!     fn presence(&self, head: &Parts) -> Presence {
//!         head.headers.contains_key("x-api-key").into()
//!     }
//!
//!     // Not needed, and spares requests without the header a look at it.
//!     fn headers(&self) -> Option<Vec<HeaderName>> {
//!         Some(vec![HeaderName::from_static("x-api-key")])
//!     }
//! }
//! ```

use std::{future::Future, sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, request::Parts};

use crate::{clock::Clock, config_error::ConfigError, maybe_future::MaybeFuture};

#[macro_use]
mod forward;
mod boxed;
pub(crate) mod credential_source;
pub(crate) mod development;
pub(crate) mod existing_context;
pub(crate) mod extension;
mod facts;
pub(crate) mod fallback;
pub(crate) mod from_fn;
mod modifiers;
mod outcome_future;
mod reserved;
mod strip;
pub(crate) mod trusted_header;

#[cfg(feature = "tokio")]
#[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
pub use self::modifiers::{Timeout, TimeoutFuture};
pub use self::{
    boxed::BoxStrategy,
    from_fn::{FromAsyncFn, FromFn},
    modifiers::{Named, Optional, When},
    outcome_future::OutcomeFuture,
    trusted_header::{Trust, TrustedFields, Trusting, WantsTrust},
};
pub(crate) use self::{
    credential_source::CredentialSource,
    existing_context::ExistingContext,
    facts::Facts,
    fallback::Fallback,
    reserved::is_reserved,
    strip::{Untrusted, fold_alike, strip_alike},
};
#[cfg(feature = "tokio")]
pub(crate) use crate::outcome::UnavailableError;
pub(crate) use crate::outcome::{InvalidError, Outcome};
pub use crate::{
    outcome::{InvalidErrorKind, Presence, UnavailableErrorKind, Verdict},
    stripped::{StripReason, Stripped, UntrustedReason},
};

/// Identifies the principal of a request by one kind of credential.
///
/// A strategy that has to wait copies what it needs from the head and returns a future that owns it.
/// One that never waits has [`std::future::Ready`] as its `Future` and returns
/// [`MaybeFuture::Ready`]. See the [module's example](self); closures become strategies through
/// [`from_fn`](crate::from_fn) and [`from_async_fn`](crate::from_async_fn).
///
/// # Cancel safety
/// The future is dropped when the client goes away. Whatever it holds must be right to drop at
/// any await; in particular a connection that waits for a reply must not go back into its pool.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a strategy",
    label = "this can't be put into the list",
    note = "a `TrustedHeader` becomes a strategy when it says whom it trusts: `.from_proxies([\"10.0.0.0/8\"])?`, `.shared_secret(..)` or `.only_if(..)`",
    note = "`from_proxies` returns a `Result`: a `?` after it may be missing",
    note = "a `Jwt` becomes one when it says whose tokens it takes, and for whom they are: `.issuer(..).audience(..)`",
    note = "an `Introspection` becomes one when it says for whom its tokens are: `.audience(..)`",
    note = "a `Fallback` is not one: add it with `.fallback(..)`",
    note = "a closure becomes one through `from_fn(CredentialSource::header(\"x-api-key\"), |head| ..)` or `from_async_fn(..)`"
)]
pub trait Strategy {
    /// The future that resolves the request when [`resolve`](Self::resolve) has to wait.
    type Future: Future<Output = Outcome>;

    /// Returns a short name in `snake_case`, for audit events and contexts.
    fn name(&self) -> &'static str;

    /// Looks for the credential, and returns whose it is.
    fn resolve(&self, head: &Parts) -> MaybeFuture<Self::Future>;

    /// Returns whether the request has this strategy's credential, valid or not. The layer calls it
    /// before a fallback may act, so that a mistake in [`resolve`](Self::resolve) can't downgrade a
    /// request.
    fn presence(&self, head: &Parts) -> Presence;

    /// Returns all headers that [`resolve`](Self::resolve) and [`scrub`](Self::scrub) use. The default
    /// `None` is for a strategy that uses something else of the request too.
    ///
    /// Called once, when the strategy is added to a list. The strategy is then skipped for requests
    /// that have none of these headers, nor one whose name differs in punctuation only. With debug
    /// assertions, a strategy panics if its [`presence`](Self::presence) or [`scrub`](Self::scrub)
    /// finds something in a request for which it was skipped.
    ///
    /// A request that announces one of these headers as a trailer field is refused with 400.
    fn headers(&self) -> Option<Vec<HeaderName>> {
        None
    }

    /// Removes from the head what must not reach the inner service, and calls `stripped` for each
    /// header whose sender was not entitled to send it.
    ///
    /// Called once for each request that may have one of this strategy's [`headers`](Self::headers),
    /// after the list has resolved it, on every path. `believed` is true if this strategy's credential
    /// identifies the request.
    fn scrub(&self, head: &mut Parts, believed: bool, stripped: &mut dyn FnMut(Stripped<'_>)) {
        let _ = (head, believed, stripped);
    }

    /// Returns the `WWW-Authenticate` challenge (RFC 9110 section 11.6.1) for this credential.
    /// `refused` is why the client's own credential was refused, if it sent one.
    fn challenge(&self, refused: Option<&InvalidError>) -> Option<HeaderValue> {
        let _ = refused;
        None
    }

    /// Checks the configuration when the layer is built.
    ///
    /// # Errors
    /// Returns what is wrong with it.
    fn validate(&self) -> Result<(), ConfigError> {
        Ok(())
    }

    /// Sets the layer's [`Clock`], which decides whether a credential has expired. Called once, when
    /// the layer is built; a strategy that needs no clock ignores it.
    fn use_clock(&mut self, clock: &Arc<dyn Clock>) {
        let _ = clock;
    }

    /// Returns whether an invalid credential counts as absent; see [`optional`](Self::optional).
    fn is_optional(&self) -> bool {
        false
    }

    /// Returns whether this strategy reads the [`UserContext`](crate::UserContext) of an outer layer. If
    /// no strategy of the list does, the layer removes that context first.
    fn reads_existing_context(&self) -> bool {
        false
    }

    /// Returns how long the layer waits for this strategy, where that differs from what
    /// [`LayerBuilder::time_limit`](crate::middleware::LayerBuilder::time_limit) says for all of them.
    fn time_limit(&self) -> Option<Duration> {
        None
    }

    /// Treats an invalid credential as absent: the next strategy is tried, and an audit event reports
    /// that the credential was ignored.
    ///
    /// A credential that could not be *checked* still ends the list. A [`Fallback`] may act on a
    /// request with an invalid credential.
    fn optional(self) -> Optional<Self>
    where
        Self: Sized,
    {
        Optional::new(self)
    }

    /// Uses this strategy only for requests for which `applies` returns true. For others its credential
    /// counts as absent, and does not keep a [`Fallback`] from acting.
    fn when<P>(self, applies: P) -> When<Self, P>
    where
        Self: Sized,
        P: Fn(&Parts) -> bool,
    {
        When::new(self, applies)
    }

    /// Sets the name of this strategy.
    fn named(self, name: &'static str) -> Named<Self>
    where
        Self: Sized,
    {
        Named::new(self, name)
    }

    /// Sets the time limit of this strategy, instead of the layer's
    /// [time limit](crate::middleware::LayerBuilder::time_limit): after it, the outcome is [`Outcome::Unavailable`].
    ///
    /// Zero is an error of `build()`. Without a Tokio runtime that has timers, there is no limit.
    #[cfg(feature = "tokio")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
    fn timeout(self, limit: Duration) -> Timeout<Self>
    where
        Self: Sized,
    {
        Timeout::new(self, limit)
    }

    /// Erases the type, for lists that are read from configuration; see [`BoxStrategy`].
    fn boxed(self) -> BoxStrategy
    where
        Self: Sized + Send + Sync + 'static,
        Self::Future: Send + 'static,
    {
        BoxStrategy::new(self)
    }
}

/// An application's condition on a request.
type Predicate = Arc<dyn Fn(&Parts) -> bool + Send + Sync>;

/// Parses a configured header name. Callers keep the error until `build()`.
pub(crate) fn header_name<N>(name: N) -> Result<HeaderName, ConfigError>
where
    N: AsRef<str>,
{
    HeaderName::try_from(name.as_ref()).map_err(|_| ConfigError::HeaderName {
        name: name.as_ref().to_owned(),
    })
}
