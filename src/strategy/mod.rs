//! Who is it? Strategies, each for one kind of credential, and the list that asks them.
//!
//! A strategy sees a request's head and answers; it knows nothing of scopes, factories or
//! responses.
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

mod boxed;
pub(crate) mod credential_source;
pub(crate) mod development;
pub(crate) mod existing_context;
pub(crate) mod extension;
mod facts;
pub(crate) mod fallback;
pub(crate) mod from_fn;
mod modifiers;
pub(crate) mod trusted_header;

#[cfg(feature = "tokio")]
#[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
pub use self::modifiers::{Timeout, TimeoutFuture};
pub use self::{
    boxed::BoxStrategy,
    from_fn::{FromAsyncFn, FromFn},
    modifiers::{Named, Optional, When},
    trusted_header::{Trusting, WantsTrust},
};
pub(crate) use self::{
    credential_source::CredentialSource, existing_context::ExistingContext, facts::Facts,
    fallback::Fallback,
};
#[cfg(feature = "tokio")]
pub(crate) use crate::outcome::UnavailableError;
pub(crate) use crate::outcome::{InvalidError, Outcome};
pub use crate::{
    outcome::{InvalidErrorKind, Presence, UnavailableErrorKind, Verdict},
    stripped::{StripReason, Stripped, UntrustedReason},
};

/// Looks at one kind of credential in a request's head and says whose it is.
///
/// A strategy that has to wait takes what it needs out of the head and returns a future that
/// owns it; one that doesn't names [`std::future::Ready`] and answers
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
    note = "a `Fallback` is not one: add it with `.fallback(..)`",
    note = "a closure becomes one through `from_fn(CredentialSource::header(\"x-api-key\"), |head| ..)` or `from_async_fn(..)`"
)]
pub trait Strategy {
    /// What is polled where the answer has to be waited for.
    type Future: Future<Output = Outcome>;

    /// A short name in `snake_case`: what audit events and contexts call this strategy.
    fn name(&self) -> &'static str;

    /// Looks for the credential and says whose it is.
    fn resolve(&self, head: &Parts) -> MaybeFuture<Self::Future>;

    /// Whether this strategy's credential is on the wire, good or bad; asked before a fallback
    /// may act, so that a mistake in [`resolve`](Self::resolve) can't downgrade a request.
    fn presence(&self, head: &Parts) -> Presence;

    /// The headers without one of which [`resolve`](Self::resolve) finds nothing and
    /// [`scrub`](Self::scrub) has nothing to do; `None`, as by default, where it may.
    ///
    /// Asked once, when the strategy joins a list. A request that has none of them, nor one whose
    /// name differs in punctuation only, is one that this strategy is not asked about. Name *all*
    /// of them: with debug assertions, a strategy whose [`presence`](Self::presence) or
    /// [`scrub`](Self::scrub) finds something in a request that it is not asked about panics.
    ///
    /// A request that announces one of them as a trailer field is refused with 400.
    fn headers(&self) -> Option<Vec<HeaderName>> {
        None
    }

    /// Removes from the head what must not reach the inner service, and tells `stripped` of
    /// each header that it was wrong to send.
    ///
    /// Called once for each request after the list has been asked, on every path, where the
    /// request may have one of this strategy's [`headers`](Self::headers); `believed` where this
    /// strategy's credential is what identifies the request.
    fn scrub(&self, head: &mut Parts, believed: bool, stripped: &mut dyn FnMut(Stripped<'_>)) {
        let _ = (head, believed, stripped);
    }

    /// The `WWW-Authenticate` challenge (RFC 9110 section 11.6.1) by which a client learns to
    /// send this credential; `refused` where it sent one and it was bad.
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

    /// Takes the layer's [`Clock`], by which this strategy decides whether a credential has
    /// ended. Called once, when the layer is built; a strategy that asks no clock ignores it.
    fn use_clock(&mut self, clock: &Arc<dyn Clock>) {
        let _ = clock;
    }

    /// Whether a bad credential counts as none; see [`optional`](Self::optional).
    fn is_optional(&self) -> bool {
        false
    }

    /// Whether this strategy wants to see the [`UserContext`](crate::UserContext) that an outer
    /// layer left; where none does, it is removed before the list is asked.
    fn reads_existing_context(&self) -> bool {
        false
    }

    /// Returns how long the layer waits for this strategy, where that differs from what
    /// [`LayerBuilder::time_limit`](crate::middleware::LayerBuilder::time_limit) says for all of them.
    fn time_limit(&self) -> Option<Duration> {
        None
    }

    /// Lets a bad credential count as none: the next strategy is asked, and the audit event
    /// says that this one was passed over.
    ///
    /// That the credential could not be *checked* still ends the list. A
    /// [`Fallback`] may act although the bad credential was sent: that is what
    /// counting as none means.
    fn optional(self) -> Optional<Self>
    where
        Self: Sized,
    {
        Optional::new(self)
    }

    /// Asks this strategy only about requests that `applies` to. To others its credential is
    /// none, and does not keep a [`Fallback`] from acting.
    fn when<P>(self, applies: P) -> When<Self, P>
    where
        Self: Sized,
        P: Fn(&Parts) -> bool,
    {
        When::new(self, applies)
    }

    /// Gives this strategy another name.
    fn named(self, name: &'static str) -> Named<Self>
    where
        Self: Sized,
    {
        Named::new(self, name)
    }

    /// Gives up after `limit` instead of the layer's own
    /// [time limit](crate::middleware::LayerBuilder::time_limit): the verdict is then [`Outcome::Unavailable`].
    ///
    /// Zero is an error of `build()`. Needs a Tokio runtime with its timer, and only where the
    /// strategy really waits; without one there is no limit.
    #[cfg(feature = "tokio")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
    fn timeout(self, limit: Duration) -> Timeout<Self>
    where
        Self: Sized,
    {
        Timeout::new(self, limit)
    }

    /// Erases the type, for lists that configuration decides; see [`BoxStrategy`].
    fn boxed(self) -> BoxStrategy
    where
        Self: Sized + Send + Sync + 'static,
        Self::Future: Send + 'static,
    {
        BoxStrategy::new(self)
    }
}

/// A condition on a request that the application states.
type Predicate = Arc<dyn Fn(&Parts) -> bool + Send + Sync>;

/// Turns what a user wrote into a header name; the error waits for `build()`.
pub(crate) fn header_name<N>(name: N) -> Result<HeaderName, ConfigError>
where
    N: AsRef<str>,
{
    HeaderName::try_from(name.as_ref()).map_err(|_| ConfigError::HeaderName {
        name: name.as_ref().to_owned(),
    })
}
