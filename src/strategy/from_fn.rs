//! Closures as strategies.

use std::{
    any::type_name,
    fmt,
    future::{Future, Ready},
};

use http::request::Parts;

use super::{CredentialSource, Outcome, Strategy};
use crate::maybe_future::MaybeFuture;

/// Makes a strategy of a closure that answers at once.
///
/// ```
/// use tower_user_scope::{
///     CredentialSource, Identity, InvalidError, Outcome, UserId, from_fn,
///     strategy::InvalidErrorKind,
/// };
///
/// let strategy = from_fn(CredentialSource::header("x-api-key"), |head| {
///     match head.headers.get("x-api-key").map(|key| key.as_bytes()) {
///         None => Outcome::Absent,
///         Some(b"k-123") => UserId::try_from("alice")
///             .map_or_else(|error| Outcome::Invalid(error.into()), |id| Identity::proved(id).into()),
///         Some(_) => InvalidError::new(InvalidErrorKind::Rejected("api_key_unknown")).into(),
///     }
/// });
/// # let _ = strategy;
/// ```
pub fn from_fn<F>(source: CredentialSource, resolve: F) -> FromFn<F>
where
    F: Fn(&Parts) -> Outcome,
{
    FromFn { source, resolve }
}

/// Makes a strategy of a closure that returns a future.
///
/// The closure takes what it needs out of the head before it returns; the future owns it. An
/// `async |head|` closure borrows the head, and does not compile ("one type is more general than
/// the other").
///
/// ```
/// use tower_user_scope::{
///     CredentialSource, Identity, InvalidError, Outcome, UserId, from_async_fn,
///     strategy::InvalidErrorKind,
/// };
/// # #[derive(Clone)] struct Keys;
/// # impl Keys { async fn owner_of(&self, _: http::HeaderValue) -> Option<UserId> { None } }
/// # let keys = Keys;
///
/// let strategy = from_async_fn(CredentialSource::header("x-api-key"), move |head| {
///     let key = head.headers.get("x-api-key").cloned();
///     let keys = keys.clone();
///     async move {
///         let Some(key) = key else { return Outcome::Absent };
///         match keys.owner_of(key).await {
///             Some(id) => Identity::proved(id).into(),
///             // An unknown key is not a missing key: it must end the list.
///             None => InvalidError::new(InvalidErrorKind::Rejected("api_key_unknown")).into(),
///         }
///     }
/// });
/// # let _ = strategy;
/// ```
pub fn from_async_fn<F, Fut>(source: CredentialSource, resolve: F) -> FromAsyncFn<F>
where
    F: Fn(&Parts) -> Fut,
    Fut: Future<Output = Outcome>,
{
    FromAsyncFn { source, resolve }
}

/// A closure as a strategy; see [`from_fn`].
#[derive(Clone)]
pub struct FromFn<F> {
    source: CredentialSource,
    resolve: F,
}

/// A closure that returns a future as a strategy; see [`from_async_fn`].
#[derive(Clone)]
pub struct FromAsyncFn<F> {
    source: CredentialSource,
    resolve: F,
}

impl<F> Strategy for FromFn<F>
where
    F: Fn(&Parts) -> Outcome,
{
    type Future = Ready<Outcome>;

    forward!(source: presence headers validate);

    fn name(&self) -> &'static str {
        "from_fn"
    }

    fn resolve(&self, head: &Parts) -> MaybeFuture<Self::Future> {
        MaybeFuture::Ready((self.resolve)(head))
    }
}

impl<F, Fut> Strategy for FromAsyncFn<F>
where
    F: Fn(&Parts) -> Fut,
    Fut: Future<Output = Outcome>,
{
    type Future = Fut;

    forward!(source: presence headers validate);

    fn name(&self) -> &'static str {
        "from_async_fn"
    }

    fn resolve(&self, head: &Parts) -> MaybeFuture<Self::Future> {
        MaybeFuture::Future((self.resolve)(head))
    }
}

impl<F> fmt::Debug for FromFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug("FromFn", &self.source, type_name::<F>(), f)
    }
}

impl<F> fmt::Debug for FromAsyncFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug("FromAsyncFn", &self.source, type_name::<F>(), f)
    }
}

fn debug(
    name: &str,
    source: &CredentialSource,
    closure: &str,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    f.debug_struct(name)
        .field("source", source)
        .field("resolve", &format_args!("{closure}"))
        .finish()
}
