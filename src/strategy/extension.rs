//! Takes the user from a value that an authentication middleware put into the extensions.

use std::{any::type_name, fmt, future::Ready, marker::PhantomData};

use http::request::Parts;

use super::{Outcome, Presence, Strategy};
use crate::{
    context::{IdError, Identity, UserId},
    maybe_future::MaybeFuture,
};

/// Takes the identity from a value of type `T` in the request's extensions.
///
/// Values are found by their type only.
///
/// ```
/// use tower_user_scope::FromExtension;
///
/// #[derive(Clone)]
/// struct AuthenticatedUser { id: String }
///
/// let strategy = FromExtension::<AuthenticatedUser>::new(|user| user.id.parse());
/// # let _ = strategy;
/// ```
pub struct FromExtension<T, F = ()> {
    resolve: F,
    _value: PhantomData<fn(&T)>,
}

impl<T: Send + Sync + 'static> FromExtension<T> {
    /// Reads a user id out of the value. The identity counts as *asserted*: the layer has only
    /// the middleware's word for it. One that verified a credential can be taken at more with
    /// [`outcome`](Self::outcome) and [`Identity::proved`].
    pub fn new<F>(user_id: F) -> FromExtension<T, impl Fn(&T) -> Outcome + Clone>
    where
        F: Fn(&T) -> Result<UserId, IdError> + Clone,
    {
        Self::outcome(move |value| match user_id(value) {
            Ok(id) => Identity::asserted(id).into(),
            Err(error) => Outcome::Invalid(error.into()),
        })
    }

    /// Decides all of the outcome from the value: another principal, a tenant, attributes, or
    /// none ([`Outcome::Absent`]).
    pub fn outcome<F>(resolve: F) -> FromExtension<T, F>
    where
        F: Fn(&T) -> Outcome,
    {
        FromExtension {
            resolve,
            _value: PhantomData,
        }
    }
}

impl<T, F> Strategy for FromExtension<T, F>
where
    T: Send + Sync + 'static,
    F: Fn(&T) -> Outcome,
{
    type Future = Ready<Outcome>;

    fn name(&self) -> &'static str {
        "extension"
    }

    fn resolve(&self, head: &Parts) -> MaybeFuture<Self::Future> {
        MaybeFuture::ready(match head.extensions.get::<T>() {
            Some(value) => (self.resolve)(value),
            None => Outcome::Absent,
        })
    }

    fn presence(&self, head: &Parts) -> Presence {
        // A value for which the closure returns `Absent` is not a credential.
        head.extensions
            .get::<T>()
            .is_some_and(|value| !matches!((self.resolve)(value), Outcome::Absent))
            .into()
    }
}

impl<T, F: Clone> Clone for FromExtension<T, F> {
    fn clone(&self) -> Self {
        Self {
            resolve: self.resolve.clone(),
            _value: PhantomData,
        }
    }
}

impl<T, F> fmt::Debug for FromExtension<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FromExtension")
            .field(&format_args!("{}", type_name::<T>()))
            .finish()
    }
}
