//! Accessors for the context and the factory of a request, on all types with extensions.

use std::any::type_name;

use http::{Extensions, Request, request::Parts};
use thiserror::Error;

use crate::{context::UserContext, factory::Scoped};

/// Returns what the layer inserted into a request. Implemented for `http::Request`, its `Parts`,
/// `Extensions` and, with the feature `tonic`, `tonic::Request`.
///
/// ```
/// use tower_user_scope::{UserContext, UserScopeExt};
///
/// # struct AgentFactory;
/// fn handle(request: &http::Request<()>) -> Result<(), tower_user_scope::MissingScopeError> {
///     let user = request.user_context()?;
///     let agents = request.scoped::<AgentFactory>()?;
///     # let _ = (user, agents);
///     Ok(())
/// }
///
/// let error = handle(&http::Request::new(())).unwrap_err();
/// assert!(error.to_string().contains("UserScopeLayer"));
/// ```
pub trait UserScopeExt: private::HasExtensions {
    /// Returns the context of the request.
    ///
    /// # Errors
    /// [`MissingScopeError`] if the request did not pass through a layer.
    fn user_context(&self) -> Result<&UserContext, MissingScopeError> {
        self.scope_extensions()
            .get()
            .ok_or_else(|| MissingScopeError::of::<UserContext>(None))
    }

    /// Returns the factory of the request.
    ///
    /// # Errors
    /// [`MissingScopeError`] if the request did not pass through a layer, or the layer builds another
    /// type.
    fn scoped<F: Send + Sync + 'static>(&self) -> Result<&Scoped<F>, MissingScopeError> {
        let extensions = self.scope_extensions();
        extensions.get().ok_or_else(|| {
            MissingScopeError::of::<Scoped<F>>(extensions.get().map(UserContext::factory_type))
        })
    }
}

impl<T: private::HasExtensions + ?Sized> UserScopeExt for T {}

pub(crate) mod private {
    use http::Extensions;

    pub trait HasExtensions {
        fn scope_extensions(&self) -> &Extensions;
    }
}

impl private::HasExtensions for Extensions {
    fn scope_extensions(&self) -> &Extensions {
        self
    }
}

impl<B> private::HasExtensions for Request<B> {
    fn scope_extensions(&self) -> &Extensions {
        self.extensions()
    }
}

impl private::HasExtensions for Parts {
    fn scope_extensions(&self) -> &Extensions {
        &self.extensions
    }
}

/// The request did not pass through a layer that inserts the requested type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{}", self.explain())]
pub struct MissingScopeError {
    wanted: &'static str,
    built: Option<&'static str>,
}

impl MissingScopeError {
    fn of<T>(built: Option<&'static str>) -> Self {
        Self {
            wanted: type_name::<T>(),
            built,
        }
    }

    /// Returns the name of the requested type.
    #[must_use]
    pub fn wanted(&self) -> &'static str {
        self.wanted
    }

    fn explain(&self) -> String {
        let wanted = self.wanted;
        match self.built {
            None => format!(
                "`{wanted}` is not in the request, because no `UserScopeLayer` is around this \
                 route: add `.layer(UserScopeLayer::builder()..)`, in axum below the routes \
                 that it is for"
            ),
            Some(built) => format!(
                "`{wanted}` is not in the request: the `UserScopeLayer` around this route \
                 builds `{built}`"
            ),
        }
    }
}
