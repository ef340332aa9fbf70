//! tonic: accessors on requests, statuses for errors, and the names of services.

use http::Extensions;
use tonic::{Request, Status, server::NamedService};

use crate::{
    accessors::{MissingScopeError, private::HasExtensions},
    context::UserRequiredError,
    factory::FactoryError,
    rejection::FactoryErrorKind,
    reload::ReloadService,
    require::RequireService,
    service::UserScope,
};

impl<T> HasExtensions for Request<T> {
    fn scope_extensions(&self) -> &Extensions {
        self.extensions()
    }
}

/// Lets a layer wrap a single service: `server.add_service(layer.layer(GreeterServer::new(..)))`.
impl<S: NamedService, L, M, A> NamedService for UserScope<S, L, M, A> {
    const NAME: &'static str = S::NAME;
}

/// As for [`UserScope`].
impl<S: NamedService, L, M, A> NamedService for ReloadService<S, L, M, A> {
    const NAME: &'static str = S::NAME;
}

/// Lets a [`RequireLayer`](crate::middleware::RequireLayer) wrap a single service.
impl<S: NamedService> NamedService for RequireService<S> {
    const NAME: &'static str = S::NAME;
}

/// `INTERNAL`: the service is not inside the layer.
impl From<MissingScopeError> for Status {
    fn from(missing: MissingScopeError) -> Self {
        tracing::error!(target: "tower_user_scope::audit", "{missing}");
        // The message names types of the application, which clients must not see.
        Status::internal("the request could not be prepared")
    }
}

/// `UNAUTHENTICATED` if the principal is anonymous or a visitor, `PERMISSION_DENIED` if it is a
/// service.
impl From<UserRequiredError> for Status {
    fn from(required: UserRequiredError) -> Self {
        if required.is_anonymous() {
            Status::unauthenticated("a user is required")
        } else {
            Status::permission_denied("a user is required")
        }
    }
}

/// `UNAVAILABLE` if something could not be reached in time, else `INTERNAL`. The reason is logged.
impl From<FactoryError> for Status {
    fn from(error: FactoryError) -> Self {
        match error.kind() {
            FactoryErrorKind::Failed(_) => Status::internal("the request could not be prepared"),
            FactoryErrorKind::Unavailable(_) | FactoryErrorKind::TimedOut { .. } => {
                Status::unavailable("the request could not be prepared now")
            }
        }
    }
}
